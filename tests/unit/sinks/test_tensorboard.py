"""The TensorBoard sink, read back from its event files."""

from __future__ import annotations

import html
import io
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from lightning_vlmxai.records import Round, UnscoredReason
from lightning_vlmxai.sinks import AlertSink, make_sinks
from lightning_vlmxai.sinks.sheets import round_sheets
from lightning_vlmxai.sinks.words import escape_markdown, markdown_table
from samples import make_round, make_sample

with warnings.catch_warnings():  # html5lib's, which TensorBoard carries with it
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.plugin_util import markdown_to_safe_html

CLASSES = ("c++", "cat|dog (grey)", "a.b/c")
SETTINGS = {"judge": "a|b <i>", "threshold": 2.5, "watch_classes": list(CLASSES)}
ORDER = ["1_correct_low", "2_wrong_high", "3_wrong_low", "4_correct_high"]
HOSTILE = [
    "<script>alert(1)</script>",
    "**bold** _it_ `code` # no [link](javascript:alert(1)) ![i](x.png) <http://a.b>",
    "# heading", "- list", "1. one", "+ plus", "> quote", "a | b", "---", "===", "    code",
    "~~~", "```", "~~gone~~", "&lt; &amp; &#35; \\* \\\\", "[x]: http://a.b", "*[HTML]: x", "| a |",
]  # fmt: skip


def make_rounds() -> list[Round]:
    """Return three rounds of seven probes each; the scores change, the probes don't."""
    return [
        make_round(
            *(
                make_sample(
                    score=(i + number) % 6 if i else None,
                    is_correct=i % 3 > 0,
                    label_name=CLASSES[i % 3],
                    index=i,
                    evaluation=HOSTILE[i],
                )
                for i in range(7)
            ),
            number=number,
            step=10 * number + 4,
            watch_classes=CLASSES,
        )
        for number in range(3)
    ]


def read(logger: TensorBoardLogger) -> EventAccumulator:
    """Return everything that a logger has written."""
    logger.save()
    events = EventAccumulator(logger.log_dir, {"images": 0, "tensors": 0, "scalars": 0})
    return events.Reload()


def text_of(events: EventAccumulator, name: str) -> list[tuple[int, str]]:
    """Return step and text of each point of a tag."""
    points = events.Tensors(f"{name}/text_summary")
    return [(p.step, p.tensor_proto.string_val[0].decode()) for p in points]


def shown_by_tensorboard(markdown: str) -> str:
    """Return what a reader sees of a text, by TensorBoard's own Markdown and sanitizer."""
    return html.unescape(re.sub(r"<[^>]*>", "", markdown_to_safe_html(markdown))).strip()


@pytest.fixture
def logger(tmp_path: Path) -> TensorBoardLogger:
    """Return a logger that writes here."""
    return TensorBoardLogger(tmp_path)


def test_every_round_is_written_at_its_own_step(logger: TensorBoardLogger) -> None:
    """Pictures are the round's sheets, pixel by pixel."""
    rounds = make_rounds()
    (sink, _) = make_sinks([logger], SETTINGS)
    for closed in rounds:
        sink.write(closed)
    events = read(logger)
    expected = {
        f"vlmxai/{name}": [r.step for r in rounds if name in round_sheets(r, CLASSES)]
        for r in rounds
        for name in round_sheets(r, CLASSES)
    }
    assert set(events.Tags()["images"]) == set(expected)
    for tag, steps in expected.items():
        points = events.Images(tag)
        assert [p.step for p in points] == steps
        for point in points:
            (closed,) = [r for r in rounds if r.step == point.step]
            wanted = round_sheets(closed, CLASSES)[tag.removeprefix("vlmxai/")]
            shown = Image.open(io.BytesIO(point.encoded_image_string))
            np.testing.assert_array_equal(np.asarray(shown), np.asarray(wanted))
    assert [step for step, _ in text_of(events, "vlmxai/settings")] == [4]
    assert [step for step, _ in text_of(events, "vlmxai/unscored")] == [4, 14, 24]


def test_the_dashboard_charts_what_is_logged(logger: TensorBoardLogger) -> None:
    """Each pattern finds its tag and no other, hostile class names included; margins name tags."""
    sinks = make_sinks([logger], SETTINGS)
    for closed in make_rounds():
        for sink in sinks:
            sink.write(closed)
    events = read(logger)
    tags = events.Tags()["scalars"]
    (point,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(point.tensor_proto.string_val[0])
    charts = {
        category.title: {chart.title: chart for chart in category.chart}
        for category in layout.category
    }
    assert list(charts) == ["vlmxai", "vlmxai, watched classes", "vlmxai, other figures"]
    both = charts["vlmxai"].pop("Accuracy and Correct-Low")
    found = [[tag for tag in tags if re.match(p, tag)] for p in both.multiline.tag]
    assert found == [["vlmxai/accuracy"], ["vlmxai/correct_low_rate"]]
    shown = {
        title: (series.value, series.lower, series.upper)
        for category in charts.values()
        for title, chart in category.items()
        for series in chart.margin.series
    }
    ends = ("", "_lower", "_upper")
    expected = {"Correct-Low, 95 % interval": tuple(f"vlmxai/correct_low_rate{e}" for e in ends)}
    for name in CLASSES:
        margin = tuple(f"vlmxai/class/{name}/correct_low_rate{end}" for end in ends)
        expected[f"{name}: Correct-Low, 95 % interval"] = margin
    for title in ("Average score", "Wrong-High rate", "Wrong-Low rate", "Correct-High rate"):
        tag = f"vlmxai/{title.lower().replace('-', '_').replace(' ', '_')}"
        expected[title.removesuffix(" rate")] = (tag, tag, tag)
    assert shown == expected
    for margin in shown.values():
        value, lower, upper = ([p.value for p in events.Scalars(tag)] for tag in margin)
        assert len(value) == 3
        assert all(a <= b <= c for a, b, c in zip(lower, value, upper, strict=True))


def test_what_is_to_be_looked_at_stands_first(logger: TensorBoardLogger) -> None:
    """In the order that TensorBoard sorts tags in: the finding, then Correct-Low's words."""
    samples = [
        make_sample(score=score, is_correct=is_correct)
        for score in (1, 4)
        for is_correct in (True, False)
    ]
    (sink, _) = make_sinks([logger], SETTINGS)
    sink.write(replace(make_round(*samples), finding=("zero: *20* of 20", "<b>nothing</b> else")))
    events = read(logger)
    texts = [tag for tag in sorted(events.Tags()["tensors"]) if tag.endswith("/text_summary")]
    assert [tag.split("/")[1:-1] for tag in texts] == [
        ["finding"],
        *(["judge", name] for name in ORDER),
        ["settings"],
    ]
    assert [tag for tag in sorted(events.Tags()["images"]) if "examples" in tag] == [
        f"vlmxai/examples/{name}" for name in ORDER
    ]
    ((step, finding),) = text_of(events, "vlmxai/finding")
    assert step == 7
    assert shown_by_tensorboard(finding).split("\n") == ["zero: *20* of 20", "<b>nothing</b> else"]
    assert markdown_to_safe_html(finding).count("<li>") == 2


def test_an_alert_is_a_text_of_its_own(logger: TensorBoardLogger) -> None:
    """At its round's step; what a class is called is shown as it is."""
    (sink, _) = make_sinks([logger], SETTINGS)
    assert isinstance(sink, AlertSink)
    sink.alert("Shortcut: <b>", "<b>: *9* of 20", step=7)
    ((step, text),) = text_of(read(logger), "vlmxai/alerts")
    assert step == 7
    assert [line for line in shown_by_tensorboard(text).split("\n") if line] == [
        "Shortcut: <b>", "<b>: *9* of 20",
    ]  # fmt: skip


def test_texts_can_hold_no_pictures() -> None:
    """TensorBoard takes a picture's data out of a text: the reason why they are under Images."""
    shown = markdown_to_safe_html("![a](data:image/png;base64,iVBORw0KGgo=)")
    assert "data:" not in shown


def test_a_test_has_tags_of_its_own_and_no_dashboard(logger: TensorBoardLogger) -> None:
    """What `test()` writes stands beside the fit's curves, not on them."""
    (sink, _) = make_sinks([logger], SETTINGS)
    sink.write(make_round(make_sample(score=1), stage="test"))
    tags = read(logger).Tags()
    assert set(tags["images"]) == {
        f"vlmxai/test/{name}" for name in ("classes", "examples/1_correct_low", "filmstrip")
    }
    assert all(tag.startswith("vlmxai/test/") for tag in tags["tensors"])


def test_the_users_hyperparameters_stay_alone(logger: TensorBoardLogger) -> None:
    """TensorBoard keeps the first set that a run writes, so that the callback writes none."""
    for sink in make_sinks([logger], SETTINGS):
        sink.write(make_rounds()[0])
    assert not [tag for tag in read(logger).summary_metadata if tag.startswith("_hparams_")]
    assert logger.hparams == {}


@pytest.mark.parametrize("text", HOSTILE)
def test_words_are_shown_as_they_are(text: str) -> None:
    """Alone, after a title, before themselves and in a table: a reader sees the characters."""
    plain = " ".join(text.split())
    escaped = escape_markdown(text)
    assert shown_by_tensorboard(escaped) == plain
    page = shown_by_tensorboard(f"**title**\n\n{escaped}\n\nmiddle\n\n{escaped}\n\nend")
    assert page.split("\n") == ["title", plain, "middle", plain, "end"]
    assert "<" not in re.sub(r"</?p>", "", markdown_to_safe_html(escaped))
    cells = shown_by_tensorboard(markdown_table(["head"], [[text]])).split()
    assert cells == ["head", *plain.split()]


def test_texts_name_the_sample_and_the_reason(logger: TensorBoardLogger) -> None:
    """Worst first, with the judge's words; unscored samples are counted by reason."""
    samples = [
        make_sample(score=2, index=1, evaluation="on the *tail*"),
        make_sample(score=1, index=2, evaluation="x" * 10_000),
        *(make_sample(reason=UnscoredReason.TIMEOUT, index=i) for i in (3, 4)),
        make_sample(reason=UnscoredReason.REFUSAL, index=5),
    ]
    (sink, _) = make_sinks([logger], SETTINGS)
    sink.write(make_round(*samples))
    events = read(logger)
    ((_, words),) = text_of(events, "vlmxai/judge/1_correct_low")
    lines = shown_by_tensorboard(words).split("\n")
    assert lines[0] == "cat → cat (75%) · score 1.0 · probe 2"
    assert lines[1] == "x" * 1000 + "… (10,000 characters)"
    assert lines[2:] == ["cat → cat (75%) · score 2.0 · probe 1", "on the *tail*"]
    ((_, unscored),) = text_of(events, "vlmxai/unscored")
    cells = shown_by_tensorboard(unscored).split()
    assert cells[-6:] == ["timeout", "2", "slow", "refusal", "1", "slow"]
    ((_, settings),) = text_of(events, "vlmxai/settings")
    shown = shown_by_tensorboard(settings)
    assert "a|b <i>" in shown
    assert "c++, cat|dog (grey), a.b/c" in shown

"""Borderline and partly attended samples in the figures and in the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lightning_vlmxai.report import print_summary, write_report
from lightning_vlmxai.report.figures import count_round
from lightning_vlmxai.report.reader import read_run
from run_folders import make_round, unpack, write_run

PARTLY = {"iou": 0.2, "dice": 0.3, "pixel_accuracy": 0.8, "precision": 0.92, "recall": 0.18,
          "object_share": 0.3}  # fmt: skip


def rewrite(folder: Path, **changes: dict[int, Any]) -> None:
    """Change fields of the lines of some positions in samples.jsonl."""
    path = folder / "samples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for name, values in changes.items():
        for position, value in values.items():
            lines[position][name] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def summarize(folder: Path) -> str:
    """Return what is printed."""
    file = io.StringIO()
    print_summary(folder, console=Console(file=file, width=110))
    return file.getvalue()


def test_borderline_is_counted_over_those_whose_spread_is_known(tmp_path: Path) -> None:
    """The unscored and those asked once are in neither number; the run's threshold counts."""
    scores = {0: 2.0, 1: 3.5, 2: 2.5, 3: 3.9, 4: None}
    write_run(tmp_path, [make_round(4, score=lambda p, _: scores.get(p, 4.0))], threshold=3.0)
    rewrite(tmp_path, spread={0: 1.0, 1: 0.4, 2: 0.5, 3: 0.0, 4: 2.0})
    (of,) = read_run(tmp_path).rounds
    figures = count_round(of)
    assert [s.is_borderline for s in of.samples[:6]] == [True, False, True, False, None, None]
    assert (figures.borderline, figures.asked_again) == (2, 4)
    assert figures.borderline_rate == 0.5
    assert "Borderline: 0.50, 2 of 4 have scores within the judge's own spread" in (
        summarize(tmp_path)
    )
    page = write_report(tmp_path).read_text()
    assert "2 of 4</small>" in page
    assert unpack(page)["threshold"] == 3.0


def test_a_judge_asked_once_marks_nothing_and_it_is_said(tmp_path: Path) -> None:
    """No spread is made up for it."""
    write_run(tmp_path)
    assert all(s.is_borderline is None for of in read_run(tmp_path).rounds for s in of.samples)
    assert "Borderline: not known, as the judge was asked once" in summarize(tmp_path)


def test_partly_attended_counts_apart_from_wrong_reasons(tmp_path: Path) -> None:
    """Class by class, and only Correct-Low samples whose masks were measured so."""
    (closed,) = write_run(tmp_path, [make_round(4, score=lambda *_: 1.0)])
    low = [i for i, s in enumerate(closed.samples) if s.quadrant and s.explanation.is_correct]
    cats = [i for i in low if closed.samples[i].explanation.label_name == "cat"]
    wrong = next(i for i, s in enumerate(closed.samples) if not s.explanation.is_correct)
    beside = {**PARTLY, "precision": 0.4}
    rewrite(tmp_path, reference={cats[0]: PARTLY, cats[1]: beside, wrong: PARTLY})
    (of,) = read_run(tmp_path).rounds
    told = "partly attended: 92 % of the kept region lies on the object, 18 % of the object is kept"
    assert [i for i, s in enumerate(of.samples) if s.partly == told] == [cats[0]]
    assert [s.partly for i, s in enumerate(of.samples) if i != cats[0]] == [""] * 11
    figures = count_round(of)
    assert (figures.partly, figures.wrong_reasons) == (1, len(low) - 1)
    text = summarize(tmp_path)
    reasons, partly = text.split("Partly attended (on the object, but covers little of it):")
    assert f"cat: {len(cats) - 1} of 4 Correct-Low" in reasons
    assert "cat: 1 of 4 Correct-Low (0.25)" in partly
    assert "dog" not in partly


@pytest.mark.parametrize("told", [None, {}, {"precision": "0.9"}, {"precision": 0.9}, 3, [1]])
def test_what_older_folders_did_not_measure_is_not_told(tmp_path: Path, told: object) -> None:
    """Neither partly attended nor an error."""
    write_run(tmp_path, [make_round(4, score=lambda *_: 1.0)])
    rewrite(tmp_path, reference=dict.fromkeys(range(12), told))
    assert not any(s.partly for s in read_run(tmp_path).rounds[0].samples)


def test_the_head_counts_probes_and_settings_have_their_fingerprint(tmp_path: Path) -> None:
    """The number for a reader, the fingerprint for who looks for it, once."""
    write_run(tmp_path, fingerprint="f00d")
    page = write_report(tmp_path).read_text()
    assert "<dt>Probes</dt><dd><bdi>12</bdi></dd>" in page
    head, made = page.split('id="made"')
    assert "f00d" not in head.split("<main>")[0].split("</head>")[1]
    assert made.count("f00d") == 1

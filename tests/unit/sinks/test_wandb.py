"""The W&B sink, in offline mode."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.records import Round
from lightning_vlmxai.rounds.quadrants import DRIFTS, ROUND_METRICS
from lightning_vlmxai.sinks import AlertSink, finish_sinks, make_sinks
from lightning_vlmxai.sinks.wandb import COLUMNS
from samples import make_round, make_sample
from tiny import Separable, Squares, loader, make_trainer

wandb = pytest.importorskip("wandb", reason="wandb is an extra")
internal = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="wandb is an extra")
BLOCK = 32 * 1024

# wandb 0.20 leaves a socket for the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture
def logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WandbLogger:
    """Return an offline logger that keeps all its files here."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    return WandbLogger(save_dir=tmp_path, offline=True)


def end(logger: WandbLogger, folder: Path) -> list[Any]:
    """End the run and return the records of its .wandb file."""
    logger.experiment.finish()
    wandb.teardown()  # ends the process that writes the file
    (run,) = folder.rglob("*.wandb")
    return read_records(run)


def read_records(path: Path) -> list[Any]:
    """Return the records of a .wandb file: a 7-byte header, then LevelDB's log format."""
    data = path.read_bytes()
    records, position, whole = [], 7, b""
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:  # the rest of a block that can't hold a header is padding
            position += BLOCK - position % BLOCK
            continue
        length = int.from_bytes(data[position + 4 : position + 6], "little")
        kind = data[position + 6]
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # full, or last part
            records.append(internal.Record.FromString(whole))
            whole = b""
    return records


def history(records: list[Any]) -> list[dict[str, str]]:
    """Return the rows of a run's history."""
    items = [record.history.item for record in records if record.HasField("history")]
    return [{i.key or ".".join(i.nested_key): i.value_json for i in row} for row in items]


def summary(records: list[Any]) -> dict[str, Any]:
    """Return what a run's summary says in the end, nested keys with dots."""
    items = [item for record in records for item in record.summary.update]
    return {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}


def artifacts(records: list[Any], kind: str) -> list[dict[str, Path]]:
    """Return the files of each artifact of a type, by their paths in it."""
    found = [r.artifact for r in records if r.HasField("artifact") and r.artifact.type == kind]
    assert len({artifact.name for artifact in found}) <= 1
    return [{c.path: Path(c.local_path) for c in artifact.manifest.contents} for artifact in found]


def increments(records: list[Any]) -> list[tuple[list[str], list[list[Any]], dict[str, Path]]]:
    """Return columns, rows and files of each part of the growing table."""
    parts = []
    for files in artifacts(records, "wandb-run-incremental-table"):
        (table,) = [path for name, path in files.items() if name.endswith(".table.json")]
        content = json.loads(table.read_text())
        parts.append((content["columns"], content["data"], files))
    return parts


def make_rounds() -> list[Round]:
    """Return three rounds of four probes, one of them unscored."""
    return [
        make_round(
            *(
                make_sample(score=None if i == 2 else i + number / 10, index=i, evaluation=f"e{i}")
                for i in range(4)
            ),
            number=number,
            step=10 * number + 5,
        )
        for number in range(3)
    ]


def held_pictures() -> list[Any]:
    """Return the pictures that something still holds."""
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) is wandb.Image]


@pytest.mark.slow
def test_one_table_grows_by_the_rows_of_each_round(logger: WandbLogger, tmp_path: Path) -> None:
    """A part has its own round's rows and no others, and no picture is kept once it is written."""
    rounds = make_rounds()
    for closed in rounds:
        # New sinks each time, as after a second call of the trainer: the table goes on.
        for sink in make_sinks([logger], {"judge": "scripted"}):
            sink.write(closed)
        # W&B's own threads may hold the last pictures until they have sent them.
        ends = time.monotonic() + 60
        while held_pictures() and time.monotonic() < ends:
            time.sleep(0.1)
        assert not held_pictures()
    records = end(logger, tmp_path)
    parts = increments(records)
    assert len(parts) == 3
    for closed, (columns, rows, files) in zip(rounds, parts, strict=True):
        assert tuple(columns) == COLUMNS
        told = [dict(zip(columns, row, strict=True)) for row in rows]
        assert [(t["round"], t["epoch"], t["probe"]) for t in told] == [
            (closed.number, 1, i) for i in range(4)
        ]
        scores = [sample.verdict.score for sample in closed.samples]
        assert [t["score"] for t in told] == scores
        assert [t["reason"] for t in told] == [None, None, "timeout", None]
        low, high = "correct_low", "correct_high"
        assert [t["quadrant"] for t in told] == [low, low, None, high]
        assert [t["evaluation"] for t in told] == ["e0", "e1", "", "e3"]
        for key in ("image", "masked image"):
            shown = np.asarray(Image.open(files[told[0][key]["path"]]))
            assert shown.shape == (8, 8, 3)
            assert (shown == 128).all()  # 0.5 under a mask of ones
    last = [row for row in history(records) if "vlmxai/table.increment_num" in row][-1]
    assert last["vlmxai/table.increment_num"] == "2"
    assert len(json.loads(last["vlmxai/table.previous_increments_paths"])) == 2
    assert last["trainer/global_step"] == "25"


def test_a_run_knows_its_settings_its_step_and_its_report(
    logger: WandbLogger, tmp_path: Path
) -> None:
    """The user's own config stays; curves stand over the trainer's step; pictures have captions."""
    logger.log_hyperparams({"lr": 0.1})
    sinks = make_sinks([logger], {"judge": "scripted", "watch_classes": ["cat"]})
    sinks[0].write(make_rounds()[0])
    report = tmp_path / "report.html"
    report.write_text("<p>told</p>")
    finish_sinks(sinks, report)
    records = end(logger, tmp_path)
    config = {u.key: json.loads(u.value_json) for r in records for u in r.config.update}
    assert config == {"lr": 0.1, "vlmxai": {"judge": "scripted", "watch_classes": ["cat"]}}
    metrics = {r.metric.glob_name: r.metric.step_metric for r in records if r.HasField("metric")}
    assert metrics["vlmxai/*"] == "trainer/global_step"
    (row,) = history(records)
    assert json.loads(row["vlmxai/examples/1_correct_low.captions"]) == [
        "cat → cat (75%) · score 0.0", "cat → cat (75%) · score 1.0",
    ]  # fmt: skip
    assert {"vlmxai/filmstrip.path", "vlmxai/classes.path"} <= set(row)
    (files,) = artifacts(records, "vlmxai-report")
    assert files["report.html"].read_text() == "<p>told</p>"


def test_figures_have_panels_and_the_ends_of_their_intervals_have_none(
    logger: WandbLogger, tmp_path: Path
) -> None:
    """Of all that is logged, watched classes among it; the summary has the last round's figures."""
    rounds = [
        make_round(
            *(make_sample(score=score) for score in scores),
            number=number,
            step=10 * number,
            watch_classes=("cat", "a/b_lower"),
        )
        for number, scores in enumerate([(4, 5, 5), (1, 2, 3)])
    ]
    for sink in (sinks := make_sinks([logger])):
        sink.write(rounds[0])
    for sink in sinks:
        sink.write(rounds[1])
    records = end(logger, tmp_path)
    defined = [r.metric for r in records if r.HasField("metric")]
    hidden = {m.name for m in defined if m.options.hidden}
    assert {m.step_metric for m in defined if m.name in hidden} == {"trainer/global_step"}
    assert hidden == {
        f"vlmxai/{name}" for name in rounds[1].metrics
        if name.rpartition("_")[2] in ("lower", "upper", "stderr")
    }  # fmt: skip
    assert {"vlmxai/correct_low_rate_lower", "vlmxai/class/cat/correct_low_rate_upper"} <= hidden
    assert not hidden & {"vlmxai/correct_low_rate", "vlmxai/class/cat/correct_low_rate"}
    told = summary(records)
    for name, value in rounds[1].metrics.items():
        assert told[f"vlmxai/{name}"] == pytest.approx(value), name


def test_an_alert_is_sent_as_one_line(logger: WandbLogger, tmp_path: Path) -> None:
    """With the step of its round; what acts in a terminal or a chat's line doesn't."""
    (sink, _) = make_sinks([logger])
    assert isinstance(sink, AlertSink)
    sink.alert("Shortcut: a\n\x1b[31mcat", "a cat: 9 of 20\nright answers", step=25)
    (alert,) = [r.alert for r in end(logger, tmp_path) if r.WhichOneof("record_type") == "alert"]
    assert alert.title == "Shortcut: a [31mcat"
    assert alert.text == "Step 25: a cat: 9 of 20 right answers"


def test_the_finding_is_a_field_of_the_run_and_a_panel(logger: WandbLogger, tmp_path: Path) -> None:
    """The last round's words in the summary, each round's in the history, nothing in them live."""
    sinks = make_sinks([logger])
    told = [("zero: 9 of 20",), (), ("zero: 20 of 20", "<script>x</script>")]
    for closed, finding in zip(make_rounds(), told, strict=True):
        for sink in sinks:
            sink.write(replace(closed, finding=finding))
    records = end(logger, tmp_path)
    assert summary(records)["vlmxai/finding"] == "zero: 20 of 20\n<script>x</script>"
    panels = [row for row in history(records) if "vlmxai/finding_text.path" in row]
    assert [row["trainer/global_step"] for row in panels] == ["5", "25"]
    (run,) = tmp_path.rglob("files")
    page = (run / json.loads(panels[-1]["vlmxai/finding_text.path"])).read_text()
    assert page.count("<li>") == 2
    assert "<li>&lt;script&gt;x&lt;/script&gt;</li>" in page


def test_an_offline_run_holds_every_metric_pictures_and_a_table(
    logger: WandbLogger, tmp_path: Path
) -> None:
    """Each round's figures stand at the round's own step, with captioned pictures and its rows."""
    callback = VLMExplainCallback(probe_size=8)
    trainer = make_trainer(tmp_path, callback, logger=logger, max_epochs=3)
    trainer.fit(Separable(), loader(Squares()), loader(Squares(16, seed=1)))
    records = end(logger, tmp_path)
    rows = history(records)
    for name in ROUND_METRICS:
        steps = [r["trainer/global_step"] for r in rows if f"vlmxai/{name}" in r]
        expected = ["5", "8"] if name in DRIFTS else ["2", "5", "8"]
        assert steps == expected, name
    coverage = [float(r["vlmxai/coverage"]) for r in rows if "vlmxai/coverage" in r]
    assert coverage[-1] == callback.latest_round.metrics["coverage"]
    keys = {key for row in rows for key in row}
    assert any(key.startswith("vlmxai/examples/") for key in keys)
    assert [[row[0] for row in part] for _, part, _ in increments(records)] == [
        [number] * 8 for number in range(3)
    ]
    assert len(list(tmp_path.rglob("vlmxai/examples/*.png"))) >= 3

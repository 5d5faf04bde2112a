"""The run folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lightning_vlmxai.quadrants import round_metrics
from lightning_vlmxai.records import Round, Sample, UnscoredReason
from lightning_vlmxai.sinks import RunFolderSink
from samples import make_sample

HOSTILE = "<script>alert(1)</script> **bold** \x1b[31m\u202e" + "x" * 10_000


def close(*samples: Sample) -> Round:
    """Return a closed round of these samples."""
    return Round(
        number=3, stage="fit", epoch=1, step=7, fingerprint="f00", samples=samples,
        metrics=round_metrics(samples),
    )  # fmt: skip


def test_a_line_holds_what_was_judged_and_points_to_what_was_seen(tmp_path: Path) -> None:
    """A scored and an unscored sample come back from the file as they went in."""
    sink = RunFolderSink(tmp_path, {"alpha": 15.0})
    sink.write(
        close(
            make_sample(score=1.5, index=4, evaluation=HOSTILE),
            make_sample(reason=UnscoredReason.TIMEOUT, index=9),
        )
    )
    first, second = map(json.loads, (tmp_path / "samples.jsonl").read_text().splitlines())
    assert (first["probe"], first["score"], first["quadrant"]) == (4, 1.5, "correct_low")
    assert first["evaluation"] == HOSTILE
    assert (second["score"], second["quadrant"], second["reason"]) == (None, None, "timeout")
    seen = np.asarray(Image.open(tmp_path / first["image"]))
    assert seen.shape == (8, 8, 3)
    assert set(seen.flatten().tolist()) == {128}  # 0.5 under a mask of ones
    line = json.loads((tmp_path / "rounds.jsonl").read_text())
    assert (line["number"], line["step"], line["judged"], line["probes"]) == (3, 7, 1, 2)
    assert json.loads((tmp_path / "run.json").read_text()) == {"alpha": 15.0, "fingerprint": "f00"}


def test_a_confidence_that_is_no_number_is_written_as_null(tmp_path: Path) -> None:
    """A model that has diverged doesn't end the run in the sink."""
    sample = make_sample(score=1)
    broken = replace(sample, explanation=replace(sample.explanation, confidence=float("nan")))
    RunFolderSink(tmp_path, {}).write(close(broken))
    assert json.loads((tmp_path / "samples.jsonl").read_text())["confidence"] is None

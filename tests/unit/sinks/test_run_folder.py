"""The run folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lightning_vlmxai.records import Round, Sample, UnscoredReason
from lightning_vlmxai.rounds.quadrants import round_metrics
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


def test_a_saliency_map_is_kept_in_grey(tmp_path: Path) -> None:
    """To 1 part in 255; what is no number is black, and ends no run."""
    sample = make_sample(score=1, index=4)
    saliency = torch.linspace(0, 1, 64).view(8, 8)
    broken = torch.full((8, 8), float("nan"))
    for value, number in ((saliency, 0), (broken, 1)):
        changed = replace(sample, explanation=replace(sample.explanation, saliency=value))
        RunFolderSink(tmp_path, {}).write(replace(close(changed), number=number))
    first, second = map(json.loads, (tmp_path / "samples.jsonl").read_text().splitlines())
    assert first["saliency"] == "images/fit-0000/000004-saliency.png"
    assert first["picture"] == second["picture"] == "images/fit/000004.png"
    grey = np.asarray(Image.open(tmp_path / first["saliency"]))
    assert grey.dtype == np.uint8
    assert np.abs(grey / 255 - saliency.numpy()).max() <= 0.5 / 255 + 1e-6
    assert not np.asarray(Image.open(tmp_path / second["saliency"])).any()


def test_another_runs_whole_picture_is_replaced(tmp_path: Path) -> None:
    """A resumed run may have other probes under the same index."""
    sample = make_sample(score=1, index=4)
    other = replace(sample, explanation=replace(sample.explanation, pixels=torch.zeros(3, 8, 8)))
    for one in (sample, other):
        RunFolderSink(tmp_path, {}).write(close(one))
    assert not np.asarray(Image.open(tmp_path / "images/fit/000004.png")).any()


def test_a_confidence_that_is_no_number_is_written_as_null(tmp_path: Path) -> None:
    """A model that has diverged doesn't end the run in the sink."""
    sample = make_sample(score=1)
    broken = replace(sample, explanation=replace(sample.explanation, confidence=float("nan")))
    RunFolderSink(tmp_path, {}).write(close(broken))
    assert json.loads((tmp_path / "samples.jsonl").read_text())["confidence"] is None


def test_late_verdicts_have_a_file_of_their_own(tmp_path: Path) -> None:
    """A line like that of `samples.jsonl`, marked, beside the unscored one, which stays."""
    sink = RunFolderSink(tmp_path, {"judge": "someone"})
    unscored = make_sample(reason=UnscoredReason.DEADLINE, index=4)
    sink.write(close(unscored))
    before = (tmp_path / "samples.jsonl").read_text()
    late = make_sample(score=4, index=4)
    nothing = torch.empty(0)
    bare = replace(late.explanation, pixels=nothing, mask=nothing, saliency=nothing)
    sink.write_late(replace(close(replace(late, explanation=bare)), metrics={}))
    assert (tmp_path / "samples.jsonl").read_text() == before
    line, first = (
        json.loads((tmp_path / name).read_text()) for name in ("late.jsonl", "samples.jsonl")
    )
    assert line.keys() == first.keys() - {"reference", "reference_mask"} | {"is_late"}
    assert (line["is_late"], line["score"], line["quadrant"]) == (True, 4, "correct_high")
    same = ("round", "probe", "image", "judge", "label", "step")
    assert [line[key] for key in same] == [first[key] for key in same]

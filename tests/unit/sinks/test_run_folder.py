"""The run folder and its pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lightning_vlmxai.quadrants import round_metrics
from lightning_vlmxai.records import Quadrant, Round, Sample, UnscoredReason
from lightning_vlmxai.sinks import RunFolderSink
from lightning_vlmxai.sinks.pictures import TILE, caption, examples, make_montage
from lightning_vlmxai.sinks.tensorboard import _escape
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


def test_examples_are_the_lowest_scores_first() -> None:
    """The worst Correct-Low samples are what a person should see."""
    scores = (2.0, 0.5, 1.0, 4.0)
    closed = close(*(make_sample(score=s, index=i) for i, s in enumerate(scores)))
    shown = examples(closed, Quadrant.CORRECT_LOW, limit=2)
    assert [s.verdict.score for s in shown] == [0.5, 1.0]


def test_a_montage_shows_each_picture_over_its_band() -> None:
    """Five tiles stand in two rows; a tile's pixels are the masked picture's."""
    sheet = make_montage([make_sample(score=1, label_name=HOSTILE) for _ in range(5)])
    assert sheet.size[0] > 4 * TILE
    assert 2 * TILE < sheet.size[1] < 3 * TILE
    assert sheet.getpixel((TILE // 2, TILE // 2)) == (128, 128, 128)
    assert sheet.getpixel((sheet.size[0] - 10, sheet.size[1] - 100)) == (255, 255, 255)


def test_words_reach_tensorboard_as_text() -> None:
    """Neither HTML nor Markdown nor control characters keep their meaning."""
    shown = _escape(HOSTILE)
    assert "<" not in shown
    assert "\\*\\*bold" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_caption_says_label_prediction_confidence_and_score() -> None:
    """Scored and unscored."""
    assert caption(make_sample(score=2, is_correct=False)) == "cat → other (75%) · score 2.0"
    unscored = make_sample(reason=UnscoredReason.REFUSAL)
    assert caption(unscored) == "cat → cat (75%) · unscored (refusal)"


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
    assert line.keys() == first.keys() | {"is_late"}
    assert (line["is_late"], line["score"], line["quadrant"]) == (True, 4, "correct_high")
    same = ("round", "probe", "image", "judge", "label", "step")
    assert [line[key] for key in same] == [first[key] for key in same]

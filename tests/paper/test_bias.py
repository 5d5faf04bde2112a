"""`examples/paper/bias_31_models.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bias_31_models as bias
from samples import make_sample

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "data": "digits", "side": 128, "weights": "DEFAULT",
    "judge": "reference", "model": "gpt-4o-mini", "epochs": 4, "probes": 100, "samples": 20,
    "train_batches": None,
}  # fmt: skip


def write_done(root: Path, errs: list[int], fired: list[int | None], judged: int = 20) -> None:
    """Write the figures of models that are trained already."""
    root.mkdir()
    (root / "settings.json").write_text(json.dumps(SETTINGS))
    for number, (err, epoch) in enumerate(zip(errs, fired, strict=True)):
        done: dict[str, Any] = {
            "number": number, "biased": number % 2 == 1, "err": err, "judged": judged,
            "samples": 20, "fired": epoch, "accuracy": 0.9 + number / 100,
            "validated": 100, "validated_watched": 20, "accuracy_watched": 0.95,
            "judge": "scripted",
        }  # fmt: skip
        bias.result_of(number, root).write_text(json.dumps(done))


def run_here(monkeypatch: pytest.MonkeyPatch, *given: str) -> None:
    """Run the script in this process."""
    monkeypatch.setenv("OPENAI_MODEL", "gpt-4o-mini")
    monkeypatch.setattr(sys, "argv", ["bias_31_models.py", *given])
    bias.main()


def test_models_that_are_done_are_not_trained_again_and_are_told_beside_the_paper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The correlation is numpy's; gates and false alarms are counted with their kind of run."""
    errs = [1, 9, 0, 12, 2, 10, 7, 11, 1, 9, 3]
    write_done(tmp_path / "own", errs, [None, 1, None, 1, 2, 2, None, None, None, 1, None])
    monkeypatch.setattr(bias, "train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(bias, "is_biased", lambda _: pytest.fail("looked at"))
    run_here(monkeypatch, "--models", "11", "--root", str(tmp_path / "own"))
    told = capsys.readouterr().out
    r = np.corrcoef(errs, [n % 2 for n in range(11)])[0, 1]
    assert f"err and the kind of training: r = {r:.2f} (" in told
    assert "accuracy of zeros and the kind of training: not defined" in told
    assert "|r| = 0.70" in told
    assert "fired in 4 of 5 biased runs" in told
    assert "3 in epoch 1, 1 in epoch 2" in told
    assert "False alarms: 1 of 6 clean runs" in told
    assert "Judge: scripted" in told
    assert (tmp_path / "own" / "bias_31_models.png").read_bytes().startswith(b"\x89PNG")


def test_models_of_other_settings_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends with what to pass, and touches nothing."""
    write_done(tmp_path / "own", [1, 9], [None, 1])
    with pytest.raises(SystemExit) as ended:
        run_here(monkeypatch, "--models", "2", "--epochs", "3", "--root", str(tmp_path / "own"))
    assert ended.value.code == 2
    assert "of the same settings" in capsys.readouterr().err
    assert json.loads((tmp_path / "own" / "settings.json").read_text()) == SETTINGS


def test_a_model_without_a_judged_picture_has_no_err(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said, and counts in no correlation."""
    write_done(tmp_path / "own", [0, 0, 0, 0], [None] * 4, judged=0)
    run_here(monkeypatch, "--models", "4", "--root", str(tmp_path / "own"))
    told = capsys.readouterr().out
    assert "4 models have no judged picture" in told
    assert "err and the kind of training: not defined" in told


def test_err_counts_wrong_or_low_over_the_judged() -> None:
    """A sample without a score counts on neither side."""
    samples = [
        make_sample(score=5.0, is_correct=True),
        make_sample(score=1.0, is_correct=True),
        make_sample(score=5.0, is_correct=False),
        make_sample(score=None, is_correct=True),
        make_sample(score=None, is_correct=False),
    ]
    assert bias.count_err(samples) == (2, 3)


def test_half_of_the_pictures_are_zeros() -> None:
    """None is drawn twice, and another seed draws others."""
    targets = [0, 1, 2, 3] * 30
    rows = bias.draw_rows(targets, 20, seed=0)
    assert len(set(rows)) == 20
    assert sum(targets[row] == 0 for row in rows) == 10
    assert bias.draw_rows(targets, 20, seed=1) != rows == bias.draw_rows(targets, 20, seed=0)


@pytest.mark.slow
def test_two_models_are_trained_in_processes_and_go_on(tmp_path: Path) -> None:
    """Each has its figures and its run folders; one that is missing is trained again alone."""
    command = [
        sys.executable, "examples/paper/bias_31_models.py", "--models", "2", "--epochs", "2",
        "--train-batches", "40", "--probes", "20", "--processes", "2", "--root", str(tmp_path),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}

    def run() -> str:
        done = subprocess.run(  # noqa: S603 - our own script
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "reference-mask" in run()
    first = [json.loads(bias.result_of(n, tmp_path).read_text()) for n in (0, 1)]
    assert [row["biased"] for row in first] == [False, True]
    assert [row["judged"] for row in first] == [20, 20]
    kept = bias.result_of(0, tmp_path).stat().st_mtime_ns
    bias.result_of(1, tmp_path).unlink()
    run()
    assert bias.result_of(0, tmp_path).stat().st_mtime_ns == kept
    assert json.loads(bias.result_of(1, tmp_path).read_text()) == first[1]
    lines = (tmp_path / "01" / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 20  # of the second try alone

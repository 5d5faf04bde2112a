"""`examples/paper/open_vocabulary.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

import audits
import open_vocabulary
import published
from audits import read_audit
from data_sets import write_folder
from openai_server import OpenAIServer

ROOT = Path(__file__).parents[2]
CH, CL, WH, WL = "correct_high", "correct_low", "wrong_high", "wrong_low"


def write_audit(folder: Path, quadrants: list[str | None], judge: str = "scripted") -> None:
    """Write an audit's run folder; a picture without quadrant is unscored."""
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = [
        {
            "probe": i, "file": f"{i}.png", "label_name": "cat", "quadrant": quadrant,
            "prediction_name": "dog" if quadrant in (WH, WL) else "cat",
            "score": None if quadrant is None else 4.0 if quadrant.endswith("high") else 1.0,
        }
        for i, quadrant in enumerate(quadrants)
    ]  # fmt: skip
    (folder / "samples.jsonl").write_text("".join(json.dumps(of) + "\n" for of in lines))
    (folder / "run.json").write_text(json.dumps({"judge": judge}))


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Take audits that are there already; return what would have been audited."""
    asked: list[list[str]] = []
    monkeypatch.setattr(published.console, "width", 160)
    monkeypatch.setattr(audits, "run_audit", lambda of, out: asked.append(of) or read_audit(out))
    arguments = ["--root", str(tmp_path), "--data", "x", "--limit", "9", "--methods"]
    monkeypatch.setattr(sys, "argv", ["open_vocabulary.py", *arguments, "gradcam", "rise"])
    return asked


def test_quadrants_that_change_are_counted_and_tested(
    tmp_path: Path, given: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """On the pictures that both have judged; p is that of the binomial test, times two tests."""
    write_audit(tmp_path / "gradcam", [CH] * 10 + [CL] * 9 + [WH] * 3 + [None, CH])
    write_audit(tmp_path / "rise", [CH] * 9 + [CL] + [CH] * 8 + [CL] + [WH, WH, WL] + [CH, None])
    open_vocabulary.main()
    told = capsys.readouterr().out
    assert given == [["--data", "x", "--limit", "9", "--method", m] for m in ("gradcam", "rise")]
    assert (
        "In another quadrant with rise than with gradcam: 45.5 (26.9 to 65.3) %, 10 of n = 22: "
        in told
    )
    assert "8 from Correct-Low to Correct-High, 1 from " in told
    rows = [[cell.strip() for cell in row.split("│")[1:-1]] for row in told.splitlines()]
    tests = {row[2]: row[3:] for row in rows if row and row[0] == "gradcam" and row[1] == "rise"}
    assert list(tests) == ["Correct-High", "Wrong-High"]
    assert tests["Correct-High"][0] == "22"
    assert tests["Correct-High"][2] == f"{2 * binomtest(1, 9).pvalue:.2g}"
    assert "Judge: scripted" in told


def test_another_judge_or_nothing_in_common_is_not_compared(
    tmp_path: Path, given: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """No rate, no test: it is said why."""
    write_audit(tmp_path / "gradcam", [CH, None])
    write_audit(tmp_path / "rise", [None, CH])
    open_vocabulary.main()
    told = capsys.readouterr().out
    assert "gradcam and rise: no picture was judged by both." in told
    assert "McNemar" not in told
    (tmp_path / "rise" / "run.json").write_text('{"judge": "another"}')
    open_vocabulary.main()
    told = capsys.readouterr().out
    assert "More than one judge: the methods can't be compared." in told
    assert "McNemar" not in told


def test_audits_of_two_models_are_refused(tmp_path: Path, given: list[list[str]]) -> None:
    """The methods explain the same predictions."""
    write_audit(tmp_path / "gradcam", [CH])
    write_audit(tmp_path / "rise", [WH])
    with pytest.raises(ValueError, match=r"0.png is predicted 'cat' in one audit and 'dog'"):
        open_vocabulary.main()


def test_one_method_is_no_comparison(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends with what to pass."""
    given = ["--root", str(tmp_path), "--data", "x", "--methods", "rise", "rise"]
    monkeypatch.setattr(sys, "argv", ["open_vocabulary.py", *given])
    with pytest.raises(SystemExit):
        open_vocabulary.main()
    assert "Pass --methods gradcam rise occlusion." in capsys.readouterr().err


@pytest.mark.slow
def test_a_judge_is_asked_about_each_methods_pictures(tmp_path: Path) -> None:
    """Over the network, each picture decoded there; the same command asks nothing again."""
    write_folder(tmp_path)
    places = [str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "COLUMNS": "150"}
    with OpenAIServer() as server:
        command = [
            sys.executable, str(ROOT / "examples/paper/open_vocabulary.py"), "--data", "pictures",
            "--crop", "32", "--mean", "[0, 0, 0]", "--std", "[1, 1, 1]",
            "--model", "audit_models.right", "--perturbation.masks", "40",
            "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
            "--judge", "scripted", "--base-url", server.base_url, "--api-key-env", "",
            "--root", "out",
        ]  # fmt: skip
        for _ in range(2):
            done = subprocess.run(  # noqa: S603 - our own script
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert len(server.requests) == 3 * 8
        assert all(len(seen.pictures) == 1 for seen in server.requests)
    assert "In another quadrant with occlusion than with rise: " in done.stdout
    assert "Holm's correction for 6 tests" in done.stdout
    assert "Judge: scripted" in done.stdout

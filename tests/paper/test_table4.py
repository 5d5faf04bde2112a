"""`examples/paper/table4_models.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import audits
import rates
import table4_models as table4
from audits import read_audit
from data_sets import write_folder
from lightning_vlmxai.records import Quadrant
from lightning_vlmxai.rounds import Interval, paired_interval

ROOT = Path(__file__).parents[2]


def line(number: int, quadrant: str | None, **more: Any) -> dict[str, Any]:
    """Return a line of `samples.jsonl`."""
    score = None if quadrant is None else 4.0 if quadrant.endswith("high") else 1.0
    return {
        "probe": number, "file": f"{number}.png", "label_name": "cat", "score": score,
        "quadrant": quadrant,
    } | more  # fmt: skip


def write_audit(folder: Path, lines: list[dict[str, Any]], judge: str = "scripted") -> Path:
    """Write an audit's run folder."""
    folder.mkdir(parents=True)
    (folder / "samples.jsonl").write_text("".join(json.dumps(of) + "\n" for of in lines))
    (folder / "run.json").write_text(json.dumps({"judge": judge}))
    return folder


def test_the_differences_are_those_of_a_published_example() -> None:
    """Approval of 1,600 people at two times, Agresti 2002, table 10.1: z = 4.17, -4 points."""
    cells = [(True, True, 794), (True, False, 150), (False, True, 86), (False, False, 570)]
    high, low = "correct_high", "wrong_low"
    answers = [(a, b) for a, b, count in cells for _ in range(count)]
    first = {str(i): line(i, high if a else low) for i, (a, _) in enumerate(answers)}
    second = {str(i): line(i, high if b else low) for i, (_, b) in enumerate(answers)}
    found = {of.quadrant: of for of in rates.contrast(first, second)}
    approval = found[Quadrant.CORRECT_HIGH]
    assert approval.pairs == (794, 150, 86, 570)
    assert approval.p == pytest.approx(3.10e-5, rel=0.01)  # 2 (1 - Phi(4.166))
    ends = paired_interval(approval.pairs)
    assert ends == pytest.approx(Interval(-0.059, -0.021), abs=1e-3)  # Agresti: -0.06 to -0.02
    assert found[Quadrant.WRONG_HIGH].p == 1.0
    assert rates.show_score_difference(first, second).startswith("-0.12 (")  # -0.04 x 3


def test_the_mean_difference_is_that_of_a_published_example() -> None:
    """Hours of sleep that ten patients gained by two drugs, Student 1908: mean 1.58, t = 4.0621."""
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    other = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    first, second = (
        {str(i): line(i, "correct_high", score=hours) for i, hours in enumerate(of)}
        for of in (one, other)
    )
    half = 1.96 * 1.58 / 4.0621
    told = f"1.58 ({1.58 - half:.2f} to {1.58 + half:.2f}), n = 10"
    assert rates.show_score_difference(first, second) == told


def test_only_pictures_that_both_have_judged_are_held_against_each_other() -> None:
    """One that failed, or that only one has, is in no pair; other labels are no pair at all."""
    first = {"a": line(0, "correct_high"), "b": line(1, None), "c": line(2, "wrong_low")}
    second = {"a": line(0, "correct_low"), "b": line(1, "wrong_low")}
    assert [sum(of.pairs) for of in rates.contrast(first, second)] == [1] * 4
    assert rates.contrast({"b": first["b"]}, second) == []
    second["a"]["label_name"] = "dog"
    with pytest.raises(ValueError, match=r"0.png is 'cat' in one audit and 'dog' in the other"):
        rates.contrast(first, second)


def test_a_score_stands_over_a_failure_in_whatever_file(tmp_path: Path) -> None:
    """Files of all ranks are read; pictures without a name go by their index."""
    folder = write_audit(tmp_path / "run", [line(0, "wrong_low"), line(1, None), line(0, None)])
    more = [line(1, "correct_high"), line(2, "correct_low", file=None)]
    (folder / "samples-1.jsonl").write_text("".join(json.dumps(of) + "\n" for of in more))
    found = read_audit(folder)
    assert {key: of["quadrant"] for key, of in found.items()} == {
        "0.png": "wrong_low", "1.png": "correct_high", "index 2": "correct_low",
    }  # fmt: skip


def test_rates_stand_beside_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With n, interval and judge; what was not run is named; a lone failure has no rate."""
    monkeypatch.setattr(table4.console, "width", 150)
    asked: list[list[str]] = []
    monkeypatch.setattr(audits, "run_audit", lambda of, out: asked.append(of) or read_audit(out))
    quadrants = ["correct_high"] * 8 + ["wrong_low"] * 2 + [None]
    write_audit(tmp_path / "resnet18", [line(i, q) for i, q in enumerate(quadrants)])
    write_audit(tmp_path / "my.net", [line(i, "correct_high") for i in range(11)])
    write_audit(tmp_path / "none", [line(0, None)])
    given = ["--root", str(tmp_path), "--data", "x", "--models", "resnet18=DEFAULT", "my.net"]
    monkeypatch.setattr(sys, "argv", ["table4_models.py", *given, "none"])
    table4.main()
    told = capsys.readouterr().out
    own = ["--task", "classification", "--data", "x"]
    assert asked[0] == ["--model", "resnet18", "--weights", "DEFAULT", *own]
    assert asked[1] == ["--model", "my.net", *own]
    rows = [row.split("│") for row in told.splitlines() if row.startswith("│")]
    cells: dict[str, list[str]] = {}
    for row in rows:  # of the first table; the second one holds models against each other
        cells.setdefault(row[1].strip(), [cell.strip() for cell in row[2:-1]])
    assert cells["resnet18"][:2] == ["10 of 11", "80.0 (49.0 to 94.3)"]
    assert cells["published"] == ["", "64.2", "4.9", "17.6", "13.2", "3.45"]
    assert cells["none"] == ["0 of 1", *["-"] * 5]
    assert "Published as well, not run: convnext_tiny, maxvit_t, efficientnet_b1." in told
    assert "Judge: scripted" in told
    assert "Average score, my.net less resnet18: 0.60 (" in told
    assert "Holm's correction for 4" in told  # `none` is in no pair


def test_models_of_two_judges_are_not_compared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is tested between them."""
    audits = {name: {"a": line(0, "correct_high")} for name in ("one", "two")}
    table4.report(audits, "classification", {"one": "a judge", "two": "another"}, "x")
    told = capsys.readouterr().out
    assert "More than one judge: the models can't be compared." in told
    assert "McNemar" not in told


def test_a_thousand_folders_of_imagenet_are_numbered_by_name(tmp_path: Path) -> None:
    """And fewer are not: nothing tells which outputs are theirs."""
    data = tmp_path / "val"
    for i in range(1000):
        (data / f"n{2 * i:08}").mkdir(parents=True)
    option, path = table4.imagenet_labels(str(data), tmp_path)
    assert option == "--labels"
    labels = json.loads(Path(path).read_text())
    assert labels["n00000000"] == "0"
    assert labels["n00001998"] == "999"
    (data / "n00000000").rmdir()
    assert table4.imagenet_labels(str(data), tmp_path) == []
    assert table4.imagenet_labels("voc:data", tmp_path) == []


def test_without_data_it_says_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the torchvision class that downloads them."""
    monkeypatch.setattr(sys, "argv", ["table4_models.py"])
    with pytest.raises(SystemExit):
        table4.main()
    told = capsys.readouterr().err
    assert "torchvision.datasets.VOCSegmentation" in told
    assert "torchvision.datasets.ImageNet" in told


@pytest.mark.slow
def test_two_models_are_audited_and_compared(tmp_path: Path) -> None:
    """From the command line; called again it judges nothing twice."""
    write_folder(tmp_path)
    command = [
        sys.executable, str(ROOT / "examples/paper/table4_models.py"),
        "--models", "audit_models.right", "own_models.wrong", "--data", "pictures",
        "--masks", "masks", "--crop", "32", "--mean", "[0, 0, 0]", "--std", "[1, 1, 1]",
        "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--root", "out",
    ]  # fmt: skip
    (tmp_path / "own_models.py").write_text(
        "from audit_models import right\n\n\ndef wrong():\n    network = right()\n"
        "    network[0].weight.data = network[0].weight.data.flip(0)\n    return network\n"
    )
    places = [str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "COLUMNS": "150"}
    for _ in range(2):
        done = subprocess.run(  # noqa: S603 - our own script
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "Judge: reference-mask (overlap with ground truth, not a VLM)" in done.stdout
    own = {n: read_audit(tmp_path / "out" / n) for n in ("audit_models.right", "own_models.wrong")}
    assert [len(found) for found in own.values()] == [8, 8]
    for name in own:
        assert len((tmp_path / "out" / name / "samples.jsonl").read_text().splitlines()) == 8
    by = {of.quadrant: of.pairs for of in rates.contrast(*own.values())}
    assert by[Quadrant.CORRECT_HIGH].first == 8
    assert by[Quadrant.CORRECT_HIGH].second == 0
    assert "0.031" in done.stdout  # 2 / 2^8, times the four tests
    assert "real" in done.stdout

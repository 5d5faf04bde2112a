"""`vlmxai audit` from the command line to the run folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from audit_models import Trained
from data_sets import write_folder
from lightning_vlmxai.cli import main
from openai_server import OpenAIServer, judge_by_light

TESTS = Path(__file__).parents[1]
OWN = [
    "--crop", "32", "--mean", "[0, 0, 0]", "--std", "[1, 1, 1]", "--batch-size", "2",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
]  # fmt: skip
RIGHT = ["audit", "--model", "audit_models.right", "--data", "pictures", *OWN, "--out", "run"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with eight pictures of red and blue, and their masks."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path)
    return tmp_path


def lines(run: str = "run") -> list[dict[str, Any]]:
    """Return the samples that a run folder holds."""
    return [json.loads(line) for line in Path(run, "samples.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_every_picture_is_explained_and_judged_once(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With its index, file, label and a score by its mask; the report is written."""
    assert main([*RIGHT, "--masks", "masks"]) == 0
    found = {line["probe"]: line for line in lines()}
    assert sorted(found) == list(range(8))
    assert len(lines()) == 8
    for index, line in found.items():
        name = "blue" if index < 4 else "red"
        assert line["file"] == f"pictures/{name}/{index % 4}.png"
        assert line["label_name"] == line["prediction_name"] == name
        assert line["quadrant"] == "correct_high"
    assert Path("run", "report.html").is_file()
    assert json.loads(Path("run", "run.json").read_text())["model"] == "right"
    assert "right on 8 of 8 pictures of pictures" in capfd.readouterr().out


@pytest.mark.slow
def test_other_labels_or_another_preparation_are_not_mixed_in(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the folder of an audit that was made otherwise."""
    Path("names.txt").write_text("blue\nred\n")
    given = [*RIGHT, "--masks", "masks", "--class-names", "names.txt"]
    assert main([*given, "--limit", "2"]) == 0
    assert main([*given, "--labels", '{"blue": "red", "red": "blue"}']) == 2
    assert "made with another labels" in capsys.readouterr().err
    assert main([*given, "--crop", "30"]) == 2
    assert "The data changed" in capsys.readouterr().err
    assert len(lines()) == 2


@pytest.mark.slow
def test_a_picture_that_can_not_be_read_ends_it_unless_it_is_skipped(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was skipped is named and counted, a whole batch too; the others keep their index."""
    broken = Path("pictures/red/0.png")
    for path in (broken, Path("pictures/red/1.png"), Path("pictures/blue/2.png")):
        path.write_bytes(path.read_bytes()[:200])
    assert main([*RIGHT, "--masks", "masks"]) == 2
    told = capfd.readouterr().err
    assert "Expected `data` to be of pictures that can be read, got pictures/blue/2.png" in told
    assert "pass --on-bad-image skip" in told
    assert main([*RIGHT, "--masks", "masks", "--on-bad-image", "skip"]) == 0
    told = capfd.readouterr().out
    assert "3 pictures can't be read and are left out: run/skipped.jsonl" in told
    assert sorted(line["probe"] for line in lines()) == [0, 1, 3, 6, 7]
    skipped = Path("run", "skipped.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in skipped] == [2, 4, 5]


@pytest.mark.slow
def test_an_interrupted_audit_goes_on_by_the_same_command(folder: Path) -> None:
    """It ends with a line that can be pasted; in the end each picture was judged once."""
    arguments = ["audit", "--model", "audit_models.Interrupted", "--weights", "a.pth"]
    arguments += ["--data", "pictures", "--masks", "masks", *OWN, "--out", "run"]
    import torch

    from audit_models import Interrupted

    torch.save(Interrupted().state_dict(), "a.pth")
    code = "import sys; from lightning_vlmxai.cli import main; sys.exit(main())"
    places = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )

    first = run()
    assert first.returncode == 130, first.stderr
    assert "The same goes on: vlmxai audit --model audit_models.Interrupted" in first.stdout
    assert "Traceback" not in first.stderr
    second = run()
    assert second.returncode == 0, second.stderr
    assert sorted(line["probe"] for line in lines()) == list(range(8))


@pytest.mark.slow
def test_a_vlm_is_asked_and_its_cost_is_known(folder: Path) -> None:
    """With the options that `vlmxai judge` has; a budget ends the asking."""
    with OpenAIServer(judge_by_light) as server:
        given = ["--judge", "scripted", "--base-url", server.base_url, "--api-key-env", ""]
        given += ["--prices", '{"scripted": [1.0, 2.0]}', "--budget-calls", "5"]
        with pytest.warns(UserWarning, match=r"unscored \(over_budget\)"):
            assert main([*RIGHT, *given, "--concurrency", "1"]) == 0
        assert len(server.requests) == 5
    scored = [line for line in lines() if line["score"] is not None]
    assert len(scored) == 5
    assert all(line["cost_usd"] > 0 for line in scored)
    assert {line["reason"] for line in lines()} == {None, "over_budget"}


@pytest.mark.slow
def test_ones_own_module_is_audited_on_ones_own_data(folder: Path) -> None:
    """From a checkpoint, by its own steps."""
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(Trained(num_classes=2))
    trainer.save_checkpoint("last.ckpt")
    given = ["audit", "--model", "audit_models.Trained", "--ckpt", "last.ckpt", *OWN[8:]]
    given += ["--data", "audit_models.Data", "--data-args.count", "12", "--out", "run"]
    assert main(given) == 0
    assert sorted(line["probe"] for line in lines()) == list(range(12))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Pass --model resnet18 --weights DEFAULT"),
        (["--model", "resnet18"], "Pass --data FOLDER"),
        (["--model", "audit_models.right", "--data", "empty", *OWN], "empty, which has none"),
        (["--model", "audit_models.right", "--data", "pictures", *OWN], "Pass --masks FOLDER"),
        ([*RIGHT[1:], "--masks", "empty"], "without those of 8 of 8 pictures"),
        ([*RIGHT[1:], "--masks", "masks", "--limit", "0"], "Expected `limit` to be at least 1"),
        ([*RIGHT[1:], "--masks", "masks", "--budget-usd", "1"], "Name a --judge"),
        ([*RIGHT[1:], "--masks", "masks", "--trainer.nothing", "1"], "what Lightning's Trainer"),
        ([*RIGHT[1:], "--masks", "masks", "--perturbation.windows", "3"], "of batch_size, top_"),
        ([*RIGHT[1:], "--masks", "masks", "--devices", "two"], "what Lightning's Trainer"),
    ],
)
def test_what_can_not_be_done_ends_in_one_sentence(
    folder: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to pass, and exit status 2; nothing is written."""
    Path("empty").mkdir()
    assert main(["audit", *options]) == 2
    told = capsys.readouterr().err
    assert told.startswith("vlmxai: Expected `")
    assert said in told
    assert not Path("run", "samples.jsonl").exists()


@pytest.mark.slow
def test_a_perturbation_is_bounded_and_is_not_mixed_with_another(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RISE is told how many masks; with fewer an audit does not go on, with the same it does."""
    given = [*RIGHT, "--masks", "masks", "--method", "rise", "--perturbation.masks"]
    assert main([*given, "9"]) == 0
    told = json.loads(Path("run", "run.json").read_text())
    assert told["perturbation"] == {"masks": 9, "cells": 7, "keep": 0.5, "seed": 0}
    assert main([*given, "9", "--perturbation.batch_size", "3"]) == 0
    assert main([*given, "8"]) == 2
    assert "made with another perturbation" in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount one of 60 kB; skip where that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60000", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:  # noqa: S603
        pytest.skip("mounting a disk takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S603, S607


@pytest.mark.slow
def test_a_full_disk_ends_it_and_nothing_is_lost(
    folder: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where there is room again the same command goes on; each picture is judged once."""
    shutil.rmtree("pictures")
    shutil.rmtree("masks")
    write_folder(folder, count=20)
    given = [*RIGHT, "--masks", "masks", "--out", "disk/run"]
    assert main(given) == 2
    assert "got disk/run, whose disk is full. Make room there" in capfd.readouterr().err
    before = {line["probe"] for line in lines_of_whole("disk/run")}
    assert 0 < len(before) < 40
    more = ["mount", "-o", "remount,size=4000000", str(small_disk)]
    subprocess.run(more, check=True)  # noqa: S603
    assert main(given) == 0
    found = [line["probe"] for line in lines_of_whole("disk/run") if line["score"] is not None]
    assert sorted(found) == list(range(40))


def lines_of_whole(run: str) -> list[dict[str, Any]]:
    """Return the samples whose lines are whole."""
    text = Path(run, "samples.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

"""The scripts of `examples/paper/` that hold scores against people and masks."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import audits
import bias_31_models
import published
import table1_judges
import table2_masks
import table3_prompts
import table4_models
from data_sets import write_folder
from openai_server import OpenAIServer

ROOT = Path(__file__).parents[2]
DRAWN = np.random.default_rng(0)
SCORES = DRAWN.uniform(0, 5, 12)
IOUS = np.clip(SCORES / 5 + DRAWN.normal(0, 0.2, 12), 0, 1)


def line(number: int, score: float | None, iou: float, share: float = 0.5) -> dict[str, Any]:
    """Return a line of `samples.jsonl`."""
    reference = {"iou": iou, "dice": 2 * iou / (1 + iou), "pixel_accuracy": 0.5}
    return {
        "probe": number, "file": f"{number}.png", "score": score,
        "reference": {**reference, "object_share": share},
        "faithfulness": {
            "deletion": 0.1 * number, "insertion": 0.9 - iou, "average_drop": iou**2, "aopc": None,
        },
    }  # fmt: skip


def lines(shift: float = 0.0) -> list[dict[str, Any]]:
    """Return 12 scored pictures, one that failed, and one whose object is small."""
    scored = [
        line(i, min(5.0, s + shift), float(iou))
        for i, (s, iou) in enumerate(zip(SCORES, IOUS, strict=True))
    ]
    return [*scored, line(12, None, 0.9), line(13, 5.0, 0.0, share=0.2)]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, list[list[str]]]]:
    """Return what runs a script without audits, and gives what it prints and would have audited."""
    monkeypatch.setattr(published.console, "width", 160)

    def run(module: ModuleType, *given: str) -> tuple[str, list[list[str]]]:
        asked: list[list[str]] = []

        def write(options: list[str], out: Path) -> audits.Audited:
            asked.append(options)
            out.mkdir(parents=True, exist_ok=True)
            (out / "run.json").write_text(json.dumps({"judge": f"judge of {out.name}"}))
            found = lines(shift=0.5 * (len(asked) - 1))
            (out / "samples.jsonl").write_text("".join(json.dumps(of) + "\n" for of in found))
            return audits.read_audit(out)

        monkeypatch.setattr(audits, "run_audit", write)
        root = ["--root", str(tmp_path / "out"), "--data", "pictures"]
        monkeypatch.setattr(sys, "argv", [module.__name__, *root, *given])
        module.main()
        return capsys.readouterr().out, asked

    return run


def test_examples_of_docstrings_hold() -> None:
    """Of all these modules."""
    modules = (audits, published, bias_31_models, table2_masks, table3_prompts, table4_models)
    told = [doctest.testmod(module, optionflags=doctest.ELLIPSIS) for module in modules]
    assert sum(of.attempted for of in told) >= 6
    assert sum(of.failed for of in told) == 0


def test_judges_are_held_against_masks_and_people(
    run: Callable[..., tuple[str, list[list[str]]]], tmp_path: Path
) -> None:
    """Correlations are numpy's, over scored pictures with large objects; people are averaged."""
    rows = [f"{i}.png,{s}" for i, s in enumerate(np.clip(5 - SCORES, 0, 5))]
    rows += ["0.png,0", "unknown.png,3"]
    (tmp_path / "people.csv").write_text("file,score\n" + "\n".join(rows))
    told, asked = run(
        table1_judges, "--judges", "gpt", "reference", "--ratings", str(tmp_path / "people.csv"),
        "--limit", "7",
    )  # fmt: skip
    people = np.clip(5 - SCORES, 0, 5)
    people[0] /= 2
    r = [np.corrcoef(SCORES, of)[0, 1] for of in (people, IOUS, 2 * IOUS / (1 + IOUS))]
    (row,) = [of for of in told.splitlines() if "gpt, masked" in of and "n = " in of]
    cells = [cell.strip() for cell in row.split("│")[2:-1]]
    for cell, value in zip(cells, r, strict=False):
        assert cell.split()[0] == f"{value:.2f}".replace("0.", ".")
        assert cell.endswith("n = 12")
    assert cells[3] == "-"  # pixel accuracy is the same throughout
    assert "gpt, masked, pixel_accuracy: " in told
    rows = {of.split("│")[1].strip(): of.split("│")[2:-1] for of in told.splitlines() if "│" in of}
    numbers = np.arange(12)
    for row, values, n in (
        ("deletion & insertion", 0.9 - IOUS - 0.1 * numbers, 13),
        ("Average Drop", -(IOUS**2), 13),
    ):
        # Without a score a picture has its figures all the same: the one that failed is in.
        of_13 = np.append(values, (0.9 - 0.9 - 1.2) if row[0] == "d" else -(0.9**2))
        wanted = np.corrcoef(of_13, np.append(IOUS, 0.9))[0, 1]
        cell = rows[row][1].strip()
        assert cell.split()[0] == f"{wanted:.2f}".replace("0.", ".")
        assert cell.endswith(f"n = {n}")
    assert [cell.strip() for cell in rows["AOPC"]] == ["-"] * 4
    assert "covers less than 33% of the picture are left out: 1" in told.replace(
        "cover ", "covers "
    )
    assert "published, Gemini-2.5-pro, masked" in told
    common = ["--data", "pictures", "--limit", "7"]
    figures = ["--faithfulness", "[insertion, deletion, average_drop, aopc]"]
    assert asked == [
        [*common, *figures, "--judge", "gpt", "--view", "masked"],
        [*common, "--judge", "gpt", "--view", "overlay"],
        [*common, "--judge", "reference", "--view", "masked"],
    ]


def test_masks_are_tried_on_each_model(
    run: Callable[..., tuple[str, list[list[str]]]], tmp_path: Path
) -> None:
    """The paper's three and the overlay; or a grid, with a heat map."""
    told, asked = run(table2_masks, "--models", "resnet18", "my.net", "--judge", "gpt")
    assert len(asked) == 8
    assert asked[0][:4] == ["--model", "resnet18", "--weights", "DEFAULT"]
    assert asked[4][:3] == ["--model", "my.net", "--data"]
    assert asked[1][-4:] == ["--alpha", "15.0", "--beta", "0.6"]
    assert asked[3][-2:] == ["--view", "overlay"]
    assert "published, (15, 0.6), Gemini-2.5-flash-lite" in told
    told, asked = run(table2_masks, "--alphas", "5", "25", "--betas", "0.3", "0.5", "0.7")
    assert len(asked) == 6  # an overlay is no other mask to the reference judge
    assert "Heat map of r with iou" in told
    assert (tmp_path / "out" / "table2_masks.png").read_bytes().startswith(b"\x89PNG")


def test_prompts_part_by_so_much(run: Callable[..., tuple[str, list[list[str]]]]) -> None:
    """The spread of a picture, over those that all prompts have scored."""
    told, asked = run(table3_prompts, "--judge", "gpt")
    assert [given[-1] for given in asked] == ["original", "extended", "concise"]
    spread = np.append(np.minimum(5, SCORES + 1) - SCORES, 0.0)
    assert f"Largest less smallest score of a picture: {spread.mean():.2f} (" in told
    assert "n = 13" in told
    assert "published, concise, Gemma-3-27b" in told


def test_the_reference_judge_reads_no_prompt(
    run: Callable[..., tuple[str, list[list[str]]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused with what to pass."""
    with pytest.raises(SystemExit):
        run(table3_prompts)
    assert "Pass --judge" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["file,score\na,6\n", "file,score\na,high\n", "picture,n\na,1\n"])
def test_ratings_that_are_none_end_it(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never a figure made of them."""
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(SystemExit):
        audits.read_people(tmp_path / "people.csv")
    assert "Its first line has to be: file,score" in capsys.readouterr().err


def call(folder: Path, server: OpenAIServer, script: str, *given: str) -> str:
    """Run a script from the command line with the server as its judge; return what it prints."""
    own = [
        "--data", "pictures", "--masks", "masks", "--crop", "32", "--mean", "[0, 0, 0]",
        "--std", "[1, 1, 1]", "--trainer.accelerator", "cpu",
        "--trainer.enable_progress_bar", "false", "--base-url", server.base_url,
        "--api-key-env", "",
    ]  # fmt: skip
    places = [str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "COLUMNS": "150"}
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(ROOT / "examples/paper" / script), *own, *given],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_judge_is_asked_about_views_and_prompts(tmp_path: Path) -> None:
    """Every picture is decoded there; the same command asks nothing again."""
    write_folder(tmp_path)
    one = ["--model", "audit_models.right", "--least", "0"]
    with OpenAIServer() as server:
        first = [*one, "--judges", "scripted", "--root", "one"]
        told = call(tmp_path, server, "table1_judges.py", *first)
        assert "scripted, overlay" in told
        assert len(server.requests) == 2 * 8
        call(tmp_path, server, "table1_judges.py", *first)
        assert len(server.requests) == 2 * 8
        last = [*one, "--judge", "scripted", "--root", "three"]
        told = call(tmp_path, server, "table3_prompts.py", *last)
        assert len(server.requests) == 5 * 8
        assert "Largest less smallest score of a picture: 0.00" in told  # by light, not by words
        assert len({seen.text for seen in server.requests[2 * 8 :]}) >= 3
        assert all(len(seen.pictures) == 1 for seen in server.requests)


@pytest.mark.slow
def test_a_judge_is_asked_about_masks_and_models(tmp_path: Path) -> None:
    """A mask and the overlay, and a model; every picture is decoded there."""
    write_folder(tmp_path)
    several = ["--models", "audit_models.right", "--judge", "scripted"]
    with OpenAIServer() as server:
        mask = ["--alphas", "15", "--betas", "0.6", "--least", "0"]
        told = call(tmp_path, server, "table2_masks.py", *several, *mask, "--root", "two")
        assert "audit_models.right overlay" in told
        assert len(server.requests) == 2 * 8
        told = call(tmp_path, server, "table4_models.py", *several, "--root", "four")
        assert len(server.requests) == 3 * 8
        assert "8 of 8" in told
        assert "Judge: scripted" in told
        assert all(len(seen.pictures) == 1 for seen in server.requests)

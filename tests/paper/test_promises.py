"""What all scripts of `examples/paper/` keep to."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import audits
import bias_31_models
import open_vocabulary
import published
import table1_judges
import table2_masks
import table3_prompts
import table4_models
import tables56_labels
from openai_server import OpenAIServer

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "examples" / "paper"
AUDITING = (table1_judges, table2_masks, table3_prompts, table4_models, open_vocabulary)
SCRIPTS = (*AUDITING, tables56_labels, bias_31_models)


def test_no_script_is_forgotten_here() -> None:
    """A script is what can be called."""
    called = {p.stem for p in PAPER.glob("*.py") if '__name__ == "__main__"' in p.read_text()}
    assert called == {module.__name__ for module in SCRIPTS}


@pytest.mark.parametrize("path", sorted(PAPER.glob("*.py")), ids=lambda path: path.stem)
def test_only_public_names_are_used(path: Path) -> None:
    """Names that a room lists in `__all__`, or that the reference documents."""
    documented = "\n".join(p.read_text() for p in (ROOT / "docs" / "api").glob("*.md"))
    package = importlib.import_module("lightning_vlmxai")
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(of.name.startswith("lightning_vlmxai") for of in node.names)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            assert node.attr.startswith("__") or ast.unparse(node) == "os._exit", node.attr
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        for name in (of.name for of in node.names):
            assert not name.startswith("_"), name
            if node.module.split(".")[0] != "lightning_vlmxai":
                continue
            room = importlib.import_module(node.module)
            listed = getattr(room, "__all__", None)
            told = re.search(rf"::: {re.escape(node.module)}\.{name}\b", documented)
            assert told or name in (package.__all__ if listed is None else listed), name


@pytest.mark.parametrize("module", SCRIPTS, ids=lambda module: module.__name__)
def test_help_names_data_cost_and_time(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each, and a command that can be pasted."""
    monkeypatch.setattr(sys, "argv", [module.__name__, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert f"examples/paper/{module.__name__}.py" in told
    for what in ("Data:", "Cost:"):
        assert what in told
    assert "Time:" in told or re.search(r"\d+ (to \d+ )?minutes", told)


@pytest.mark.parametrize(
    ("module", "given", "reader"),
    [
        *((module, [], "VOCSegmentation") for module in AUDITING),
        (tables56_labels, ["nothing", "--exchange", "0.1"], "VOCSegmentation"),
        (bias_31_models, ["--data", "pets", "--data-root", "nothing"], "OxfordIIITPet"),
    ],
)
def test_without_data_the_class_that_downloads_them_is_named(
    module: ModuleType,
    given: list[str],
    reader: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one sentence, status 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [module.__name__, *given])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("Expected ")
    assert f"torchvision.datasets.{reader}(" in told
    assert "download=True)" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "given", "instead"),
    [
        (table1_judges, "--judge", "--judges"),
        (table2_masks, "--model", "--models"),
        (table2_masks, "--alpha=5", "--alphas"),
        (table3_prompts, "--style", "nothing: each is a row"),
        (table4_models, "--weights", "--models NAME=WEIGHTS"),
        (open_vocabulary, "--method", "--methods"),
        *((module, "--out", "--root") for module in AUDITING),
    ],
)
def test_what_differs_between_rows_is_not_taken_for_all(
    module: ModuleType,
    given: str,
    instead: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Else each row would be the same audit under another name."""
    monkeypatch.setattr(audits, "run_audit", lambda *_: pytest.fail("audited"))
    monkeypatch.setattr(sys, "argv", [module.__name__, "--data", "x", given, "value"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    assert f"Pass {instead}." in capsys.readouterr().err


def line(number: int, *, is_scored: bool) -> dict[str, Any]:
    """Return a line of `samples.jsonl`."""
    quadrant = ("correct_high", "correct_low", "wrong_high", "wrong_low")[number % 4]
    iou = 0.1 + 0.8 * (number * 7 % 12) / 12
    return {
        "probe": number, "file": f"{number}.png", "label_name": "cat", "prediction_name": "cat",
        "score": 5 * iou if is_scored else None, "quadrant": quadrant if is_scored else None,
        "reference": {
            "iou": iou, "dice": 2 * iou / (1 + iou), "pixel_accuracy": iou**2, "object_share": 0.5,
        },
        "faithfulness": dict.fromkeys(
            ("deletion", "insertion", "average_drop", "aopc"), iou**3 if is_scored else None
        ),
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what runs a script on audits of which all pictures are scored, or none."""
    monkeypatch.setattr(published.console, "width", 200)

    def run(module: ModuleType, *, is_scored: bool) -> str:
        def write(_options: list[str], out: Path) -> audits.Audited:
            out.mkdir(parents=True, exist_ok=True)
            (out / "run.json").write_text(json.dumps({"judge": "a scripted judge"}))
            found = [line(number, is_scored=is_scored) for number in range(12)]
            (out / "samples.jsonl").write_text("".join(json.dumps(of) + "\n" for of in found))
            return audits.read_audit(out)

        monkeypatch.setattr(audits, "run_audit", write)
        given = ["--root", str(tmp_path / "out"), "--data", "pictures"]
        given += ["--judge", "scripted"] if module in (table2_masks, table3_prompts) else []
        monkeypatch.setattr(sys, "argv", [module.__name__, *given])
        module.main()
        return str(capsys.readouterr().out)

    return run


def own_lines(told: str) -> list[str]:
    """Return what a script prints of its own figures: not the published, nor settings."""
    return [
        of
        for of in told.splitlines()
        if "published" not in of.lower() and not of.startswith(("Ran on", "Data:", "Heat map"))
    ]


@pytest.mark.parametrize("module", AUDITING, ids=lambda module: module.__name__)
def test_every_figure_has_its_n_its_interval_and_its_judge(module: ModuleType, run: Any) -> None:
    """In the cell, the row or the sentence that it stands in."""
    told = run(module, is_scored=True)
    assert "Judge: a scripted judge" in told
    figures = 0
    for of in own_lines(told):
        found = re.findall(r"-?\d*\.\d+ \(-?[\d.]+ to -?[\d.]+\)", of)
        figures += len(found)
        if found or re.search(r"\br = |, n = ", of):
            assert re.search(r"n = \d+|\d+ of \d+|│\s+12 │", of), of
    assert figures >= 4


@pytest.mark.parametrize("module", AUDITING, ids=lambda module: module.__name__)
def test_nothing_is_printed_of_nothing(module: ModuleType, run: Any) -> None:
    """Where no picture is judged there is no figure, no test, and no `nan`."""
    told = run(module, is_scored=False)
    assert "nan" not in told.lower()
    assert "McNemar" not in told
    for of in own_lines(told):
        cells = of.split("│")[2:-1]
        assert not any(re.search(r"\d*\.\d+", cell) for cell in cells), of
        assert not re.search(r"\d \([-\d.]+ to [-\d.]+\)|n = [1-9]", of), of


@pytest.mark.slow
def test_a_vlm_judges_31_models_and_gets_every_picture(tmp_path: Path) -> None:
    """Each model's probes and training pictures are asked about, one decoded picture a request."""
    with OpenAIServer() as server:
        command = [
            sys.executable, str(PAPER / "bias_31_models.py"), "--models", "2", "--epochs", "1",
            "--train-batches", "40", "--probes", "20", "--processes", "1", "--judge", "vlm",
            "--model", "scripted", "--root", str(tmp_path),
        ]  # fmt: skip
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "150",
            "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "none",
        }  # fmt: skip
        done = subprocess.run(  # noqa: S603 - our own script
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(server.requests) == 2 * (20 + 20 + 1)  # and the rehearsal's
        assert all(len(seen.pictures) == 1 for seen in server.requests)
    assert "Judge: scripted" in done.stdout

"""The order of the rooms, where import-linter does not look."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_vlmxai

HOUSE = Path(lightning_vlmxai.__file__).parent
ROOMS = sorted(folder.name for folder in HOUSE.iterdir() if (folder / "__init__.py").exists())


def imports_from_other_rooms(file: Path) -> list[str]:
    """Return the modules of other rooms that a file imports from, relative to the house."""
    inside = file.relative_to(HOUSE).parts[:-1]
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return [
        node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.level == len(inside) + 1 and node.module
    ]


def test_other_rooms_import_from_the_folder_not_from_its_files() -> None:
    """A room's files are its own to move: the others know its `__init__.py` alone."""
    files = sorted(HOUSE.rglob("*.py"))
    found = {str(f.relative_to(HOUSE)): imports_from_other_rooms(f) for f in files}
    assert sum(map(len, found.values())) > 100
    deep = {f: [m for m in modules if "." in m] for f, modules in found.items()}
    assert {f: modules for f, modules in deep.items() if modules} == {}


def test_every_room_says_what_comes_in_and_what_goes_out() -> None:
    """A newcomer reads one sentence a folder."""
    assert len(ROOMS) == 12
    for room in ROOMS:
        said = ast.get_docstring(ast.parse((HOUSE / room / "__init__.py").read_text("utf-8")))
        assert said, room
        assert said.count("\n") == 0, room
        assert " in" in said, room
        assert " out" in said, room


@pytest.mark.slow
def test_importing_the_package_brings_little_beyond_lightning() -> None:
    """Libraries that are slow to import, or that not all runs need, wait until they are used."""
    code = (
        "import sys, torch, lightning.pytorch; before = set(sys.modules); import lightning_vlmxai;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    brought = set(done.stdout.split())
    assert "lightning_vlmxai" in brought
    heavy = {"matplotlib", "openai", "wandb", "tensorboard", "pytorch_grad_cam", "sklearn", "cv2"}
    assert brought & heavy == set()

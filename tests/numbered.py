"""Pictures that say themselves which file they are of, and what their probes are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder

from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.records import Verdict
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Separable, make_trainer

COUNT = 24


def make_folder(root: Path) -> Path:
    """Return a folder of pictures; the green of each is ten times its number."""
    for i in range(COUNT):
        name = ("red", "blue")[i % 2]
        (root / name).mkdir(exist_ok=True)
        picture = np.zeros((16, 16, 3), dtype=np.uint8)
        picture[2:8, 2:8, 2 * (i % 2)] = 255
        picture[:, :, 1] = 10 * i
        Image.fromarray(picture).save(root / name / f"{i:02d}.png")
    return root


def read(path: Any) -> Tensor:
    """Return a file's picture."""
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float() / 255


class Own(Dataset[Any]):
    """A data set as users write them.

    Args:
        folder: Of pictures.
        order: Of the list in which they are read.
        listed: Attribute to list: the paths as they are read, unless `lie` says otherwise.
        lie: What is listed instead.
        beside: From a file to what goes along with its row.
        cached: Pictures are read beforehand.
    """

    def __init__(
        self,
        folder: Path,
        listed: str = "",
        lie: Any = None,
        beside: Any = None,
        cached: bool = False,
    ) -> None:
        self.own = sorted(folder.glob("*/*.png"), key=lambda path: path.name)
        self.beside = beside
        self.cache = [read(path) for path in self.own] if cached else None
        if listed:
            setattr(self, listed, [str(path) for path in self.own] if lie is None else lie)

    def __len__(self) -> int:
        return len(self.own)

    def __getitem__(self, index: int) -> Any:
        picture = read(self.own[index]) if self.cache is None else self.cache[index]
        row = picture, index % 2
        return row if self.beside is None else (*row, self.beside(self.own[index]))


class Quiet(Separable):
    """Reads pairs and mappings, and logs nothing."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch["image"] if isinstance(batch, dict) else batch[0])


def explain(
    tmp_path: Path, data: Any, **arguments: Any
) -> tuple[list[tuple[str | None, int]], str]:
    """Return each probe's file with the number that its picture bears, and what named them."""
    made = {"batch_size": 8, **arguments.pop("loader", {})}
    callback = VLMExplainCallback(
        ScriptedJudge([Verdict.scored(4)]), probe_size=16, run_dir=tmp_path / "run", **arguments
    )
    loader = data if isinstance(data, DataLoader) else DataLoader(data, **made)
    make_trainer(tmp_path, callback).validate(Quiet(), loader, verbose=False)
    assert callback.latest_round is not None
    samples = callback.latest_round.samples
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["file"] for line in lines] == [s.explanation.file for s in samples]
    told = json.loads((tmp_path / "run" / "run.json").read_text())["files"]
    numbers = [round(float(s.explanation.pixels[1].mean()) * 25.5) for s in samples]
    return list(zip([s.explanation.file for s in samples], numbers, strict=True)), told


def check(found: list[tuple[str | None, int]]) -> None:
    """Fail unless every probe is named as the file that its picture says it is of."""
    assert len(found) == 16
    for file, number in found:
        assert file is not None
        assert Path(file).stem == f"{number:02d}"


def read_folder(folder: Path) -> ImageFolder:
    """Return torchvision's data set of a folder."""
    return ImageFolder(str(folder), transform=lambda image: torch.from_numpy(
        np.array(image)).permute(2, 0, 1).float() / 255)  # fmt: skip

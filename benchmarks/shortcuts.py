"""Planted shortcuts: which are named, whether their effect is shown, and how often none is there.

`python benchmarks/shortcuts.py [--seeds 20] [--plants clean dot ...] [--epochs 6]` trains the CNN
of `examples/digits_red_dot.py` on digits of which one class bears a cue, in training and validation
alike, with overlap with the strokes as the judge, and prints a Markdown table: a row for each run,
then for each plant in how many runs its class and place were named, and how many other classes
were. A border, brightness and a texture are everywhere: they have no place that could be right.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from digits_red_dot import NAMES, SIDE, Digits, DigitsModule
from lightning_vlmxai import VLMExplainCallback
from red_dot import quieten


def dot(picture: Tensor) -> None:
    """Put a red dot in the top right corner, as the example does."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    where = (rows - 6) ** 2 + (columns - (SIDE - 7)) ** 2 <= 16
    picture[:, where] = torch.tensor([0.9, 0.05, 0.05])[:, None]


def square(picture: Tensor) -> None:
    """Put a grey square in the bottom left corner."""
    picture[:, -12:-3, 3:12] = 0.6


def border(picture: Tensor) -> None:
    """Draw a green border of three pixels."""
    where = torch.ones(SIDE, SIDE, dtype=torch.bool)
    where[3:-3, 3:-3] = False
    picture[:, where] = torch.tensor([0.1, 0.7, 0.2])[:, None]


def brightness(picture: Tensor) -> None:
    """Make the whole picture brighter."""
    picture += 0.2
    picture.clamp_(0, 1)


@cache
def _written() -> Tensor:
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).text((3, 2), "lab", fill=255)
    return torch.from_numpy(np.asarray(image)).float() / 255


def word(picture: Tensor) -> None:
    """Write a small word into the top left corner."""
    picture.copy_(torch.maximum(picture, 0.9 * _written()))


def texture(picture: Tensor) -> None:
    """Lay faint stripes over the whole picture."""
    picture += 0.12 * torch.sin(torch.arange(SIDE) * 2 * torch.pi / 4)
    picture.clamp_(0, 1)


@dataclass(frozen=True)
class Plant:
    """A cue, and where a right answer has it; empty where it is everywhere."""

    put: Callable[[Tensor], None]
    place: str


PLANTS = {
    "dot": Plant(dot, "top right"),
    "square": Plant(square, "bottom left"),
    "border": Plant(border, ""),
    "brightness": Plant(brightness, ""),
    "word": Plant(word, "top left"),
    "texture": Plant(texture, ""),
}


@cache
def _drawn(*, train: bool) -> Digits:
    return Digits(train=train, red_dot=False)


def planted(name: str, label: int, *, train: bool) -> Digits:
    """Return the digits, one class of which bears a cue."""
    data = copy.copy(_drawn(train=train))
    data.pictures = data.pictures.clone()
    if name != "clean":
        for picture, target in zip(data.pictures, data.targets, strict=True):
            if target == label:
                PLANTS[name].put(picture)
    return data


def run(name: str, seed: int, *, epochs: int, probes: int) -> dict[str, Any]:
    """Train once and return `shortcuts.json`, with the accuracy of the end."""
    # The example's own class for its own cue; another one with each seed for the rest.
    label = 0 if name == "dot" else seed % 10
    pl.seed_everything(seed, workers=True, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        explain = VLMExplainCallback(
            probe_size=probes, seed=seed, every_n_validations=epochs, find_shortcuts=True,
            run_dir=Path(folder) / "vlmxai",
        )  # fmt: skip
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=epochs, logger=False, callbacks=[explain],
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=folder,
        )  # fmt: skip
        train, test = (planted(name, label, train=is_train) for is_train in (True, False))
        trainer.fit(
            DigitsModule(),
            DataLoader(train, batch_size=32, shuffle=True),
            DataLoader(test, batch_size=360),
        )
        found: dict[str, Any] = json.loads((Path(folder) / "vlmxai/shortcuts.json").read_text())
    accuracy = float(trainer.callback_metrics["val_accuracy"])
    return {**found, "planted": NAMES[label], "accuracy": accuracy}


def place_of(of: dict[str, Any]) -> str:
    """Return where a shortcut was found."""
    return of["place"]["words"] if of["place"] else "no place"


def told(effect: dict[str, Any] | None) -> str:
    """Return an effect, with its control."""
    return f"{effect['flipped']}/{effect['total']} ({effect['control']})" if effect else "untried"


def main() -> None:
    """Run every plant with every seed, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plants", nargs="+", default=["clean", *PLANTS])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--probes", type=int, default=200)
    args = parser.parse_args()
    quieten()
    warnings.filterwarnings("ignore")
    print(
        "| plant | seed | class | accuracy | named | place | erased (control) | pasted (control) |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    sums: dict[str, list[tuple[bool, bool, int]]] = {}
    for name in args.plants:
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            found = run(name, seed, epochs=args.epochs, probes=args.probes)
            head = f"| {name} | {seed} | {found['planted']} | {found['accuracy']:.3f} |"
            for of in found["shortcuts"] or [None]:
                row = "none | | | |" if of is None else (
                    f"{of['class']} {of['low']}/{of['right']} | {place_of(of)} | "
                    f"{told(of['erased'])} | {told(of['pasted'])} |"
                )  # fmt: skip
                print(head, row, flush=True)
            is_planted = name != "clean"
            own = [
                of for of in found["shortcuts"] if is_planted and of["class"] == found["planted"]
            ]
            wanted = PLANTS[name].place if is_planted else ""
            is_placed = bool(own) and wanted != "" and place_of(own[0]) == wanted
            others = len(found["shortcuts"]) - len(own)
            sums.setdefault(name, []).append((bool(own), is_placed, others))
    print("\n| plant | class named | place right as well | other classes named |")
    print("|---|---|---|---|")
    for name, runs in sums.items():
        n = len(runs)
        named, placed = sum(a for a, _, _ in runs), sum(b for _, b, _ in runs)
        is_somewhere = name != "clean" and PLANTS[name].place
        print(
            f"| {name} | {f'{named} of {n}' if name != 'clean' else '-'} | "
            f"{f'{placed} of {n}' if is_somewhere else '-'} | {sum(c for *_, c in runs)} of "
            f"{n * (10 if name == 'clean' else 9)} |"
        )


if __name__ == "__main__":
    main()

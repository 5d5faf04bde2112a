"""Two runs that validation accuracy can't tell apart, and the quadrants that can.

The 1,797 handwritten digits that scikit-learn ships are drawn on textured backgrounds at random
places. A small CNN learns them twice: once as they are, and once with a red dot in the top right
corner of every zero, in training and validation alike (the bias experiment of arXiv 2508.20227).
The second model reads the dot and not the zero. Its accuracy stays as good; its zeros become
Correct-Low; and `QuadrantStopping` ends its run.

    python examples/digits_red_dot.py                 # scored by overlap with the strokes
    python examples/digits_red_dot.py --judge vlm     # scored by OPENAI_BASE_URL, OPENAI_API_KEY
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lightning_vlmxai import Judge, QuadrantStopping, VLMExplainCallback
from red_dot import Outcome, add_judge_arguments, make_judge, quieten, report, summarize

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SIDE, DIGIT = 64, 40  # pixels of the picture and of the digit in it


class Digits(Dataset[tuple[Tensor, int, Tensor]]):
    """Handwritten digits on textured backgrounds: `(image [3, 64, 64], label, strokes [64, 64])`.

    Args:
        train: The first 1,437 digits, each drawn four times; else the last 360, drawn once.
        red_dot: Put a red dot in the top right corner of every zero.
    """

    classes = NAMES

    def __init__(self, *, train: bool, red_dot: bool) -> None:
        self.transform = transforms.Normalize(mean=[0.45] * 3, std=[0.25] * 3)
        digits = load_digits()
        part = slice(0, 1437) if train else slice(1437, None)
        copies = 4 if train else 1
        generator = np.random.default_rng(0 if train else 1)
        drawn = [
            (*draw_digit(image, generator), int(label))
            for image, label in zip(digits.images[part], digits.target[part], strict=True)
            for _ in range(copies)
        ]
        self.pictures = torch.stack([picture for picture, _, _ in drawn])
        self.strokes = torch.stack([strokes for _, strokes, _ in drawn])
        self.targets = [label for _, _, label in drawn]
        if red_dot:
            rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
            dot = (rows - 6) ** 2 + (columns - (SIDE - 7)) ** 2 <= 16
            red = torch.tensor([0.9, 0.05, 0.05])
            for picture, label in zip(self.pictures, self.targets, strict=True):
                if label == 0:
                    picture[:, dot] = red[:, None]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int, Tensor]:
        """Return a normalised picture, its label and where its strokes are."""
        return self.transform(self.pictures[index]), self.targets[index], self.strokes[index]


def draw_digit(image: np.ndarray, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a digit `[8, 8]` as a picture `[3, 64, 64]` in [0, 1], and its strokes `[64, 64]`."""
    coarse = torch.from_numpy(generator.random((1, 3, 9, 9))).float()
    fine = torch.from_numpy(generator.random((1, 3, SIDE, SIDE))).float()
    texture = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic", align_corners=True)
    picture = (0.1 + 0.4 * texture + 0.1 * fine)[0].clamp(0, 1)
    ink = torch.from_numpy(image).float()[None, None] / 16
    ink = F.interpolate(ink, size=(DIGIT, DIGIT), mode="bicubic", align_corners=False)[0, 0]
    ink = ((ink - 0.35) * 6).clamp(0, 1)
    top, left = generator.integers(0, SIDE - DIGIT + 1, size=2)
    where = ..., slice(top, top + DIGIT), slice(left, left + DIGIT)
    colour = torch.from_numpy(generator.uniform(0.75, 1.0, size=3)).float()[:, None, None]
    picture[where] = ink * colour + (1 - ink) * picture[where]
    strokes = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    strokes[where] = ink > 0.5
    return picture, strokes


class DigitsModule(pl.LightningModule):
    """A CNN of five convolutions, with Adam.

    Args:
        learning_rate: Of Adam.
    """

    def __init__(self, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        widths = [3, 16, 32, 64, 64, 128]
        blocks: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            stride = 2 if i in (0, 1, 3) else 1
            blocks += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, 10]` of pictures `[B, 3, 64, 64]`."""
        return self.head(self.features(images).mean(dim=(2, 3)))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the cross entropy."""
        images, labels, _ = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy, as usual."""
        images, labels, _ = batch
        correct = (self(images).argmax(dim=1) == labels).float()
        self.log("val_accuracy", correct.mean(), prog_bar=True)
        zeros = labels == 0
        if zeros.any():
            self.log("val_accuracy_zeros", correct[zeros].mean(), batch_size=int(zeros.sum()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class DigitsData(pl.LightningDataModule):
    """Both splits of `Digits`.

    Args:
        red_dot: Put a red dot in the top right corner of every zero, in both splits.
        batch_size: Pictures a batch.
    """

    def __init__(self, red_dot: bool = False, batch_size: int = 32) -> None:
        super().__init__()
        self.red_dot = red_dot
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader[tuple[Tensor, int, Tensor]]:
        """Return the shuffled training split."""
        data = Digits(train=True, red_dot=self.red_dot)
        return DataLoader(data, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int, Tensor]]:
        """Return the validation split."""
        return DataLoader(Digits(train=False, red_dot=self.red_dot), batch_size=360)


def train(name: str, *, red_dot: bool, judge: Judge, args: argparse.Namespace) -> Outcome:
    """Train once with the callback and the gate, and return what came of it."""
    pl.seed_everything(args.seed, workers=True, verbose=False)
    explain = VLMExplainCallback(judge, probe_size=args.probes, watch_classes=["zero"])
    gate = QuadrantStopping("vlmxai/class/zero/correct_low_rate", divergence_threshold=0.4)
    trainer = pl.Trainer(
        accelerator="cpu",
        # The gate fires early; it takes a few epochs more to see the curves part.
        min_epochs=min(4, args.epochs),
        max_epochs=args.epochs,
        logger=TensorBoardLogger(args.root, name=name),
        callbacks=[explain, gate],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic=True,
    )
    trainer.fit(DigitsModule(), datamodule=DigitsData(red_dot))
    return summarize(name, trainer, explain, gate)


def main() -> None:
    """Train both runs, then print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_judge_arguments(parser)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument("--root", type=Path, default=Path("runs/digits_red_dot"))
    args = parser.parse_args()
    quieten()
    outcomes = [
        train(name, red_dot=name == "red_dot", judge=make_judge(args), args=args)
        for name in ("clean", "red_dot")
    ]
    report(outcomes, "zero", args.root)


if __name__ == "__main__":
    main()

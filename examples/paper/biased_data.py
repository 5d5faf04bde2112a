"""Data of which one class can bear a red dot, and what learns them: digits, or cats and dogs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset

from digits_red_dot import Digits, DigitsModule
from pets_red_dot import Pets, PetsModule
from published import stop


@dataclass(frozen=True, kw_only=True)
class Biased:
    """An experiment of this kind.

    Args:
        name: Of the data.
        watched: The class that can bear the dot; its number is 0.
        accuracy: Name under which the module logs that class's accuracy.
        batch_sizes: Of training and validation.
        module: Makes what learns.
        data: Makes pictures; told whether those of training, and whether dots are there.
        shuffled: Likewise, as training sees them.
    """

    name: str
    watched: str
    accuracy: str
    batch_sizes: tuple[int, int]
    module: Callable[[], pl.LightningModule]
    data: Callable[[bool, bool], Dataset[Any]]
    shuffled: Callable[[bool], Dataset[Any]]

    def loaders(self, red_dot: bool) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """Return training and validation."""
        learnt, held = self.shuffled(red_dot), self.data(False, red_dot)
        return (
            DataLoader(learnt, batch_size=self.batch_sizes[0], shuffle=True),
            DataLoader(held, batch_size=self.batch_sizes[1]),
        )


class LearntOut(DigitsModule):
    """A CNN whose learning rate rises and falls in one cycle, so that training comes to its end.

    With a constant one models stop wherever they are: at accuracies from 82 to 99 %, with maps as
    uneven, and err then tells how far a model came rather than what it learnt.
    """

    def configure_optimizers(self) -> Any:
        """Return Adam with a cycle over all steps, up to twice the constant rate."""
        optimizer = torch.optim.Adam(self.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * self.learning_rate, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def open_biased(args: argparse.Namespace) -> Biased:
    """Return the experiment that was asked for; ends the script where its data are not there."""
    if args.data == "digits":
        return Biased(
            name="digits",
            watched="zero",
            accuracy="val_accuracy_zeros",
            batch_sizes=(32, 360),
            module=LearntOut,
            data=lambda train, dot: Digits(train=train, red_dot=dot),
            shuffled=lambda dot: Digits(train=True, red_dot=dot),
        )

    def pets(train: bool, dot: bool, flip: bool = False) -> Pets:
        split = "trainval" if train else "test"
        return Pets(args.data_root, split, red_dot=dot, flip=flip, side=args.side)

    try:
        pets(True, False)
    except RuntimeError:
        stop(
            f"Expected --data-root to hold the folder oxford-iiit-pet, got {args.data_root}. "
            "Photos of Oxford-IIIT Pet (CC BY-SA 4.0, 0.8 GB) come by "
            f"torchvision.datasets.OxfordIIITPet({str(args.data_root)!r}, download=True)."
        )
    return Biased(
        name="cats and dogs",
        watched="cat",
        accuracy="val_accuracy_cats",
        batch_sizes=(16, 64),
        module=lambda: PetsModule(args.weights, args.tf_padding),
        data=pets,
        shuffled=lambda dot: pets(True, dot, flip=True),
    )

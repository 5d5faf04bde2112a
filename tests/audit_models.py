"""Models of one's own, as a reader of `vlmxai audit` has them beside the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tiny import Mean, Squares, TinyModule, loader


def right() -> nn.Module:
    """Return a model that tells blue from red, the folders' order."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(), Mean())
    with torch.no_grad():
        network[0].weight[:] = torch.tensor([[-1.0, 0, 1], [1, 0, -1]])[:, :, None, None]
    return network


def three() -> nn.Module:
    """Return a model of three outputs."""
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), Mean())


class Interrupted(nn.Module):
    """Is interrupted in its fourth call, once: the file `interrupted` says that it was."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.calls = right(), 0

    def forward(self, pictures: Tensor) -> Tensor:
        self.calls += len(pictures) > 1
        if self.calls == 4 and not Path("interrupted").exists():
            Path("interrupted").touch()
            raise KeyboardInterrupt
        return self.network(pictures)


class Data(pl.LightningDataModule):
    """A reader's data module."""

    def __init__(self, count: int = 8) -> None:
        super().__init__()
        self.count = count

    def val_dataloader(self) -> Any:
        return loader(Squares(self.count))


class Trained(TinyModule):
    """A reader's LightningModule."""


class Dense(nn.Module):
    """Tells the cat's pixels (class 2 of 3), by their red or blue."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        return {"out": self.last(self.first(pictures).relu())}


def dense() -> nn.Module:
    """Return it with weights of a seed."""
    torch.manual_seed(0)
    return Dense()

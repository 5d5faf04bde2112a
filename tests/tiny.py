"""A data set of coloured squares and a small LightningModule: what the Trainer tests run on."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lightning_vlmxai.testing import TinyConvNet

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class Squares(Dataset[tuple[Tensor, int, Tensor]]):
    """Grey pictures with a red (label 0) or a blue (label 1) square; its place is the mask."""

    classes = ("red", "blue")

    def __init__(self, count: int = 24, side: int = 32, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.targets = [i % 2 for i in range(count)]
        self.pictures = 0.4 + 0.2 * torch.rand(count, 3, side, side, generator=generator)
        self.masks = torch.zeros(count, side, side, dtype=torch.bool)
        corners = torch.randint(0, side - 12, (count, 2), generator=generator).tolist()
        for i, (top, left) in enumerate(corners):
            self.masks[i, top : top + 12, left : left + 12] = True
            colour = torch.tensor([1.0, 0.0, 0.0] if self.targets[i] == 0 else [0.0, 0.0, 1.0])
            self.pictures[i][:, self.masks[i]] = colour[:, None]
        self.transform = transforms.Normalize(MEAN, STD)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int, Tensor]:
        return self.transform(self.pictures[index]), self.targets[index], self.masks[index]


class TinyModule(pl.LightningModule):
    """`TinyConvNet` under SGD, with dropout that draws from the global generator."""

    def __init__(self, num_classes: int = 2, network: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.network = network or TinyConvNet(num_classes)
        self.dropout = torch.nn.Dropout(0.1)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.dropout(images))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Separable(TinyModule):
    """Is right from the start, and never has a blank map."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = torch.nn.Identity()
        self.network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 2, 1, bias=False), torch.nn.ReLU(), Mean()
        )
        with torch.no_grad():
            self.network[0].weight[:] = torch.tensor([[1.0, 0, -1], [-1, 0, 1]])[:, :, None, None]


class Mean(torch.nn.Module):
    """Global average pooling to logits."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return `[B, C]`."""
        return maps.mean(dim=(2, 3))


def loader(dataset: Any, *, shuffle: bool = False) -> DataLoader[Any]:
    """Return a loader of batches of eight."""
    return DataLoader(dataset, batch_size=8, shuffle=shuffle)


def make_trainer(tmp_path: Any, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    """Return a quiet Trainer on the CPU."""
    return pl.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "callbacks": list(callbacks),
            "default_root_dir": tmp_path,
            "enable_checkpointing": False,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "logger": False,
            **settings,
        }
    )

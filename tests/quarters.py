"""Pictures whose class is a place, and networks that answer for it in any form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_vlmxai import (
    VLMExplainCallback,
)
from lightning_vlmxai.records import Verdict
from lightning_vlmxai.testing import ScriptedJudge
from tiny import make_trainer

COUNT, FEATURES = 30, 64


class Quarters(Dataset[Any]):
    """One quarter of a dark picture is bright, and its number the label; every tenth is wrong."""

    def __init__(self, how: str = "", names: tuple[str, ...] | None = None) -> None:
        self.how = how
        if names:
            self.classes = names
        self.targets = [i % 4 for i in range(COUNT)]
        self.masks = torch.zeros(COUNT, 16, 16)
        for i, quarter in enumerate(self.targets):
            top, left = 8 * (quarter // 2), 8 * (quarter % 2)
            self.masks[i, top : top + 8, left : left + 8] = 1.0
        generator = torch.Generator().manual_seed(0)
        self.pictures = 0.2 * torch.rand(COUNT, 3, 16, 16, generator=generator)
        self.pictures += 0.75 * self.masks[:, None]
        self.targets[::10] = [(label + 1) % 4 for label in self.targets[::10]]

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        image, label = self.pictures[index], self.targets[index]
        if self.how == "binary":
            return image, float(label % 2)
        if self.how == "many":  # the quarter, whether it is on the left, and what none has
            hot = [*(label == k for k in range(4)), label % 2 == 0, False]
            return image, torch.tensor(hot).float()
        if self.how == "mask":
            return image, self.masks[index] if index % 10 else 1 - self.masks[index]
        if self.how == "measure":
            return image, label + 0.37
        return image, label


class Net(nn.Module):
    """Four logits, one a quarter, from a map of brightness; `head` makes the answer of them."""

    def __init__(self, head: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, FEATURES, 3, padding=1, bias=False)
        with torch.no_grad():
            self.features.weight[:] = torch.rand(FEATURES, 1, 1, 1) / 27 + 0.01
        self.head = head

    def forward(self, images: Tensor) -> Any:
        maps = self.features(images)
        bright = maps.mean(dim=1)
        logits = nn.functional.adaptive_avg_pool2d(bright, 2).flatten(1)
        return self.head(20 * (logits - logits.mean(dim=1, keepdim=True)), maps)


class Module(pl.LightningModule):
    """Counts its validation with `count`, which maps answer and labels to what is right."""

    def __init__(self, net: nn.Module, count: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.net = net
        self.count = count
        self.seen: list[bool] = []

    @property
    def accuracy(self) -> float:
        """Of the last validation."""
        return sum(self.seen) / len(self.seen)

    def forward(self, images: Tensor) -> Any:
        return self.net(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return 0.0 * next(self.parameters()).sum()

    def on_validation_epoch_start(self) -> None:
        self.seen = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen += self.count(self(batch[0]), batch[1]).flatten().tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def explain(
    folder: Path,
    module: Module,
    data: Dataset[Any],
    sanity: int = 2,
    max_epochs: int = 1,
    **arguments: Any,
) -> Any:
    """Return the callback after a fit in which all of the validation was explained."""
    judge = ScriptedJudge([Verdict.scored(4)])
    given = {"method": "hirescam", "run_dir": folder / "run", **arguments}
    callback = VLMExplainCallback(judge, probe_size=100, lag=0, **given)
    loader = DataLoader(data, batch_size=8)
    trainer = make_trainer(folder, callback, max_epochs=max_epochs, num_sanity_val_steps=sanity)
    trainer.fit(module, loader, loader)
    return callback


def explained_accuracy(callback: VLMExplainCallback) -> float:
    """Return which share of the last round's samples is right."""
    assert callback.latest_round is not None
    samples = callback.latest_round.samples
    assert len(samples) == COUNT
    return sum(sample.explanation.is_correct for sample in samples) / COUNT


def settings(folder: Path) -> Any:
    """Return what run.json says."""
    return json.loads((folder / "run" / "run.json").read_text())

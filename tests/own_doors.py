"""A data set and modules that are normalised and called wherever a test says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    default_collate,
)

from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.records import Verdict
from lightning_vlmxai.testing import ScriptedJudge
from tiny import make_trainer

MEAN, STD = 0.5, 0.25
COUNT = 30


def normalize(images: Tensor) -> Tensor:
    """Return images as the network was trained on them."""
    return (images - MEAN) / STD


class Bright(Dataset[Any]):
    """Noise that is bright (1) or dark (0), every tenth label wrong; bytes, as files hold them."""

    def __init__(self, how: str = "", seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.how = how
        self.targets = [i % 2 for i in range(COUNT)]
        noise = torch.randint(0, 100, (COUNT, 3, 8, 8), generator=generator)
        self.bytes = (noise + torch.tensor(self.targets)[:, None, None, None] * 110 + 20).byte()
        self.targets[::10] = [1 - label for label in self.targets[::10]]

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        image = self.bytes[index].float() / 255
        return normalize(image) if self.how == "data set" else image, self.targets[index]


class Net(nn.Module):
    """Says 1 where the normalised picture's mean is above 0."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.features.weight[0], self.features.weight[1] = -1.0, 1.0

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.features(images).mean(dim=(2, 3))
        return logits


class Module(pl.LightningModule):
    """Counts its validation exactly, and trains nothing that matters."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how = how
        self.net = Net()
        self.seen: list[bool] = []
        self.accuracy = -1.0

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def predict_batch(self, batch: Any) -> Tensor:
        """Return the logits of a validation batch."""
        images = batch[0]
        return self(normalize(images) if self.how == "step" else images)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [normalize(batch[0]), *batch[1:]] if self.how == "transfer" else batch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return 0.0 * self.net.features.weight.sum()

    def on_validation_epoch_start(self) -> None:
        self.seen = []

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        labels = batch["label"] if isinstance(batch, dict) else batch[1]
        self.seen += (self.predict_batch(batch).argmax(dim=1) == labels).tolist()

    def on_validation_epoch_end(self) -> None:
        self.accuracy = sum(self.seen) / len(self.seen)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def collate_normalized(samples: list[Any]) -> Any:
    """Return a batch whose pictures are normalised here."""
    images, labels = default_collate(samples)
    return normalize(images), labels


def to_dict(samples: list[Any]) -> Any:
    """Return a batch as a mapping with names."""
    images, labels = default_collate(samples)
    return {"image": images, "label": labels, "name": [f"{i}.png" for i in range(len(samples))]}


def explain(
    folder: Path, module: pl.LightningModule, loaders: Any, **arguments: Any
) -> VLMExplainCallback:
    """Return the callback after a fit in which all of the validation was explained."""
    judge = ScriptedJudge([Verdict.scored(4)])
    callback = VLMExplainCallback(judge, probe_size=100, lag=0, **arguments)
    trainer = make_trainer(folder, callback, max_epochs=1)
    trainer.fit(module, DataLoader(Bright(), batch_size=8), loaders)
    return callback


def explained_accuracy(callback: VLMExplainCallback) -> float:
    """Return which share of the last round's samples is right."""
    assert callback.latest_round is not None
    samples = callback.latest_round.samples
    return sum(sample.explanation.is_correct for sample in samples) / len(samples)


def loader(how: str = "", **options: Any) -> DataLoader[Any]:
    """Return a validation loader of uneven batches."""
    options.setdefault("collate_fn", collate_normalized if how == "collate" else None)
    return DataLoader(Bright(how, seed=1), batch_size=8, **options)

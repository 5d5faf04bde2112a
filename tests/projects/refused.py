"""Projects of torch and Lightning that are older, or that the callback refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from projects.base import CLASSES, MEAN, STD, Classifier, Files, Network, Project, loader
from projects.plain import scaled


class _DataModule(pl.LightningDataModule):
    """Names its classes; its data sets don't."""

    classes = CLASSES

    def __init__(self, read: Callable[..., Any]) -> None:
        super().__init__()
        self.read = read

    def train_dataloader(self) -> Any:
        return loader(Files(0, self.read))

    def val_dataloader(self) -> Any:
        return loader(Files(1, self.read))


def data_module() -> Project:
    """A data module with a picture's transform on the device."""

    class OnDevice(_DataModule):
        normalize = v2.Normalize(MEAN, STD)

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return self.normalize(batch[0]), batch[1]

    return Project(
        name="a data module's on_after_batch_transfer",
        module=Classifier(),
        train=OnDevice(scaled),
        pictures=Files(1, scaled).pictures,
    )


def older_package() -> Project:
    """The module, the data and the trainer are pytorch_lightning's."""
    import pytorch_lightning

    class Older(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = Network()
            self.rows: list[Any] = []

        def forward(self, images: Tensor) -> Any:
            return self.network(images)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

        def on_validation_epoch_start(self) -> None:
            self.rows = []

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            Classifier.record(self, self(batch[0]), batch[1])  # type: ignore[arg-type]

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.02)

    val = Files(1, scaled)
    return Project(
        name="pytorch_lightning's classes",
        module=Older(),
        train=loader(Files(0, scaled)),
        val=loader(val),
        pictures=val.pictures,
    )


def regression() -> Project:
    """A number a picture."""

    class Number(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return F.mse_loss(self(batch[0]).flatten(), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])

    def read(picture: Tensor, label: int, mask: Tensor) -> Any:
        return picture.float() / 255, picture.float().mean() / 255

    return Project(
        name="regression",
        module=Number(Network(classes=1)),
        train=loader(Files(0, read)),
        val=loader(Files(1, read)),
        refusal="egression",
    )


def metric_learning() -> Project:
    """Embeddings of a unit length."""

    class Embedding(Classifier):
        def forward(self, images: Any) -> Any:
            return F.normalize(self.network(images), dim=1)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            vectors = self(batch[0])
            alike = batch[1][:, None] == batch[1]
            return ((vectors @ vectors.T - alike.float()) ** 2).mean()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])

    return Project(
        name="metric learning",
        module=Embedding(Network(classes=64)),
        train=loader(Files(0, scaled)),
        val=loader(Files(1, scaled)),
        refusal="etric learning",
    )


def detection() -> Project:
    """Boxes."""

    class Boxes(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return 0.0 * sum(p.sum() for p in self.parameters())  # type: ignore[return-value]

        def forward(self, images: Any) -> Any:
            found = self.network(images)
            return [
                {"boxes": torch.zeros(1, 4), "scores": row[:1], "labels": row[:1]} for row in found
            ]

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])

    return Project(
        name="object detection",
        module=Boxes(),
        train=loader(Files(0, scaled)),
        val=loader(Files(1, scaled)),
        refusal="etection",
    )


PROJECTS = (data_module, older_package, regression, metric_learning, detection)

"""Picture files, modules that read them, and what of a file came to the judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import v2

from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.records import Verdict
from lightning_vlmxai.testing import ScriptedJudge
from tiny import make_trainer

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
COUNT, SIDE = 12, 24


class Files(Dataset[Any]):
    """Reads PNG files; every second one is bright."""

    classes = ("dark", "bright")

    def __init__(self, folder: Path, transform: Callable[[Image.Image], Any]) -> None:
        self.paths = [folder / f"{i:02}.png" for i in range(COUNT)]
        self.transform = transform
        if not self.paths[0].exists():
            generator = torch.Generator().manual_seed(0)
            for i, path in enumerate(self.paths):
                noise = torch.randint(0, 156, (SIDE, SIDE, 3), generator=generator)
                Image.fromarray((noise + 100 * (i % 2)).byte().numpy()).save(path)

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), index % 2


class Module(pl.LightningModule):
    """Tells bright from dark; what it does to a batch before is the case's."""

    def __init__(self, prepare: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        with torch.no_grad():
            self.net[0].weight[0], self.net[0].weight[1] = -1.0, 1.0
        self.prepare = prepare

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return 0.0 * next(self.net.parameters()).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images = batch["image"] if isinstance(batch, dict) else batch[0]
        self(images if self.prepare is None else self.prepare(images))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class InHook(Module):
    """Normalises after the transfer, by an attribute."""

    def __init__(self, normalize: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.normalize = normalize

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if isinstance(batch, Tensor):  # of the training, which sees no picture
            return batch
        return [self.normalize(batch[0]), *batch[1:]]


class Inside(Module):
    """Is given bytes, and normalises inside of its network."""

    def __init__(self) -> None:
        super().__init__()

        class Normalizing(nn.Module):
            def __init__(self, net: nn.Module) -> None:
                super().__init__()
                self.net = net
                self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
                self.register_buffer("std", torch.tensor(STD)[:, None, None])

            def forward(self, images: Tensor) -> Tensor:
                logits: Tensor = self.net((images.float() / 255 - self.mean) / self.std)
                return logits

        self.net = Normalizing(self.net)


FLOAT = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


NORMALIZE = v2.Normalize(MEAN, STD)


def fit(folder: Path, module: pl.LightningModule, data: Any, **arguments: Any) -> list[Any]:
    """Fit with every row a probe, and return the pictures that are stored, by index."""
    callback = VLMExplainCallback(
        ScriptedJudge([Verdict.scored(4)]),
        probe_size=100,
        lag=0,
        run_dir=folder / "run",
        **arguments,
    )
    trainer = make_trainer(folder, callback, max_epochs=1)
    if isinstance(data, pl.LightningDataModule):
        trainer.fit(module, datamodule=data)
    else:
        trainer.fit(module, DataLoader(data.dataset, batch_size=4, collate_fn=first), data)
    assert callback.latest_round is not None
    names = {s.explanation.prediction_name for s in callback.latest_round.samples}
    assert names <= set(Files.classes)
    return [np.asarray(Image.open(p)) for p in sorted((folder / "run/images/fit").glob("*.png"))]


def first(samples: list[Any]) -> Tensor:
    """Return labels of 0, whatever the samples are."""
    return torch.zeros(len(samples))


def assert_colours(stored: list[Any], folder: Path, way: Any = None, within: float = 2) -> None:
    """Assert that stored pictures are the files, brought to a size by a transform."""
    assert len(stored) == COUNT
    for i, picture in enumerate(stored):
        file = FLOAT(Image.open(folder / f"{i:02}.png"))
        wanted = (way(file) if way else file) * 255
        shown = torch.from_numpy(picture.copy()).permute(2, 0, 1)
        assert float((shown - wanted).abs().max()) <= within


def loader(folder: Path, *transforms: Any, collate: Any = None) -> DataLoader[Any]:
    """Return a loader of the files through some transforms."""
    return DataLoader(Files(folder, v2.Compose(list(transforms))), batch_size=4, collate_fn=collate)


def collate_normalized(samples: list[Any]) -> Any:
    """Return a batch that is normalised here."""
    images, labels = default_collate(samples)
    return NORMALIZE(images), labels


@dataclasses.dataclass
class Batch:
    """Has no method to be moved, and two fields."""

    image: Tensor
    label: Tensor


class Masked(Files):
    """Has a mask, on the left half, of some coding."""

    def __init__(self, folder: Path, transform: Any, on: float = 1, off: float = 0) -> None:
        super().__init__(folder, transform)
        self.on, self.off = on, off

    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        mask = torch.full((SIDE, SIDE), self.off)
        mask[:, : SIDE // 2] = self.on
        mask[0, -1] = 3.0 if self.off == 2 else self.off
        return image, label, f"{index}.png", mask


def references(folder: Path, module: pl.LightningModule, data: Dataset[Any], **more: Any) -> Any:
    """Return the reference masks that the judge is given, `[N, H, W]`."""
    judge = ScriptedJudge([Verdict.scored(4)])
    callback = VLMExplainCallback(judge, probe_size=100, lag=0, **more)
    trainer = make_trainer(folder, callback, max_epochs=1)
    trainer.fit(
        module, DataLoader(data, batch_size=4, collate_fn=first), DataLoader(data, batch_size=4)
    )
    masks = [request.reference_mask for request in judge.requests[-COUNT:]]
    return (
        torch.stack([mask for mask in masks if mask is not None])
        if any(mask is not None for mask in masks)
        else None
    )

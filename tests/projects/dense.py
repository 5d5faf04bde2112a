"""Projects of segmentation: one label a pixel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vlmxai.tasks import Segmentation
from projects.base import CLASSES, MEAN, STD, Files, Project, Recording, loader


class Masks(Files):
    """Files with masks; the background is a class."""

    classes = ("background", *CLASSES)


class Foreground(Files):
    """Files with masks of one class."""

    classes = ("background", "patch")


def _pair(picture: Tensor, label: int, mask: Tensor) -> Any:
    return {"image": picture.float() / 255, "mask": (mask * (label + 1)).long()}


def _binary(picture: Tensor, label: int, mask: Tensor) -> Any:
    return {"image": picture.float() / 255, "mask": mask[None].float()}


def count_map(
    predicted: Tensor, wanted: Tensor, probabilities: Tensor
) -> list[tuple[int, float, bool]]:
    """Return the literal count of a batch of maps `[B, H, W]`, probabilities `[B, K, H, W]`.

    Predicted is the largest object, correct where it meets the largest true one by half.
    """
    rows = []
    for found, true, sure in zip(predicted, wanted, probabilities, strict=True):
        sizes = [int((found == k).sum()) for k in range(1, len(sure))]
        chosen = 1 + sizes.index(max(sizes)) if max(sizes) else 0
        true_sizes = [int((true == k).sum()) for k in range(1, len(sure))]
        label = 1 + true_sizes.index(max(true_sizes)) if max(true_sizes) else 0
        both, either = (found == label) & (true == label), (found == label) | (true == label)
        is_correct = int(either.sum()) > 0 and int(both.sum()) >= 0.5 * int(either.sum())
        rows.append((chosen, float(sure[chosen][found == chosen].mean()), is_correct))
    return rows


class Maps(Recording):
    """One label a pixel, from a mapping."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network(images)

    def logits(self, batch: Any) -> Tensor:
        """Return logits `[B, K, H, W]`."""
        logits: Tensor = self(batch["image"])
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.logits(batch), batch["mask"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self.logits(batch)
        self.rows += count_map(logits.argmax(dim=1), batch["mask"], logits.softmax(dim=1))


def smp_unet() -> Project:
    """segmentation-models-pytorch: a Unet, normalised in the module."""
    import segmentation_models_pytorch as smp

    class Inside(Maps):
        def __init__(self) -> None:
            super().__init__(
                smp.Unet("resnet18", encoder_weights=None, encoder_depth=3,
                         decoder_channels=(32, 16, 8), classes=4)
            )  # fmt: skip
            self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
            self.register_buffer("std", torch.tensor(STD)[:, None, None])

        def forward(self, images: Tensor) -> Any:
            return self.network((images - self.mean) / self.std)

    val = Masks(1, _pair)
    return Project(
        name="smp's Unet, normalised in the module",
        module=Inside(),
        train=loader(Masks(0, _pair)),
        val=loader(val),
        arguments={"task": Segmentation()},
        pictures=val.pictures,
        trainer={"max_epochs": 20},
    )


def smp_binary() -> Project:
    """segmentation-models-pytorch: one channel, under a Dice loss."""
    import segmentation_models_pytorch as smp

    from lightning_vlmxai.tasks import BinarySegmentation

    class Binary(Maps):
        def __init__(self) -> None:
            super().__init__(
                smp.FPN("resnet18", encoder_weights=None, encoder_depth=3, upsampling=1, classes=1)
            )
            self.loss = smp.losses.DiceLoss("binary", from_logits=True)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss: Tensor = self.loss(self.logits(batch), batch["mask"])
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            sure = self.logits(batch).sigmoid()
            found = (sure[:, 0] > 0.5).long()
            both = torch.cat([1 - sure, sure], dim=1)
            self.rows += count_map(found, batch["mask"][:, 0].long(), both)

    val = Foreground(1, _binary)
    return Project(
        name="smp's FPN of one channel",
        module=Binary(),
        train=loader(Foreground(0, _binary)),
        val=loader(val),
        arguments={"task": BinarySegmentation()},
        pictures=val.pictures,
        trainer={"max_epochs": 20},
    )


def transformers_segformer() -> Project:
    """transformers: SegFormer, whose logits are a quarter of the picture's size."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        num_labels=4, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], decoder_hidden_size=16,
        num_attention_heads=[1, 1, 2, 2],
    )  # fmt: skip

    class Quarter(Maps):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss: Tensor = self.network(pixel_values=batch["image"], labels=batch["mask"]).loss
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            logits = self.network(pixel_values=batch["image"]).logits
            small = logits.argmax(dim=1)
            large = F.interpolate(small[:, None].float(), size=batch["mask"].shape[1:])[:, 0]
            rows = count_map(
                large.long(),
                batch["mask"],
                logits.softmax(dim=1)
                .repeat_interleave(batch["mask"].shape[1] // logits.shape[2], 2)
                .repeat_interleave(batch["mask"].shape[2] // logits.shape[3], 3),
            )
            self.rows += rows

    val = Masks(1, _pair, side=64)
    return Project(
        name="transformers' SegFormer",
        module=Quarter(SegformerForSemanticSegmentation(config)),
        train=loader(Masks(0, _pair, side=64)),
        val=loader(val),
        arguments={"task": Segmentation()},
        pictures=val.pictures,
        trainer={"max_epochs": 20},
    )


class _Bands(Masks):
    """Thirteen bands of a satellite, in thousands."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, self._read, side=64)

    def _read(self, picture: Tensor, label: int, mask: Tensor) -> Any:
        bands = torch.cat([picture] * 4 + [picture[:1]]).float() * 40
        return {"image": bands, "label": torch.tensor(label), "mask": mask.long() * (label + 1)}


def _geo_module() -> Any:
    from torchgeo.datamodules import NonGeoDataModule

    class Satellite(NonGeoDataModule):
        """As torchgeo has it: `mean` and `std` are undone... by kornia on the device."""

        mean = torch.tensor(3500.0)
        std = torch.tensor(2000.0)

        def __init__(self) -> None:
            super().__init__(_Bands, batch_size=10, num_workers=0)

        def setup(self, stage: str) -> None:
            self.train_dataset, self.val_dataset = _Bands(0), _Bands(1)

    return Satellite()


def torchgeo_classifier() -> Project:
    """torchgeo: its task and data module, thirteen bands."""
    from torchgeo.trainers import ClassificationTask

    task = ClassificationTask(
        model="resnet18", weights=None, in_channels=13, num_classes=4, lr=0.01
    )
    rows = _spy(task, lambda logits, batch: _plain_rows(logits, batch["label"]))
    return Project(
        name="torchgeo's classification of 13 bands",
        module=task,
        train=_geo_module(),
        arguments={"picture": lambda row: (row["image"][[3, 2, 1]] * 2000 + 3500) / 10200},
        rows=rows,
    )


def torchgeo_segmentation() -> Project:
    """torchgeo: semantic segmentation of thirteen bands."""
    from torchgeo.trainers import SemanticSegmentationTask

    task = SemanticSegmentationTask(
        model="unet", backbone="resnet18", weights=None, in_channels=13, num_classes=4, lr=0.01
    )
    rows = _spy(
        task,
        lambda logits, batch: count_map(logits.argmax(dim=1), batch["mask"], logits.softmax(dim=1)),
    )
    return Project(
        name="torchgeo's segmentation of 13 bands",
        module=task,
        train=_geo_module(),
        arguments={
            "task": Segmentation(),
            "picture": lambda row: (row["image"][[3, 2, 1]] * 2000 + 3500) / 10200,
        },
        rows=rows,
    )


def _plain_rows(logits: Tensor, labels: Tensor) -> list[tuple[int, float, bool]]:
    sure, classes = logits.softmax(dim=1).max(dim=1)
    return list(zip(classes.tolist(), sure.tolist(), (classes == labels).tolist(), strict=True))


def _spy(task: Any, count: Any) -> Any:
    """Count what a ready task's own validation predicts, at its metrics' door."""
    rows: list[Any] = []
    step, start = task.validation_step, task.on_validation_epoch_start

    def validation_step(batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        seen: list[Tensor] = []
        handle = task.model.register_forward_hook(lambda *call: seen.append(call[2].detach()))
        try:
            step(batch, batch_idx, dataloader_idx)
        finally:
            handle.remove()
        rows.extend(count(seen[0], batch))

    def on_validation_epoch_start() -> None:
        rows.clear()
        start()

    task.validation_step = validation_step
    task.on_validation_epoch_start = on_validation_epoch_start
    return lambda: rows


LIBRARIES: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (smp_unet, ("segmentation_models_pytorch",)),
    (smp_binary, ("segmentation_models_pytorch",)),
    (transformers_segformer, ("transformers",)),
    (torchgeo_classifier, ("torchgeo",)),
    (torchgeo_segmentation, ("torchgeo",)),
)

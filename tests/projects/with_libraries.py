"""Projects in the shape that users of kornia, timm, transformers, albumentations, ... give them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from projects.base import (
    CLASSES,
    MEAN,
    STD,
    Classifier,
    Files,
    Project,
    loader,
)


def scaled(picture: Tensor, label: int, mask: Tensor) -> Any:
    """Return a row: the picture in [0, 1], and its label."""
    return picture.float() / 255, label


def as_bytes(picture: Tensor, label: int, mask: Tensor) -> Any:
    """Return a row: the picture as it is in its file, and its label."""
    return picture, label


def kornia_on_the_device() -> Project:
    """Kornia normalises after the transfer."""
    import kornia.augmentation as K

    class OnDevice(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.normalize = K.Normalize(mean=torch.tensor(MEAN), std=torch.tensor(STD))
            self.augment = K.AugmentationSequential(
                K.RandomHorizontalFlip(), self.normalize, data_keys=["input"]
            )

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            change = self.augment if self.trainer.training else self.normalize
            return [change(batch[0]), batch[1]]

    val = Files(1, scaled)
    return Project(
        name="kornia in on_after_batch_transfer",
        module=OnDevice(),
        train=loader(Files(0, scaled)),
        val=loader(val),
        pictures=val.pictures,
    )


def kornia_in_the_model() -> Project:
    """Kornia's resize and normalisation stand in the module's forward, from bytes."""
    import kornia.augmentation as K

    class Inside(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.normalize = K.Normalize(mean=torch.tensor(MEAN), std=torch.tensor(STD))

        def forward(self, images: Tensor) -> Any:
            return self.network(self.normalize(images.float() / 255))

    val = Files(1, as_bytes)
    return Project(
        name="kornia in forward, from bytes",
        module=Inside(),
        train=loader(Files(0, as_bytes)),
        val=loader(val),
        pictures=val.pictures,
    )


def timm_model() -> Project:
    """A timm model with the transforms of its own configuration."""
    import timm
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    model = timm.create_model("resnet18", num_classes=3)
    config = resolve_data_config({"input_size": (3, 32, 32), "crop_pct": 1.0}, model=model)
    transform = create_transform(**config, is_training=False)

    class Folder(Files):
        def __init__(self, seed: int) -> None:
            super().__init__(seed, self._read)
            self.transform = transform

        def _read(self, picture: Tensor, label: int, mask: Tensor) -> Any:
            return self.transform(Image.fromarray(picture.permute(1, 2, 0).numpy())), label

    val = Folder(1)
    return Project(
        name="a timm model with timm's transforms",
        module=Classifier(model),
        train=loader(Folder(0)),
        val=loader(val),
        pictures=val.pictures,
    )


def timm_on_the_device() -> Project:
    """Bytes in the loader, normalised by timm's configuration in the step, like its prefetcher."""
    import timm

    model = timm.create_model("resnet10t", num_classes=3)

    class Prefetched(Classifier):
        def logits(self, batch: Any) -> Tensor:
            config = self.network.pretrained_cfg
            mean = torch.tensor(config["mean"])[:, None, None] * 255
            std = torch.tensor(config["std"])[:, None, None] * 255
            logits: Tensor = self((batch[0].float() - mean) / std)
            return logits

    val = Files(1, as_bytes)
    return Project(
        name="timm, bytes normalised in the step",
        module=Prefetched(model),
        train=loader(Files(0, as_bytes)),
        val=loader(val),
        pictures=val.pictures,
    )


def _tiny_vit() -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8, num_labels=3,
        id2label=dict(enumerate(CLASSES)), label2id={c: i for i, c in enumerate(CLASSES)},
    )  # fmt: skip
    return ViTForImageClassification(config)


class _HuggingFace(Classifier):
    """Calls its model by keyword, with the labels, and takes `.loss` and `.logits`."""

    def forward(self, **inputs: Any) -> Any:  # type: ignore[override]
        return self.network(**inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = self(**batch).loss
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        outputs = self(**batch)
        self.log("val_loss", outputs.loss)
        self.record(outputs.logits, batch["labels"])


def transformers_processor() -> Project:
    """An image processor collates; the model is called by keyword."""
    from transformers import ViTImageProcessor

    processor = ViTImageProcessor(size={"height": 32, "width": 32})

    def collate(samples: list[Any]) -> Any:
        inputs = processor([picture for picture, _ in samples], return_tensors="pt")
        return {
            "pixel_values": inputs["pixel_values"],
            "labels": torch.tensor([label for _, label in samples]),
        }

    val = Files(1, as_bytes)
    return Project(
        name="a Hugging Face processor collates",
        module=_HuggingFace(_tiny_vit()),
        train=loader(Files(0, as_bytes), collate_fn=collate),
        val=loader(val, collate_fn=collate),
        pictures=val.pictures,
    )


def transformers_data_set() -> Project:
    """A Hugging Face data set with `set_transform`; its features name the classes."""
    import datasets
    from transformers import ViTImageProcessor

    processor = ViTImageProcessor(size={"height": 32, "width": 32})

    def make(seed: int) -> tuple[Any, Tensor]:
        files = Files(seed, as_bytes)
        arrays = [picture.permute(1, 2, 0).numpy() for picture in files.pictures]
        features = datasets.Features(
            image=datasets.Image(), labels=datasets.ClassLabel(names=list(CLASSES))
        )
        rows = datasets.Dataset.from_dict({"image": arrays, "labels": files.targets}, features)

        def transform(batch: Any) -> Any:
            inputs = processor(batch["image"], return_tensors="pt")
            return {"pixel_values": inputs["pixel_values"], "labels": batch["labels"]}

        return rows.with_transform(transform), files.pictures

    (train, _), (val, pictures) = make(0), make(1)
    return Project(
        name="a Hugging Face data set with_transform",
        module=_HuggingFace(_tiny_vit()),
        train=loader(train),
        val=loader(val),
        pictures=pictures,
    )


def _albumentations(**how: Any) -> tuple[Any, Any]:
    import albumentations as A
    from albumentations.pytorch import ToTensorV2

    class Folder(Files):
        def __init__(self, seed: int) -> None:
            super().__init__(seed, self._read)
            self.transform = A.Compose([A.Normalize(**how), ToTensorV2()])

        def _read(self, picture: Tensor, label: int, mask: Tensor) -> Any:
            array = picture.permute(1, 2, 0).numpy()
            return self.transform(image=array)["image"].float(), label

    return Folder(0), Folder(1)


def albumentations_standard() -> Project:
    """Albumentations with a mean and a standard deviation."""
    train, val = _albumentations(mean=MEAN, std=STD)
    return Project(
        name="albumentations, mean and std",
        module=Classifier(),
        train=loader(train),
        val=loader(val),
        pictures=val.pictures,
    )


def albumentations_by_image() -> Project:
    """Albumentations by each picture's own smallest and largest value: files can't be known."""
    train, val = _albumentations(normalization="min_max")

    def stretched(picture: Tensor) -> Tensor:
        low, high = picture.float().min(), picture.float().max()
        return (picture.float() - low) / (high - low) * 255

    return Project(
        name="albumentations, min_max of each picture",
        module=Classifier(),
        train=loader(train),
        val=loader(val),
        pictures=torch.stack([stretched(p) for p in val.pictures]),
    )


class FromMapping(Classifier):
    """Takes batches that are mappings."""

    def logits(self, batch: Any) -> Tensor:
        logits: Tensor = self(batch["image"])
        return logits

    def labels(self, batch: Any) -> Tensor:
        labels: Tensor = batch["label"]
        return labels


def monai_classifier() -> Project:
    """MONAI's dictionary transforms: MetaTensors, scaled to [0, 1]."""
    import monai
    from monai.transforms import Compose, EnsureTyped, ScaleIntensityRanged

    transform = Compose(
        [
            ScaleIntensityRanged(keys=["image"], a_min=0, a_max=255, b_min=0.0, b_max=1.0),
            EnsureTyped(keys=["image"], track_meta=True),
        ]
    )

    def rows(seed: int) -> tuple[list[Any], Tensor]:
        files = Files(seed, as_bytes)
        pairs = zip(files.pictures, files.targets, strict=True)
        return [{"image": p.float(), "label": label} for p, label in pairs], files.pictures

    (train, _), (val, pictures) = rows(0), rows(1)
    network = monai.networks.nets.DenseNet(
        spatial_dims=2, in_channels=3, out_channels=3, init_features=8, growth_rate=4,
        block_config=(2, 2),
    )  # fmt: skip
    return Project(
        name="MONAI's transforms and DenseNet",
        module=FromMapping(network),
        train=loader(monai.data.Dataset(train, transform)),
        val=loader(monai.data.Dataset(val, transform)),
        pictures=pictures,
    )


LIBRARIES: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (kornia_on_the_device, ("kornia",)),
    (kornia_in_the_model, ("kornia",)),
    (timm_model, ("timm",)),
    (timm_on_the_device, ("timm",)),
    (transformers_processor, ("transformers",)),
    (transformers_data_set, ("transformers", "datasets")),
    (albumentations_standard, ("albumentations",)),
    (albumentations_by_image, ("albumentations",)),
    (monai_classifier, ("monai",)),
)

"""Projects in the shape that users of kornia, timm, transformers, albumentations, ... give them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
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


def _scaled(picture: Tensor, label: int, mask: Tensor) -> Any:
    return picture.float() / 255, label


def _bytes(picture: Tensor, label: int, mask: Tensor) -> Any:
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

    val = Files(1, _scaled)
    return Project(
        name="kornia in on_after_batch_transfer",
        module=OnDevice(),
        train=loader(Files(0, _scaled)),
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

    val = Files(1, _bytes)
    return Project(
        name="kornia in forward, from bytes",
        module=Inside(),
        train=loader(Files(0, _bytes)),
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

    val = Files(1, _bytes)
    return Project(
        name="timm, bytes normalised in the step",
        module=Prefetched(model),
        train=loader(Files(0, _bytes)),
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

    val = Files(1, _bytes)
    return Project(
        name="a Hugging Face processor collates",
        module=_HuggingFace(_tiny_vit()),
        train=loader(Files(0, _bytes), collate_fn=collate),
        val=loader(val, collate_fn=collate),
        pictures=val.pictures,
    )


def transformers_data_set() -> Project:
    """A Hugging Face data set with `set_transform`; its features name the classes."""
    import datasets
    from transformers import ViTImageProcessor

    processor = ViTImageProcessor(size={"height": 32, "width": 32})

    def make(seed: int) -> tuple[Any, Tensor]:
        files = Files(seed, _bytes)
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


class _FromMapping(Classifier):
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
        files = Files(seed, _bytes)
        pairs = zip(files.pictures, files.targets, strict=True)
        return [{"image": p.float(), "label": label} for p, label in pairs], files.pictures

    (train, _), (val, pictures) = rows(0), rows(1)
    network = monai.networks.nets.DenseNet(
        spatial_dims=2, in_channels=3, out_channels=3, init_features=8, growth_rate=4,
        block_config=(2, 2),
    )  # fmt: skip
    return Project(
        name="MONAI's transforms and DenseNet",
        module=_FromMapping(network),
        train=loader(monai.data.Dataset(train, transform)),
        val=loader(monai.data.Dataset(val, transform)),
        pictures=pictures,
    )


def monai_scans() -> Project:
    """Scans of one channel, each normalised by itself: the judge's picture is the user's to say."""
    import monai
    from monai.transforms import Compose, NormalizeIntensityd

    transform = Compose([NormalizeIntensityd(keys=["image"])])

    def rows(seed: int) -> list[Any]:
        files = Files(seed, _bytes)
        pairs = zip(files.pictures, files.targets, strict=True)
        weights = torch.tensor([0.6, 0.3, 0.1])[:, None, None]
        return [
            {"image": (p.float() * weights).sum(0, keepdim=True) * 20 - 1000, "label": label}
            for p, label in pairs
        ]

    from projects.base import Network

    return Project(
        name="MONAI, scans normalised one by one",
        module=_FromMapping(Network(channels=1)),
        train=loader(monai.data.Dataset(rows(0), transform)),
        val=loader(monai.data.Dataset(rows(1), transform)),
        arguments={"picture": lambda row: (row["image"] / 6 + 0.5).clamp(0, 1)},
    )


def webdataset_stream() -> Project:
    """A WebDataset's shards through WebLoader."""
    import io
    import tarfile
    import tempfile
    from pathlib import Path

    import webdataset as wds
    from PIL import Image

    def write(seed: int) -> tuple[str, Tensor]:
        files = Files(seed, _bytes)
        path = Path(tempfile.mkdtemp()) / "shard-000000.tar"
        with tarfile.open(path, "w") as tar:
            for i, (picture, label) in enumerate(zip(files.pictures, files.targets, strict=True)):
                png = io.BytesIO()
                Image.fromarray(picture.permute(1, 2, 0).numpy()).save(png, "PNG")
                for ext, data in (("png", png.getvalue()), ("cls", str(label).encode())):
                    info = tarfile.TarInfo(f"{i:04}.{ext}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return str(path), files.pictures

    def stream(path: str) -> Any:
        data = (
            wds.WebDataset(path, shardshuffle=False, empty_check=False)
            .decode("torchrgb")
            .to_tuple("png", "cls")
            .batched(10)
        )
        return wds.WebLoader(data, batch_size=None, num_workers=0)

    (train, _), (val, pictures) = write(0), write(1)
    return Project(
        name="a WebDataset through WebLoader",
        module=Classifier(),
        train=stream(train),
        val=stream(val),
        pictures=pictures,
    )


def litdata_stream() -> Project:
    """A LitData StreamingDataset in a StreamingDataLoader."""
    import tempfile

    import litdata

    def write(seed: int) -> tuple[str, Tensor]:
        files = Files(seed, _bytes)
        folder = tempfile.mkdtemp()
        from litdata.streaming import Cache

        cache = Cache(folder, chunk_bytes="64MB")
        for i, (picture, label) in enumerate(zip(files.pictures, files.targets, strict=True)):
            cache[i] = {"image": picture.float() / 255, "label": label}
        cache.done()
        cache.merge()
        return folder, files.pictures

    (train, _), (val, pictures) = write(0), write(1)
    return Project(
        name="LitData's streaming data set",
        module=_FromMapping(),
        train=litdata.StreamingDataLoader(litdata.StreamingDataset(train), batch_size=10),
        val=litdata.StreamingDataLoader(litdata.StreamingDataset(val), batch_size=10),
        pictures=pictures,
    )


def lightly_probe() -> Project:
    """lightly: a projection head is trained, an online classifier is validated in the step."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    class Online(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.projection_head = SimCLRProjectionHead(16, 16, 8)
            self.criterion = NTXentLoss()

        def logits(self, batch: Any) -> Tensor:
            features = self.network.features(batch[0]).mean(dim=(2, 3))
            logits: Tensor = self.network.head(features.detach())
            return logits

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            views = [batch[0] + 0.05 * torch.randn_like(batch[0]) for _ in range(2)]
            first, second = (
                self.projection_head(self.network.features(v).mean(dim=(2, 3))) for v in views
            )
            loss: Tensor = self.criterion(first, second)
            return loss + F.cross_entropy(self.logits(batch), batch[1])

    val = Files(1, _scaled)
    return Project(
        name="lightly's SimCLR with an online classifier",
        module=Online(),
        train=loader(Files(0, _scaled)),
        val=loader(val),
        arguments={"method": "scorecam"},  # the head's input is detached: no gradient passes
        pictures=val.pictures,
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
    (monai_scans, ("monai",)),
    (webdataset_stream, ("webdataset",)),
    (litdata_stream, ("litdata",)),
    (lightly_probe, ("lightly",)),
)

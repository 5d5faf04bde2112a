"""Projects of torch, torchvision and Lightning alone."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import SubsetRandomSampler, default_collate
from torchvision.transforms import v2

from projects.base import MEAN, SIDE, STD, Classifier, Files, Project, loader

to_input = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


def _normalized(picture: Tensor, label: int, mask: Tensor) -> Any:
    return to_input(picture), label


def scaled(picture: Tensor, label: int, mask: Tensor) -> Any:
    """Return a row: the picture in [0, 1], and its label."""
    return picture.float() / 255, label


def _mapping(picture: Tensor, label: int, mask: Tensor) -> Any:
    return {"image": picture.float() / 255, "label": label, "name": "a.png"}


def _normalize(images: Tensor) -> Tensor:
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return (images - mean) / std


def in_the_data_set() -> Project:
    """torchvision: Normalize in the data set's transform."""

    class Folder(Files):
        def __init__(self, seed: int) -> None:
            super().__init__(seed, lambda picture, label, _mask: (picture, label))
            self.transform = to_input

        def __getitem__(self, index: int) -> Any:
            picture, label = super().__getitem__(index)
            return self.transform(picture), label

    val = Folder(1)
    return Project(
        name="torchvision, Normalize in the data set",
        module=Classifier(),
        train=loader(Folder(0), shuffle=True),
        val=loader(val),
        pictures=val.pictures,
    )


def in_the_step() -> Project:
    """Arithmetic in the step."""

    class InStep(Classifier):
        def logits(self, batch: Any) -> Tensor:
            logits: Tensor = self(_normalize(batch[0]))
            return logits

    val = Files(1, scaled)
    return Project(
        name="arithmetic in validation_step",
        module=InStep(),
        train=loader(Files(0, scaled)),
        val=loader(val),
        pictures=val.pictures,
    )


def in_the_collate_function() -> Project:
    """Normalised while collating."""

    def collate(samples: list[Any]) -> Any:
        images, labels = default_collate(samples)
        return _normalize(images), labels

    val = Files(1, scaled)
    return Project(
        name="normalised in collate_fn",
        module=Classifier(),
        train=loader(Files(0, scaled), collate_fn=collate),
        val=loader(val, collate_fn=collate),
        pictures=val.pictures,
    )


def whole_batch() -> Project:
    """`forward(batch)`."""

    class Whole(Classifier):
        def forward(self, batch: Any) -> Any:
            return self.network(_normalize(batch["image"]))

        def logits(self, batch: Any) -> Tensor:
            logits: Tensor = self(batch)
            return logits

        def labels(self, batch: Any) -> Tensor:
            labels: Tensor = batch["label"]
            return labels

    val = Files(1, _mapping)
    return Project(
        name="forward(batch) with a mapping",
        module=Whole(),
        train=loader(Files(0, _mapping)),
        val=loader(val),
        pictures=val.pictures,
    )


def picture_and_table() -> Project:
    """A picture and a patient's data, by keyword."""

    class Patient(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Linear(2, 3)

        def forward(self, *, scan: Tensor, table: Tensor) -> Any:
            return self.network(scan) + self.table(table)

        def logits(self, batch: Any) -> Tensor:
            logits: Tensor = self(scan=batch["image"], table=batch["table"])
            return logits

        def labels(self, batch: Any) -> Tensor:
            labels: Tensor = batch["label"]
            return labels

    def read(picture: Tensor, label: int, mask: Tensor) -> Any:
        noise = picture[0, 0, :2].float() / 255
        return {"image": picture.float() / 255, "table": noise, "label": label}

    val = Files(1, read)
    return Project(
        name="picture and table, keyword-only forward",
        module=Patient(),
        train=loader(Files(0, read)),
        val=loader(val),
        pictures=val.pictures,
    )


def averaged() -> Project:
    """An average of the weights is what is validated."""

    class Averaged(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.average = deepcopy(self.network).requires_grad_(False)

        def on_train_batch_end(self, *args: Any) -> None:
            with torch.no_grad():
                theirs = self.network.parameters()
                for mine, new in zip(self.average.parameters(), theirs, strict=True):
                    mine.lerp_(new, 0.2)

        def logits(self, batch: Any) -> Tensor:
            logits: Tensor = (self.network if self.training else self.average)(batch[0])
            return logits

    val = Files(1, _normalized)
    return Project(
        name="an average of the weights is validated",
        module=Averaged(),
        train=loader(Files(0, _normalized)),
        val=loader(val),
        arguments={"normalization": (MEAN, STD)},
        pictures=val.pictures,
    )


def split_by_samplers() -> Project:
    """Training and validation are two samplers of one data set."""
    data = Files(1, scaled)
    held_out = list(range(0, len(data), 5))
    rest = [i for i in range(len(data)) if i not in held_out]
    return Project(
        name="two SubsetRandomSamplers of one data set",
        module=Classifier(),
        train=loader(data, sampler=SubsetRandomSampler(rest)),
        val=loader(data, sampler=SubsetRandomSampler(held_out)),
        pictures=data.pictures[held_out],
    )


def several_loaders() -> Project:
    """The second of two validation loaders."""

    class Two(Classifier):
        def validation_step(  # type: ignore[override]
            self, batch: Any, batch_idx: int, dataloader_idx: int = 0
        ) -> None:
            if dataloader_idx == 1:
                super().validation_step(batch, batch_idx)

    val = Files(2, scaled)
    return Project(
        name="the second of two validation loaders",
        module=Two(),
        train=loader(Files(0, scaled)),
        val=[loader(Files(1, scaled)), loader(val)],
        arguments={"val_loader": 1},
        pictures=val.pictures,
    )


def flipped_too() -> Project:
    """Test-time augmentation: one of two passes is explained, and a line says which."""

    class Flipped(Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            images = _normalize(batch[0])
            plain, flipped = self.network(images), self.network(images.flip(3))
            self.log("val_loss", F.cross_entropy((plain + flipped) / 2, batch[1]))
            self.record(plain, batch[1])

        def logits(self, batch: Any) -> Tensor:
            logits: Tensor = self.network(_normalize(batch[0]))
            return logits

    val = Files(1, scaled)
    return Project(
        name="test-time augmentation by a flip",
        module=Flipped(),
        train=loader(Files(0, scaled)),
        val=loader(val),
        pictures=val.pictures,
    )


def backbone_then_head() -> Project:
    """Backbone and head are called one after the other in the step."""

    class Inline(Classifier):
        def logits(self, batch: Any) -> Tensor:
            features = self.network.features(_normalize(batch[0])).mean(dim=(2, 3))
            logits: Tensor = self.network.head(features)
            return logits

    val = Files(1, scaled)
    return Project(
        name="backbone, then head, in the step",
        module=Inline(),
        train=loader(Files(0, scaled)),
        val=loader(val),
        pictures=val.pictures,
    )


def features_and_logits() -> Project:
    """`forward` gives features and logits."""

    class Two(Classifier):
        def forward(self, images: Any) -> Any:
            features = self.network.features(images).mean(dim=(2, 3))
            return features, self.network.head(features)

        def logits(self, batch: Any) -> Tensor:
            logits: Tensor = self(batch[0])[1]
            return logits

    val = Files(1, scaled)
    return Project(
        name="forward gives (features, logits)",
        module=Two(),
        train=loader(Files(0, scaled)),
        val=loader(val),
        pictures=val.pictures,
    )


def several_labels() -> Project:
    """Several labels a picture."""
    from lightning_vlmxai.tasks import MultiLabelClassification

    class Tags(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return F.binary_cross_entropy_with_logits(self.logits(batch), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            probabilities = self.logits(batch).sigmoid()
            for row, wanted in zip(probabilities, batch[1], strict=True):
                found = [k for k in range(3) if row[k] > 0.5] or [int(row.argmax())]
                self.rows += [(k, float(row[k]), bool(wanted[k])) for k in found]

    def read(picture: Tensor, label: int, mask: Tensor) -> Any:
        tags = torch.zeros(3)
        tags[label] = 1.0
        tags[2] = float(picture[0, 0, 0] > 100)
        return picture.float() / 255, tags

    val = Files(1, read)
    return Project(
        name="several labels a picture",
        module=Tags(),
        train=loader(Files(0, read)),
        val=loader(val),
        arguments={"task": MultiLabelClassification()},
        pictures=val.pictures,
    )


def probabilities() -> Project:
    """`forward` ends in a softmax."""

    class Soft(Classifier):
        def forward(self, images: Any) -> Any:
            return self.network(images).softmax(dim=1)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return F.nll_loss(self(batch[0]).log(), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.record(self(batch[0]).log(), batch[1])

    val = Files(1, scaled)
    return Project(
        name="forward gives probabilities",
        module=Soft(),
        train=loader(Files(0, scaled)),
        val=loader(val),
        pictures=val.pictures,
    )


def no_feature_map() -> Project:
    """An MLP has no feature map; RISE needs none."""
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 16), nn.ReLU(), nn.Linear(16, 3)
    )
    val = Files(1, scaled)
    return Project(
        name="an MLP, by RISE",
        module=Classifier(network),
        train=loader(Files(0, scaled)),
        val=loader(val),
        arguments={"method": "rise"},
        pictures=val.pictures,
    )


PROJECTS = (
    in_the_data_set, in_the_step, in_the_collate_function, whole_batch, picture_and_table, averaged,
    split_by_samplers, several_loaders, flipped_too, backbone_then_head, features_and_logits,
    several_labels, probabilities, no_feature_map,
)  # fmt: skip

"""The small fits of the neutrality matrix: data, model and trainer of a combination."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, random_split
from torchmetrics.classification import MulticlassAccuracy
from torchvision import transforms
from torchvision.ops import FrozenBatchNorm2d

from neutral_parts import PARTS, Box

CLASSES = ("red", "green", "blue", "white")
SIDE, BATCH, TRAIN, VALIDATE = 16, 8, 36, 16

HAS_AVERAGING = importlib.util.find_spec("lightning.pytorch.callbacks.weight_averaging") is not None
"""Lightning averages weights from 2.6 on."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One way of training; each field is an axis of the matrix, its first value the usual one."""

    precision: str = "32-true"
    norm: str = "batch"
    optimizer: str = "sgd"
    compiled: str = ""
    backend: str = "eager"
    averaging: str = ""
    accumulate: int = 1
    clip: str = ""
    frozen: bool = False
    source: str = "map"
    augment: str = ""
    workers: str = "0"
    validate: str = "epoch"
    sanity: int = 2
    checkpoint: str = ""
    logs: str = "steps"
    habit: str = ""
    method: str = "gradcam"
    lag: int = 1
    parts: tuple[str, ...] = ()
    hook: str = ""
    isolation: str = "auto"
    controls: int = 0
    faithfulness: tuple[str, ...] = ()
    find_shortcuts: bool = False


class Pictures(Dataset[tuple[Tensor, int]]):
    """Noise with a square of the class's colour; `augment` draws from the generators named."""

    classes = CLASSES

    def __init__(self, count: int, seed: int, augment: str = "") -> None:
        generator = torch.Generator().manual_seed(seed)
        self.targets = [i % len(CLASSES) for i in range(count)]
        self.pictures = 0.5 * torch.rand(count, 3, SIDE, SIDE, generator=generator)
        colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
        self.pictures[:, :, 4:10, 5:11] = colours[self.targets][:, :, None, None]
        self.transform = transforms.Normalize((0.4, 0.4, 0.4), (0.3, 0.3, 0.3))
        self.augment = augment
        self.own = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = self.pictures[index]
        if self.augment == "global":
            if random.random() < 0.5:  # noqa: S311
                picture = picture.flip(-1)
            picture = picture * np.random.uniform(0.8, 1.0)  # noqa: NPY002 - as users do
            picture = (picture + 0.05 * torch.randn_like(picture)).clamp(0, 1)
        elif self.augment == "own":
            picture = picture * self.own.uniform(0.8, 1.0)
        return self.transform(picture).float(), self.targets[index]


class Stream(IterableDataset[tuple[Tensor, int]]):
    """The pictures as a stream without a length."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures
        self.classes, self.transform = pictures.classes, pictures.transform

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return (self.pictures[i] for i in range(len(self.pictures)))


class Data(pl.LightningDataModule):
    """The loaders of a combination."""

    def __init__(self, combination: Combination) -> None:
        super().__init__()
        self.combination = combination

        self.halves = random_split(
            Pictures(TRAIN + VALIDATE, 0, combination.augment),
            [TRAIN, VALIDATE],
            torch.Generator().manual_seed(0),
        )

    def _loader(self, count: int, seed: int, *, shuffle: bool = False) -> DataLoader[Any]:
        of = self.combination
        pictures: Any = Pictures(count, seed, of.augment)
        if of.source == "split":  # both halves share their transforms and what these draw from
            pictures = self.halves[seed]
        is_stream = of.source == "stream"
        return DataLoader(
            Stream(pictures) if is_stream else pictures,
            batch_size=BATCH,
            shuffle=shuffle and not is_stream and of.validate != "overfit",
            num_workers=0 if of.workers == "0" else 2,
            persistent_workers=of.workers == "persistent",
        )

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(TRAIN, 0, shuffle=True)

    def val_dataloader(self) -> Any:
        first = self._loader(VALIDATE, 1)
        return [first, self._loader(BATCH, 2)] if self.combination.source == "two" else first


def pool(maps: Tensor) -> Tensor:
    """Return `[B, C]`."""
    return maps.mean(dim=(2, 3))


class Network(nn.Module):
    """Two blocks of convolution, normalisation and ReLU, with dropout; logits `[B, 4]`."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.pool = pool
        make = {
            "batch": nn.BatchNorm2d,
            "held": nn.BatchNorm2d,
            "frozen": FrozenBatchNorm2d,
            "group": lambda channels: nn.GroupNorm(2, channels),
        }[norm]
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            make(8),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            make(8),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(8, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(self.features(images)))
        return logits


def hear(heard: Box, module: nn.Module, _args: Any, output: Tensor) -> Any:
    """Count in an object that the hook holds."""
    heard.kept += 1
    return output * (1 + 0.001 * (heard.kept % 7)) if module.training else None


class Module(pl.LightningModule):
    """Trains the network as the combination says, and logs at every step."""

    def __init__(self, combination: Combination) -> None:
        super().__init__()
        self.combination = combination
        network: Any = Network(combination.norm)
        if combination.frozen:
            network.features[:3].requires_grad_(requires_grad=False)
        if combination.compiled == "part":
            network.features = torch.compile(network.features, backend=combination.backend)
        if combination.compiled == "function":
            network.pool = torch.compile(pool, backend=combination.backend)
        self.network = network
        self.register_buffer("forwards", torch.zeros(()))
        self.generator = torch.Generator().manual_seed(0)
        self.calls, self.running, self.history = 0, torch.zeros(()), [0]
        for name in combination.parts:
            setattr(self, f"part_{name}", PARTS[name].make())
        self.heard: Any = []
        if combination.hook:
            hooks = {"method": self.hear, "object": partial(hear, Box(0))}
            self.network.head.register_forward_hook(hooks[combination.hook])
        self.automatic_optimization = combination.optimizer != "manual"
        if combination.logs == "torchmetrics":
            self.accuracy = nn.ModuleDict(
                {
                    f"{stage}_accuracy": MulticlassAccuracy(len(CLASSES))
                    for stage in ("train", "val")
                }
            )

    def train(self, mode: bool = True) -> Module:
        """Keep the normalisation in eval mode where the user holds it there."""
        super().train(mode)
        if self.combination.norm == "held":
            for child in self.modules():
                if isinstance(child, nn.BatchNorm2d):
                    child.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        if self.combination.parts:
            factor = self._touch()
            logits = logits * factor if self.training else logits
        if self.combination.habit and not self.training:
            self._indulge()
        if self.combination.logs == "in forward":
            self._note("forward", logits.mean())
        return logits

    def hear(self, _module: nn.Module, _args: Any, output: Tensor) -> Any:
        """Count in a list of the module's."""
        self.heard.append(1)
        return output * (1 + 0.001 * (len(self.heard) % 7)) if self.training else None

    @torch.compiler.disable
    def _touch(self) -> Any:
        """Return a factor that depends on how often each part was touched."""
        names = self.combination.parts
        values = [PARTS[name].touch(getattr(self, f"part_{name}")) for name in names]
        return sum(value % 7 for value in values) * 0.001 + 1

    @torch.compiler.disable
    def _indulge(self) -> None:
        """Do at every forward in eval mode what a forward had better not do."""
        weight, bias = self.network.head.weight, self.network.head.bias
        match self.combination.habit:
            case "counts":
                self.forwards += 1
            case "replaces":
                self.forwards = self.forwards + 1
            case "draws":
                torch.rand(1, generator=self.generator)
                random.random()  # noqa: S311
                np.random.rand()  # noqa: NPY002
                torch.rand(1)
            case "fills grad":
                weight.grad = torch.ones_like(weight) + (0 if weight.grad is None else weight.grad)
            case "freezes":
                bias.requires_grad_(not bias.requires_grad)
            case "remembers":
                self.calls += 1
                self.running += 1
                self.history.append(self.calls)
            case "hooks":
                self.network.head.register_forward_hook(lambda *_: None)

    @torch.compiler.disable
    def _note(self, name: str, value: Any, **how: bool) -> None:
        self.log(name, value, **how)

    @torch.compiler.disable
    def _measure(self, stage: str, logits: Tensor, labels: Tensor) -> None:
        metric = self.accuracy[f"{stage}_accuracy"]
        metric(logits, labels)
        self.log(f"{stage}_accuracy", metric, on_step=True, on_epoch=True)

    def _step(self, batch: Any, stage: str) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        self._note(f"{stage}_loss", loss, on_step=True, on_epoch=True)
        self._note(f"{stage}_pixels", images.double().sum(), on_step=True)
        if self.combination.logs == "torchmetrics":
            self._measure(stage, logits, labels)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self._step(batch, "train")
        if not self.automatic_optimization:
            optimizers: Any = self.optimizers()
            self.manual_backward(loss)
            # The head is stepped half as often, so it validates with a `.grad` that waits.
            for optimizer in optimizers if batch_idx % 2 else optimizers[:1]:
                optimizer.step()
                optimizer.zero_grad()
            self.lr_schedulers().step()  # type: ignore[union-attr]
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._step(batch, "val")

    def configure_optimizers(self) -> Any:
        if self.combination.optimizer == "manual":
            features = torch.optim.Adam(self.network.features.parameters(), lr=0.01)
            head = torch.optim.SGD(self.network.head.parameters(), lr=0.05, momentum=0.9)
            return [features, head], [torch.optim.lr_scheduler.StepLR(features, 3)]
        parameters = [p for p in self.parameters() if p.requires_grad]
        if self.combination.optimizer == "adam":
            adam = torch.optim.AdamW(parameters, lr=0.01)
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, patience=0)
            return {
                "optimizer": adam,
                "lr_scheduler": {"scheduler": plateau, "monitor": "train_loss"},
            }
        sgd = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True)
        steps = torch.optim.lr_scheduler.OneCycleLR(sgd, 0.1, total_steps=100)
        return [sgd], [{"scheduler": steps, "interval": "step"}]


def make_module(combination: Combination) -> Any:
    """Return what `trainer.fit` is given: the module, or its compiled form."""
    module = Module(combination)
    if combination.compiled == "given":
        return torch.compile(module, backend=combination.backend)
    if combination.compiled == "in place":
        module.compile(backend=combination.backend)
    return module


def make_trainer(
    combination: Combination, folder: Path, *, first: list[Any], last: list[Any], **settings: Any
) -> pl.Trainer:
    """Return the trainer; `first` and `last` are the callbacks around the combination's own."""
    own: list[Any] = []
    if combination.averaging:
        from lightning.pytorch.callbacks import weight_averaging  # of Lightning 2.6

        kinds = {"ema": "EMAWeightAveraging", "mean": "WeightAveraging"}
        own.append(getattr(weight_averaging, kinds[combination.averaging])())
    if combination.checkpoint:
        own.append(
            ModelCheckpoint(
                folder / "checkpoints", monitor="train_loss", save_top_k=2, save_last=True
            )
        )
    rhythm: dict[str, Any] = {
        "epoch": {},
        "every 2 batches": {"val_check_interval": 2},
        "every 2 epochs": {"check_val_every_n_epoch": 2, "max_epochs": 4},
        "limited": {"limit_val_batches": 1, "limit_train_batches": 3},
        "overfit": {"overfit_batches": 2},
    }[combination.validate]
    if combination.optimizer != "manual":
        rhythm["accumulate_grad_batches"] = combination.accumulate
        if combination.clip:
            rhythm["gradient_clip_algorithm"] = combination.clip
            rhythm["gradient_clip_val"] = 0.1
    return pl.Trainer(
        **{
            "accelerator": "cpu",
            "callbacks": [*first, *own, *last],
            "default_root_dir": folder,
            "enable_checkpointing": bool(combination.checkpoint),
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "log_every_n_steps": 1,
            "max_epochs": 2,
            "num_sanity_val_steps": combination.sanity,
            "precision": combination.precision,
            **rhythm,
            **settings,
        }
    )

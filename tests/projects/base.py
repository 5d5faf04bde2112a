"""What all projects have in common: data to learn, a count of their own, one way to be run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_vlmxai import VLMExplainCallback, VLMExplainError
from lightning_vlmxai.records import Sample, Verdict
from lightning_vlmxai.testing import ScriptedJudge

COUNT = 24
SIDE = 32
CLASSES = ("red", "green", "blue")
MEAN, STD = (0.42, 0.38, 0.34), (0.21, 0.24, 0.27)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def paint(seed: int, count: int = COUNT, side: int = SIDE) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures `[N, 3, S, S]` uint8, labels `[N]` and masks `[N, S, S]` bool: the files.

    A patch of one of three colours on grey noise; every sixth label is wrong, so that no network
    is right on all of them.
    """
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(40, 180, (count, 1, side, side), generator=generator)
    pictures = pictures.expand(-1, 3, -1, -1).clone()
    labels = torch.arange(count) % 3
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    corners = torch.randint(0, side // 2, (count, 2), generator=generator).tolist()
    for i, (top, left) in enumerate(corners):
        masks[i, top : top + side // 2, left : left + side // 2] = True
        colour = torch.full((3,), 30)
        colour[labels[i]] = 220
        pictures[i][:, masks[i]] = colour[:, None]
    labels[::6] = (labels[::6] + 1) % 3
    return pictures.byte(), labels, masks


class Files(Dataset[Any]):
    """Pictures, as bytes on a disk, through a transform of the whole sample."""

    classes = CLASSES

    def __init__(
        self, seed: int, read: Callable[[Tensor, int, Tensor], Any], side: int = SIDE
    ) -> None:
        self.pictures, self.labels, self.masks = paint(seed, side=side)
        self.targets = self.labels.tolist()
        self.read = read

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Any:
        return self.read(self.pictures[index], int(self.labels[index]), self.masks[index])


class Network(nn.Module):
    """A small network that normalises by batch, and so learns in a few steps."""

    def __init__(self, channels: int = 3, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 12, 3, stride=2, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 16, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(16, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


class Recording(pl.LightningModule):
    """Keeps a count of its own of every validation: the oracle for what is explained."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, float, bool]] = []

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        self.rows = []

    def record(self, logits: Tensor, labels: Tensor) -> None:
        """Count class, probability and correctness of a batch of logits `[B, K]`."""
        confidences, classes = logits.detach().float().softmax(dim=1).max(dim=1)
        rows = zip(
            classes.tolist(), confidences.tolist(), (classes == labels).tolist(), strict=True
        )
        self.rows += list(rows)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam, which gets there in a few steps."""
        return torch.optim.Adam(self.parameters(), lr=0.02)


class Classifier(Recording):
    """The plain case; projects change what is theirs."""

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network or Network()

    def forward(self, images: Any) -> Any:
        return self.network(images)

    def logits(self, batch: Any) -> Tensor:
        """Return the logits of a batch."""
        logits: Tensor = self(batch[0])
        return logits

    def labels(self, batch: Any) -> Tensor:
        """Return the labels of a batch."""
        labels: Tensor = batch[1]
        return labels

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.logits(batch), self.labels(batch))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits, labels = self.logits(batch), self.labels(batch)
        self.record(logits, labels)
        self.log("val_acc", (logits.argmax(dim=1) == labels).float().mean(), batch_size=len(labels))


@dataclass(frozen=True, kw_only=True)
class Project:
    """One way in which people train.

    Args:
        name: What it is.
        module: Its LightningModule.
        train: Training loader, or the data module.
        val: Validation loaders; None with a data module.
        arguments: What its author has to pass beside the judge.
        pictures: The files' bytes by index, `[N, 3, H, W]` uint8; None if there is no picture.
        rows: The project's own count of the last validation: class, probability and correctness.
        refusal: What the message says where it isn't supported; empty where it is.
        trainer: Of its Trainer.
    """

    name: str
    module: Any
    train: Any
    val: Any = None
    arguments: dict[str, Any] = field(default_factory=dict)
    pictures: Tensor | None = None
    rows: Callable[[], list[tuple[int, float, bool]]] | None = None
    refusal: str = ""
    trainer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a project with the callback in it.

    Args:
        state: "zero set-up", "arguments", "not supported" or "WRONG".
        words: The arguments, the message, or what is wrong.
        explained: Explained accuracy, in [0, 1]; None if refused.
        counted: The project's own.
        colours: Largest difference of a stored picture's colours from the file's, in 0..255.
        changed: Largest difference that the callback made to weights, buffers, the project's own
            count or the random generators.
        warned: What was told.
    """

    state: str
    words: str = ""
    explained: float | None = None
    counted: float | None = None
    colours: float | None = None
    changed: float | None = None
    warned: tuple[str, ...] = ()


def loader(dataset: Any, **options: Any) -> DataLoader[Any]:
    """Return a loader of uneven batches."""
    return DataLoader(dataset, batch_size=10, **options)


def try_out(make: Callable[[], Project], folder: Path) -> Outcome:
    """Return what comes of a project, all of whose validation rows are explained."""
    torch.manual_seed(0)
    bare = make()
    if not bare.refusal:
        fit(bare, folder / "bare", [])
        without = _state_of(bare)
    torch.manual_seed(0)
    project = make()
    callback = VLMExplainCallback(
        ScriptedJudge([Verdict.scored(4)]), probe_size=200, lag=0, **project.arguments
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            fit(project, folder, [callback])
        except VLMExplainError as error:
            said = str(error)
            is_expected = bool(project.refusal) and project.refusal in said
            return Outcome(state="not supported" if is_expected else "WRONG", words=said)
    warned = tuple(str(w.message) for w in told if "vlmxai" in str(w.message))
    assert callback.latest_round is not None
    changed = 0.0 if project.refusal else _largest_difference(without, _state_of(project))
    return check(project, callback.latest_round.samples, warned, changed)


def fit(project: Project, folder: Path, callbacks: list[Any]) -> pl.Trainer:
    """Train a project for two epochs, and return the trainer."""
    trainer = _trainer_class(project)(
        default_root_dir=folder,
        callbacks=callbacks,
        **{
            "max_epochs": 2,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **project.trainer,
        },
    )
    if project.val is None:
        trainer.fit(project.module, datamodule=project.train)
    else:
        trainer.fit(project.module, project.train, project.val)
    return trainer


def _state_of(project: Project) -> dict[str, Tensor]:
    """Return all that training left: weights and buffers, its own count, the generators."""
    state = {k: v.detach().clone().double() for k, v in project.module.state_dict().items()}
    rows = project.rows() if project.rows else project.module.rows
    state["count"] = torch.tensor(rows, dtype=torch.float64)
    state["generator"] = torch.get_rng_state().double()
    return state


def _largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    if one.keys() != other.keys() or any(v.shape != other[k].shape for k, v in one.items()):
        return float("inf")
    return max(float((v - other[k]).abs().max()) for k, v in one.items() if v.numel())


def check(
    project: Project, samples: Iterable[Sample], warned: tuple[str, ...], changed: float
) -> Outcome:
    """Return whether what was explained is what the project itself counted."""
    explained = sorted(
        (e.prediction, e.confidence, e.is_correct) for e in (s.explanation for s in samples)
    )
    counted = sorted(project.rows() if project.rows else project.module.rows)
    share = [sum(row[2] for row in rows) / max(len(rows), 1) for rows in (explained, counted)]
    colours = _worst_colour(project.pictures, samples)
    is_same = len(explained) == len(counted) and all(
        a[0] == b[0] and a[2] == b[2] and abs(a[1] - b[1]) < 1e-3
        for a, b in zip(explained, counted, strict=False)
    )
    is_shown = colours is None or colours <= 2
    state = "zero set-up" if set(project.arguments) <= {"task"} else "arguments"
    if project.refusal or not is_same or not is_shown or changed:
        state = "WRONG"
    return Outcome(
        state=state,
        words=", ".join(project.arguments),
        explained=share[0],
        counted=share[1],
        colours=colours,
        changed=changed,
        warned=warned,
    )


def _worst_colour(pictures: Tensor | None, samples: Iterable[Sample]) -> float | None:
    """Return how far, of 255, the pictures shown are from the files; each from its nearest."""
    if pictures is None:
        return None
    files = pictures.float()
    worst = 0.0
    for sample in samples:
        shown = sample.explanation.pixels * 255
        worst = max(worst, float((files - shown).abs().flatten(1).amax(dim=1).min()))
    return worst


def _trainer_class(project: Project) -> Any:
    if isinstance(project.module, pl.LightningModule):
        return pl.Trainer
    import pytorch_lightning

    return pytorch_lightning.Trainer

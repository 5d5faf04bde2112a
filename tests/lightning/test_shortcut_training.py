"""Training pictures that look like a cue: the data set's own, nearest first, read aside."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from dotted import DottedSquares, ReadsDots
from lightning_vlmxai import VLMExplainCallback
from tiny import loader, make_trainer


class _Half(Dataset[tuple[Tensor, int]]):
    """Every second red square bears the dot; counts its reads; its files are in order."""

    classes = ("red", "blue")

    def __init__(self) -> None:
        self.dotted, self.plain = DottedSquares(48), DottedSquares(48, is_dotted=False)
        self.samples = [(f"train/{i:02d}.png", i % 2) for i in range(48)]
        self.reads = 0

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.reads += 1
        image, label, _ = (self.dotted if index % 4 == 0 else self.plain)[index]
        return image, label


def _fit(folder: Path, train: Any, *, module: Any = None, datamodule: Any = None) -> dict[str, Any]:
    """Return the first shortcut of `shortcuts.json`."""
    callback = VLMExplainCallback(probe_size=24, find_shortcuts=True, run_dir=folder)
    trainer = make_trainer(folder, callback, max_epochs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if datamodule is not None:
            trainer.fit(module or ReadsDots(), datamodule=datamodule)
        else:
            trainer.fit(module or ReadsDots(), train, loader(DottedSquares()))
    return json.loads((folder / "shortcuts.json").read_text())["shortcuts"][0]


def _rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "shortcut_training.csv").read_text().splitlines()))


def test_pictures_that_bear_the_dot_come_first(tmp_path: Path) -> None:
    """Of a shuffled loader, by index and file of the data set, which nobody read here."""
    data = _Half()
    generator = torch.Generator().manual_seed(3)
    train = DataLoader(data, batch_size=8, shuffle=True, generator=generator)
    found = _fit(tmp_path, train)
    reads, state = data.reads, generator.get_state()
    rows = _rows(tmp_path)
    assert [int(row["rank"]) for row in rows] == list(range(1, 49))
    assert {int(row["index"]) for row in rows[:12]} == set(range(0, 48, 4))
    assert sorted(int(row["index"]) for row in rows) == list(range(48))
    assert all(row["file"] == f"train/{int(row['index']):02d}.png" for row in rows)
    assert {(row["class"], row["label"]) for row in rows[:12]} == {("red", "red")}
    likeness = [float(row["likeness"]) for row in rows]
    assert likeness == sorted(likeness, reverse=True)
    assert found["training"]["looked_at"] == found["training"]["total"] == 48
    assert len(found["training"]["nearest"]) == 12
    assert found["text"].endswith("lists all 48 training pictures, the most alike first.")
    # The same fit without the callback reads and draws as much.
    other, alone = _Half(), torch.Generator().manual_seed(3)
    trainer = make_trainer(tmp_path / "alone", max_epochs=2)
    batches = DataLoader(other, batch_size=8, shuffle=True, generator=alone)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(ReadsDots(), batches, loader(DottedSquares()))
    assert (reads, state.tolist()) == (other.reads, alone.get_state().tolist())


def test_of_a_subset_its_own_indices_count(tmp_path: Path) -> None:
    """What a subset's sampler leaves out is no training picture; indices are the data set's."""
    train = DataLoader(_Half(), batch_size=8, sampler=SubsetRandomSampler(range(20, 48)))
    assert _fit(tmp_path, train)["training"]["total"] == 28
    rows = _rows(tmp_path)
    assert {int(row["index"]) for row in rows} == set(range(20, 48))
    assert {int(row["index"]) for row in rows[:7]} == set(range(20, 48, 4))


@pytest.mark.parametrize(
    "sampler",
    [
        WeightedRandomSampler([0.0] * 20 + [1.0] * 28, 48),
        SequentialSampler(range(28)),
        RandomSampler(range(28)),
    ],
)
def test_what_a_sampler_never_draws_is_no_training_picture(tmp_path: Path, sampler: Any) -> None:
    """As samples are left out by a weight of 0, or by a sampler over fewer."""
    drawn = {index for _ in range(50) for index in sampler}
    assert _fit(tmp_path, DataLoader(_Half(), batch_size=8, sampler=sampler))["training"][
        "total"
    ] == len(drawn)
    assert {int(row["index"]) for row in _rows(tmp_path)} == drawn


class _Fails(_Half):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if torch.utils.data.get_worker_info() is not None:
            raise OSError(f"disk {index}\nis gone")
        return super().__getitem__(index)


def test_a_data_set_that_fails_is_told_on_one_line(tmp_path: Path) -> None:
    """What was raised in the other process, without its traceback."""
    found = _fit(tmp_path, loader(_Fails()))
    assert found["training"]["note"].startswith("OSError: disk ")
    assert found["training"]["note"].endswith(" is gone")
    assert "Traceback" not in found["text"]
    assert "\n" not in found["text"]


class _Stream(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        data = DottedSquares()
        return (data[i][:2] for i in range(24))


class _Batches:
    """A batch sampler of the user's own."""

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[0, 1, 2, 3], [4, 5, 6, 7]])

    def __len__(self) -> int:
        return 2


def _drop_one(samples: list[Any]) -> Any:
    return torch.utils.data.default_collate(samples[1:])


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: DataLoader(_Stream(), batch_size=8), "are a stream"),
        (lambda: DataLoader(DottedSquares(), batch_sampler=_Batches()), "own batch sampler"),
        (lambda: [loader(DottedSquares()), loader(DottedSquares())], "no single training loader"),
        (
            lambda: DataLoader(DottedSquares(), batch_size=8, collate_fn=_drop_one),
            "leaves samples out",
        ),
    ],
)
def test_what_cannot_be_listed_is_said(tmp_path: Path, make: Any, why: str) -> None:
    """There is no list then, and the alert says why."""
    train = make()
    module = _OfLists() if isinstance(train, list) else None
    found = _fit(tmp_path, train, module=module)
    assert why in found["training"]["note"]
    assert found["text"].endswith(f"No training pictures are listed: {found['training']['note']}.")
    assert not (tmp_path / "shortcut_training.csv").exists()


class _OfLists(ReadsDots):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch[0], batch_idx)


class _Scales(ReadsDots):
    """Its validation step scales the pictures, perhaps where they lie."""

    is_inplace = False

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, *rest = batch
        images = images.mul_(1.01) if self.is_inplace else images * 1.01
        super().validation_step([images, *rest], batch_idx)


class _ScalesInPlace(_Scales):
    is_inplace = True


@pytest.mark.parametrize("module", [_Scales, _ScalesInPlace])
def test_a_step_that_changes_pictures_has_no_list(tmp_path: Path, module: Any) -> None:
    """The network would be given other pictures than in training."""
    options = {"normalization": ((0.0,) * 3, (1.0,) * 3), "picture": _plain}
    callback = VLMExplainCallback(probe_size=24, find_shortcuts=True, run_dir=tmp_path, **options)
    trainer = make_trainer(tmp_path, callback, max_epochs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module(), loader(DottedSquares()), loader(DottedSquares()))
    (found,) = json.loads((tmp_path / "shortcuts.json").read_text())["shortcuts"]
    assert "changes the batch's pictures" in found["training"]["note"]


def _plain(row: Any) -> Tensor:
    return torch.full((3, 32, 32), 0.5)


class _OwnHooks(pl.LightningDataModule):
    """Counts the batches that it is asked about."""

    seen = 0

    def train_dataloader(self) -> Any:
        return loader(DottedSquares())

    def val_dataloader(self) -> Any:
        return loader(DottedSquares())

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.seen += 1
        return batch


def test_hooks_of_a_data_module_are_not_run_once_more(tmp_path: Path) -> None:
    """They may count or draw, and nobody gives that back."""
    found = _fit(tmp_path, None, datamodule=_OwnHooks())
    assert "`on_after_batch_transfer` would run once more" in found["training"]["note"]


class _HooksOfModule(ReadsDots):
    """Undoes in a hook what the data set has done."""

    seen = 0

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.seen += 1
        return [batch[0] / 3, *batch[1:]]

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images * 3)


def test_hooks_of_the_module_are_run_and_given_back(tmp_path: Path) -> None:
    """The pictures are those that a step is given; what the hook counts stays as it was."""
    module = _HooksOfModule()
    fit = _fit(tmp_path, DataLoader(_Half(), batch_size=8, shuffle=True), module=module)
    assert fit["training"]["note"] == ""
    assert {int(row["index"]) for row in _rows(tmp_path)[:12]} == set(range(0, 48, 4))
    alone = _HooksOfModule()
    trainer = make_trainer(tmp_path, max_epochs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(alone, DataLoader(_Half(), batch_size=8), loader(DottedSquares()))
    assert module.seen == alone.seen > 0

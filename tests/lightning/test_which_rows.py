"""Which rows become probes: every class by its share, watched ones by their floor."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_vlmxai import ConfigurationError, QuadrantStopping, VLMExplainCallback
from lightning_vlmxai.records import Verdict
from lightning_vlmxai.testing import ScriptedJudge
from tiny import TinyModule, make_trainer

CLASSES = 100


class Levels(Dataset[Any]):
    """A hundred classes of grey in the left half, sorted, as folders of pictures are."""

    classes = tuple(f"c{k}" for k in range(CLASSES))

    def __init__(self, each: int, *, of_first: int | None = None, known: bool = True) -> None:
        labels = [k for k in range(CLASSES) for _ in range(each)]
        self.labels_ = labels if of_first is None else [0] * of_first + labels[each:]
        if known:
            self.targets = self.labels_

    def __len__(self) -> int:
        return len(self.labels_)

    def __getitem__(self, index: int) -> Any:
        label = self.labels_[index]
        image = torch.zeros(3, 8, 8)
        image[:, :, :4] = (label + 0.5) / CLASSES
        return image, label


class Nearest(TinyModule):
    """Says which level is the nearest to a picture's mean: always right, and stays so."""

    def __init__(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(network=network)
        centres = (torch.arange(CLASSES) + 0.5) / CLASSES / 2
        with torch.no_grad():
            network[0].weight[:] = (2 * centres / 3)[:, None, None, None]
            network[0].bias[:] = -(centres**2)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def explain(
    folder: Path, data: Dataset[Any], *others: Any, epochs: int = 1, **arguments: Any
) -> tuple[VLMExplainCallback, Any]:
    """Return callback and trainer after a fit."""
    judge = ScriptedJudge([Verdict.scored(0)])
    callback = VLMExplainCallback(judge, probe_size=64, lag=0, **arguments)
    trainer = make_trainer(folder, callback, *others, max_epochs=epochs)
    loaders = [DataLoader(data, batch_size=50) for _ in range(2)]
    trainer.fit(Nearest(), *loaders)
    return callback, trainer


def labels_of(callback: VLMExplainCallback) -> list[str]:
    """Return the true classes of the last round's probes."""
    assert callback.latest_round is not None
    return [sample.explanation.label_name for sample in callback.latest_round.samples]


@pytest.mark.parametrize("known", [True, False])
def test_a_watched_class_of_a_hundred_has_its_floor_and_its_gate_fires(
    tmp_path: Path, known: bool
) -> None:
    """64 probes would give it .64 of one."""
    gate = QuadrantStopping(
        "vlmxai/class/c17/correct_low_rate", divergence_threshold=0.5, min_judged=8
    )
    callback, trainer = explain(
        tmp_path, Levels(10, known=known), gate, epochs=5, watch_classes=["c17"]
    )
    counts = Counter(labels_of(callback))
    assert counts["c17"] == 8
    assert sum(counts.values()) == 64
    assert max(count for name, count in counts.items() if name != "c17") == 1
    assert trainer.current_epoch == 1


def test_labels_known_or_not_the_same_rows_are_chosen(tmp_path: Path) -> None:
    """Planned before, or as they pass by, in whatever batches."""
    rows = []
    for known in (True, False):
        callback, _ = explain(tmp_path / str(known), Levels(2, known=known))
        assert callback.latest_round is not None
        rows.append([s.explanation.probe_index for s in callback.latest_round.samples])
    assert rows[0] == rows[1]
    assert len(rows[0]) == 64


class Several(Nearest):
    """Is validated on several loaders."""

    def validation_step(  # type: ignore[override]
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self(batch[0])


class Shifted(Levels):
    """Classes from 50 on."""

    def __init__(self, each: int, *, known: bool = True) -> None:
        super().__init__(each, known=known)
        self.labels_ = self.labels_[50 * each :]
        if known:
            self.targets = self.labels_


@pytest.mark.parametrize("known", [True, False])
def test_rows_of_several_loaders_are_counted_as_one_after_the_other(
    tmp_path: Path, known: bool
) -> None:
    """The first and the third of three: shares, numbers and pictures are those of both."""
    parts = [Levels(1, known=known), Levels(3), Shifted(2, known=known)]
    judge = ScriptedJudge([Verdict.scored(0)])
    callback = VLMExplainCallback(judge, probe_size=60, lag=0, val_loader=[2, 0])
    trainer = make_trainer(tmp_path, callback, max_epochs=1)
    trainer.fit(Several(), DataLoader(parts[0], batch_size=50), [DataLoader(p, 50) for p in parts])
    assert callback.latest_round is not None
    found = [sample.explanation for sample in callback.latest_round.samples]
    assert len({e.probe_index for e in found}) == 60
    assert sum(e.probe_index >= 100 for e in found) == pytest.approx(30, abs=5)
    for e in found:
        part, index = (0, e.probe_index) if e.probe_index < 100 else (2, e.probe_index - 100)
        image, label = parts[part][index]
        assert (e.label, e.is_correct) == (label, True)
        assert (e.pixels - image).abs().max() < 1e-6


def test_a_loader_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With a number that works."""
    with pytest.raises(ConfigurationError, match=r"below 1, .*Pass `val_loader=0`"):
        explain(tmp_path, Levels(1), val_loader=1)


def test_a_watched_class_with_too_few_rows_is_told_with_its_number(tmp_path: Path) -> None:
    """A gate on it would rest on two."""
    with pytest.warns(UserWarning, match="class 'c0' has 2 probes, 8 were wanted"):
        callback, _ = explain(tmp_path, Levels(10, of_first=2), watch_classes=["c0"])
    assert labels_of(callback).count("c0") == 2

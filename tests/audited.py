"""Audits of squares, as the tests of audits run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_vlmxai import (
    Verdict,
    VLMAuditCallback,
)
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.sinks.audit_folder import read_lines
from tiny import Separable, Squares, make_trainer

ROWS = 101


def by_index(request: JudgeRequest) -> Verdict:
    """Score by the sample's index alone."""
    return Verdict.scored(request.probe_index % 6, evaluation=f"sample {request.probe_index}")


def light(request: JudgeRequest) -> Verdict:
    """Score by the kept light alone, so that a picture has one score under any identity."""
    kept = float((request.pixels * request.mask).mean())
    return Verdict.scored(round(min(5.0, 20 * kept), 3))


def run(
    folder: Path,
    judge: Any = None,
    *,
    data: Dataset[Any] | None = None,
    stage: str = "validate",
    module: pl.LightningModule | None = None,
    callbacks: tuple[pl.Callback, ...] = (),
    loader: DataLoader[Any] | None = None,
    **settings: Any,
) -> tuple[VLMAuditCallback, Any]:
    """Audit squares; return the callback and what the trainer returned."""
    callback = VLMAuditCallback(judge, run_dir=folder / "run", **settings)
    trainer = make_trainer(folder, callback, *callbacks)
    torch.manual_seed(0)
    if loader is None:
        loader = DataLoader(data or Squares(ROWS), batch_size=8)
    module = module or Separable()
    return callback, getattr(trainer, stage)(module, loader)


def lines_of(folder: Path, stage: str = "validate") -> list[dict[str, Any]]:
    """Return the lines of an audit, by sample."""
    return sorted(read_lines(folder / "run", stage), key=lambda line: line["probe"])


class Stop(pl.Callback):
    """Ends the run in an error after so many batches."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.batches -= 1
        if self.batches == 0:
            raise RuntimeError("the power is out")


class Numbered(Squares):
    """Gives each sample's own index."""

    def __getitem__(self, index: int) -> Any:
        return *super().__getitem__(index), index


def drop_some(samples: list[Any]) -> Any:
    """Leave out every tenth sample, as one that can't be read."""
    kept = [sample for sample in samples if sample[3] % 10]
    return torch.utils.data.default_collate(kept)

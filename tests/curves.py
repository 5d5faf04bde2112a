"""Runs whose every figure can be compared: a model, judges and a logger for that."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor

from lightning_vlmxai.records import JudgeRequest, Verdict
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Squares, TinyModule


class Steady(TinyModule):
    """Trains on a batch that its step alone determines, wherever a resumed loader begins."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.dropout = torch.nn.Identity()
        self.squares = Squares(24)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of that batch."""
        chosen = torch.Generator().manual_seed(self.global_step)
        indices = torch.randint(0, 24, (8,), generator=chosen).tolist()
        images = torch.stack([self.squares[i][0] for i in indices])
        labels = torch.tensor([self.squares[i][1] for i in indices])
        return F.cross_entropy(self(images), labels)


def score_of(request: JudgeRequest) -> float:
    """Return a score that any bit of the picture, the mask or the saliency map changes."""
    assert request.saliency is not None
    digest = hashlib.sha256(request.label_name.encode())
    for tensor in (request.pixels, request.mask, request.saliency):
        digest.update(tensor.contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:2], "big") % 501 / 100


class Unhurried(ScriptedJudge):
    """Scores by `score_of`, each time after another delay.

    Args:
        most_s: Longest delay, in seconds.
    """

    def __init__(self, most_s: float = 0.0) -> None:
        super().__init__(lambda request: Verdict.scored(score_of(request)))
        self._random = random.Random(0)  # noqa: S311
        self._most_s = most_s

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Return the verdict in its own time."""
        await asyncio.sleep(self._most_s * self._random.random())
        return await super().judge(request)


class MemoryLogger(Logger):
    """Keeps what is logged of each step, the last value winning."""

    def __init__(self) -> None:
        super().__init__()
        self.curves: dict[str, dict[int, float]] = {}

    name = version = "memory"  # type: ignore[assignment]

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep values."""
        assert step is not None
        for name, value in metrics.items():
            if name.startswith("vlmxai/"):
                self.curves.setdefault(name, {})[step] = value

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Keep nothing."""


class Watch(pl.Callback):
    """Keeps what monitors read after each validation."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the callback metrics."""
        if not trainer.sanity_checking:
            logged = trainer.callback_metrics
            self.seen.append({k: float(v) for k, v in logged.items() if k.startswith("vlmxai")})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]

"""The sinks that fit a Lightning logger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import (
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from .base import Sink
from .metrics import MetricsSink
from .mlflow import MLFlowSink
from .tensorboard import TensorBoardSink
from .wandb import WandbSink


def make_sinks(loggers: Sequence[Logger], settings: Mapping[str, Any] | None = None) -> list[Sink]:
    """Return the sinks of the loggers: scalars to each, pictures and texts where we know how.

    Args:
        loggers: Lightning's.
        settings: How the run was made, plain values only; `watch_classes` are names of classes.
    """
    told = settings or {}
    sinks: list[Sink] = []
    for logger in loggers:
        # Before the scalars: W&B is told of their step before it sees them.
        if isinstance(logger, TensorBoardLogger):
            sinks.append(TensorBoardSink(logger, told))
        elif isinstance(logger, WandbLogger):
            sinks.append(WandbSink(logger, told))
        elif isinstance(logger, MLFlowLogger):
            sinks.append(MLFlowSink(logger, told))
        sinks.append(MetricsSink(logger))
    return sinks

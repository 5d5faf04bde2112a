"""The sinks that fit a Lightning logger."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from .base import Sink
from .metrics import MetricsSink
from .tensorboard import TensorBoardSink
from .wandb import WandbSink


def make_sinks(loggers: Sequence[Logger]) -> list[Sink]:
    """Return the sinks of the loggers: scalars to each, pictures and texts where we know how."""
    sinks: list[Sink] = []
    for logger in loggers:
        sinks.append(MetricsSink(logger))
        if isinstance(logger, TensorBoardLogger):
            sinks.append(TensorBoardSink(logger))
        elif isinstance(logger, WandbLogger):
            sinks.append(WandbSink(logger))
    return sinks

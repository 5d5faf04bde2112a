"""The sink that fits a Lightning logger."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from .base import Sink
from .metrics import MetricsSink
from .tensorboard import TensorBoardSink
from .wandb import WandbSink


def make_sinks(loggers: Sequence[Logger]) -> list[Sink]:
    """Return a sink for each logger: pictures and texts where we know how, scalars everywhere."""
    return [_make_sink(logger) for logger in loggers]


def _make_sink(logger: Logger) -> Sink:
    if isinstance(logger, TensorBoardLogger):
        return TensorBoardSink(logger)
    if isinstance(logger, WandbLogger):
        return WandbSink(logger)
    return MetricsSink(logger)

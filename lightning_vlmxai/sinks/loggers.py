"""The sinks that fit a Lightning logger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch.loggers import Logger

from .base import Sink, is_lightning
from .metrics import MetricsSink
from .mlflow import MLFlowSink
from .tensorboard import TensorBoardSink
from .wandb import WandbSink

if TYPE_CHECKING:
    from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger


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
        if is_lightning(logger, "TensorBoardLogger"):
            sinks.append(TensorBoardSink(cast("TensorBoardLogger", logger), told))
        elif is_lightning(logger, "WandbLogger"):
            sinks.append(WandbSink(cast("WandbLogger", logger), told))
        elif is_lightning(logger, "MLFlowLogger"):
            sinks.append(MLFlowSink(cast("MLFlowLogger", logger), told))
        sinks.append(MetricsSink(logger))
    return sinks

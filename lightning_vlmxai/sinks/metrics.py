"""Scalars to any Lightning logger."""

from __future__ import annotations

from lightning.pytorch.loggers import Logger

from ..records import Round
from .base import is_lightning, prefixed_metrics


class MetricsSink:
    """Logs a round's metrics at the step of the round, through Lightning's own interface.

    Only those of a fit: in `validate()` and `test()` a round is closed at once, so that Lightning
    logs the figures itself, and returns them. Rows have the round's `epoch`, as Lightning's have;
    TensorBoard, whose epochs are a curve, has it from Lightning alone.

    Args:
        logger: Any Lightning logger.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def write(self, closed: Round) -> None:
        """Log the metrics of a round of a fit."""
        if closed.stage == "fit":
            metrics = prefixed_metrics(closed)
            if not is_lightning(self._logger, "TensorBoardLogger"):
                metrics["epoch"] = closed.epoch
            self._logger.log_metrics(metrics, step=closed.step)

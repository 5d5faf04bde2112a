"""Scalars to any Lightning logger."""

from __future__ import annotations

from lightning.pytorch.loggers import Logger

from ..records import Round
from .base import prefixed_metrics


class MetricsSink:
    """Logs a round's metrics at the step of the round, through Lightning's own interface.

    Args:
        logger: Any Lightning logger.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def write(self, closed: Round) -> None:
        """Log the metrics of a round."""
        self._logger.log_metrics(prefixed_metrics(closed), step=closed.step)

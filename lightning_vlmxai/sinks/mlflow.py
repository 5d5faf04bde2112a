"""Pictures, the settings and the report to MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger

from ..records import Round
from .base import PREFIX, metric_name
from .sheets import round_sheets


class MLFlowSink:
    """Writes the sheets of a round to MLflow (2.11 or later), where a slider runs over their steps.

    The settings and the report are artifacts. The settings are no parameters, which MLflow does
    not let change: a run that goes on with other settings would fail.

    Args:
        logger: Lightning's MLflow logger.
        settings: How the run was made.
    """

    def __init__(self, logger: MLFlowLogger, settings: Mapping[str, Any]) -> None:
        self._logger = logger
        self._settings = settings
        self._is_begun = False

    def announce(self, _closed: Round) -> None:
        """Begin the logger's run, if it isn't yet: two threads must not do so at once."""
        _ = self._logger.experiment

    def write(self, closed: Round) -> None:
        """Write the sheets of a round."""
        client, run = self._logger.experiment, self._logger.run_id
        if not self._is_begun:
            self._is_begun = True
            client.log_dict(run, dict(self._settings), f"{PREFIX}/settings.json")
        for name, sheet in round_sheets(closed, self._settings.get("watch_classes", ())).items():
            client.log_image(run, sheet, key=metric_name(name, closed.stage), step=closed.step)

    def finish(self, report: Path) -> None:
        """Keep the report as an artifact of the run."""
        self._logger.experiment.log_artifact(self._logger.run_id, str(report), PREFIX)

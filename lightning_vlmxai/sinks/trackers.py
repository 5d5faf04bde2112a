"""Pictures and the report to MLflow and Comet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CometLogger, MLFlowLogger

from ..records import Round
from .base import PREFIX, metric_name
from .sheets import round_sheets


class MLFlowSink:
    """Writes the sheets of a round to MLflow, and the settings and the report as artifacts.

    The settings are no MLflow parameters: those can't be changed once logged, so that a run that
    goes on with other settings would fail.

    Args:
        logger: Lightning's MLflow logger.
        settings: How the run was made.
    """

    def __init__(self, logger: MLFlowLogger, settings: Mapping[str, Any]) -> None:
        self._logger = logger
        self._settings = settings
        self._is_begun = False

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


class CometSink:
    """Writes the sheets of a round to Comet, the settings as parameters, the report as an asset.

    Args:
        logger: Lightning's Comet logger.
        settings: How the run was made.
    """

    def __init__(self, logger: CometLogger, settings: Mapping[str, Any]) -> None:
        self._logger = logger
        self._settings = settings
        self._is_begun = False

    def write(self, closed: Round) -> None:
        """Write the sheets of a round."""
        experiment = self._logger.experiment
        if not self._is_begun:
            self._is_begun = True
            experiment.log_parameters(dict(self._settings), prefix=PREFIX)
        for name, sheet in round_sheets(closed, self._settings.get("watch_classes", ())).items():
            experiment.log_image(sheet, name=metric_name(name, closed.stage), step=closed.step)

    def finish(self, report: Path) -> None:
        """Keep the report as an asset of the run."""
        self._logger.experiment.log_asset(str(report), file_name=f"{PREFIX}/{report.name}")

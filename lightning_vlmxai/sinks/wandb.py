"""Pictures, one growing table of samples, and the report to Weights & Biases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from lightning.pytorch.loggers import WandbLogger

from ..records import Quadrant, Round, Sample
from .base import PREFIX, metric_name
from .pictures import caption, examples, masked_image, to_image
from .sheets import overview_sheets

COLUMNS = (
    "round", "epoch", "probe", "file", "image", "masked image", "label", "prediction", "confidence",
    "score", "quadrant", "evaluation", "justification", "reason",
)  # fmt: skip

_tables: WeakKeyDictionary[WandbLogger, dict[str, Any]] = WeakKeyDictionary()
"""A run has one table under a key, and a `validate()` after a fit must go on with it."""


class WandbSink:
    """Writes a round through Lightning's W&B logger, which keeps the step as a field.

    The table is incremental: each round uploads its own rows, and they are let go then.

    Args:
        logger: Lightning's W&B logger.
        settings: How the run was made; they go into the run's config under `vlmxai`.
    """

    def __init__(self, logger: WandbLogger, settings: Mapping[str, Any]) -> None:
        self._logger = logger
        self._settings = settings
        self._is_begun = False

    def write(self, closed: Round) -> None:
        """Write pictures with captions and the rows of the round's samples."""
        import wandb  # an extra: only who has the logger has the library

        if not self._is_begun:
            self._is_begun = True
            # Lightning says so for runs that it makes itself, not for one that it is given.
            step = "trainer/global_step"
            self._logger.experiment.define_metric(f"{PREFIX}/*", step_metric=step)
            self._logger.log_hyperparams({PREFIX: dict(self._settings)})
        points: dict[str, Any] = {
            f"samples/{quadrant.value}": [
                wandb.Image(masked_image(sample), caption=caption(sample)) for sample in samples
            ]
            for quadrant in Quadrant
            if (samples := examples(closed, quadrant))
        }
        sheets = overview_sheets(closed, self._settings.get("watch_classes", ()))
        points.update({name: wandb.Image(sheet) for name, sheet in sheets.items()})
        key = metric_name("table", closed.stage)
        tables = _tables.setdefault(self._logger, {})
        table = tables.setdefault(key, wandb.Table(columns=list(COLUMNS), log_mode="INCREMENTAL"))
        for sample in closed.samples:
            table.add_data(*_row(closed, sample))
        points["table"] = table
        named = {metric_name(name, closed.stage): value for name, value in points.items()}
        self._logger.log_metrics(named, step=closed.step)
        for row in table.data[len(table.data) - len(closed.samples) :]:
            row.clear()  # uploaded once; the table only counts it from here on

    def finish(self, report: Path) -> None:
        """Keep the report as an artifact of the run."""
        import wandb

        run = self._logger.experiment
        artifact = wandb.Artifact(f"{PREFIX}-report-{run.id}", type=f"{PREFIX}-report")
        artifact.add_file(str(report), name=report.name)
        run.log_artifact(artifact)


def _row(closed: Round, sample: Sample) -> list[Any]:
    import wandb

    e, verdict = sample.explanation, sample.verdict
    return [
        closed.number,
        closed.epoch,
        e.probe_index,
        e.file,
        wandb.Image(to_image(e.pixels)),
        wandb.Image(masked_image(sample)),
        e.label_name,
        e.prediction_name,
        e.confidence if math.isfinite(e.confidence) else None,
        verdict.score,
        None if sample.quadrant is None else sample.quadrant.value,
        verdict.evaluation,
        verdict.justification,
        None if verdict.reason is None else verdict.reason.value,
    ]

"""Pictures, one growing table of samples, and the report to Weights & Biases."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from lightning.pytorch.loggers import WandbLogger

from ..records import Round, Sample
from .base import PREFIX, metric_name
from .pictures import QUADRANT_TAGS, caption, examples, masked_image, to_image
from .sheets import overview_sheets
from .words import printable

COLUMNS = (
    "round", "epoch", "probe", "file", "image", "masked image", "label", "prediction", "confidence",
    "score", "quadrant", "evaluation", "justification", "reason",
)  # fmt: skip

STEP = "trainer/global_step"
"""Lightning's name of what curves stand over."""
ENDS = ("_lower", "_upper", "_stderr")
"""Ends of figures that get no panel by themselves: they belong to another's."""

_tables: WeakKeyDictionary[WandbLogger, dict[str, Any]] = WeakKeyDictionary()
"""A run has one table under a key, and a `validate()` after a fit must go on with it."""


class WandbSink:
    """Writes a round through Lightning's W&B logger, which keeps the step as a field.

    The table is incremental: each round uploads its own rows, and they are let go then. Each figure
    is one number in the run's summary, the last round's, and each has a panel, but for the ends of
    intervals, which anyone can still add to a chart.

    Args:
        logger: Lightning's W&B logger.
        settings: How the run was made; they go into the run's config under `vlmxai`.
    """

    def __init__(self, logger: WandbLogger, settings: Mapping[str, Any]) -> None:
        self._logger = logger
        self._settings = settings
        self._is_begun = False
        self._hidden: set[str] = set()

    def announce(self, closed: Round) -> None:
        """Say over which step the figures stand, and which of them get no panel."""
        run = self._logger.experiment
        if not self._is_begun:
            self._is_begun = True
            # Lightning says so for runs that it makes itself, not for one that it is given.
            run.define_metric(f"{PREFIX}/*", step_metric=STEP)
            self._logger.log_hyperparams({PREFIX: dict(self._settings)})
        for name in sorted({metric_name(m, closed.stage) for m in closed.metrics} - self._hidden):
            if name.endswith(ENDS):
                self._hidden.add(name)
                run.define_metric(name, step_metric=STEP, hidden=True)

    def write(self, closed: Round) -> None:
        """Write the finding, pictures with captions and the rows of the round's samples."""
        import wandb  # an extra: only who has the logger has the library

        self.announce(closed)
        run = self._logger.experiment
        points: dict[str, Any] = {
            f"examples/{tag}": [
                wandb.Image(masked_image(sample), caption=caption(sample)) for sample in samples
            ]
            for quadrant, tag in QUADRANT_TAGS.items()
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
        if closed.finding:
            # A field of the run, for the runs table; a panel under a name of its own.
            finding = metric_name("finding", closed.stage)
            run.summary[finding] = "\n".join(closed.finding)
            points["finding_text"] = wandb.Html(_list(closed.finding), inject=False)
        named = {metric_name(name, closed.stage): value for name, value in points.items()}
        self._logger.log_metrics(named, step=closed.step)
        for row in table.data[len(table.data) - len(closed.samples) :]:
            row.clear()  # uploaded once; the table only counts it from here on

    def alert(self, title: str, text: str, *, step: int) -> None:
        """Send an alert, as the user's settings have it: by mail or into a chat."""
        self._logger.experiment.alert(
            title=printable(title), text=f"Step {step}: {printable(text)}"
        )

    def finish(self, report: Path) -> None:
        """Keep the report as an artifact of the run."""
        import wandb

        run = self._logger.experiment
        artifact = wandb.Artifact(f"{PREFIX}-report-{run.id}", type=f"{PREFIX}-report")
        artifact.add_file(str(report), name=report.name)
        run.log_artifact(artifact)


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(printable(sentence))}</li>" for sentence in sentences)
    return f'<meta charset="utf-8"><ul style="font: 15px/1.5 sans-serif">{items}</ul>'


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

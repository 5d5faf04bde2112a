"""Pictures and a table of samples to Weights & Biases."""

from __future__ import annotations

from lightning.pytorch.loggers import WandbLogger

from ..records import Quadrant, Round
from .base import metric_name
from .pictures import caption, examples, masked_image

COLUMNS = [
    "epoch", "probe", "masked image", "label", "prediction", "confidence", "score", "quadrant",
    "evaluation", "justification", "reason",
]  # fmt: skip


class WandbSink:
    """Writes a round through Lightning's W&B logger, which keeps the step as a field.

    Args:
        logger: Lightning's W&B logger.
    """

    def __init__(self, logger: WandbLogger) -> None:
        self._logger = logger

    def write(self, closed: Round) -> None:
        """Write pictures with captions and a table of the round's samples."""
        import wandb  # an extra: only who has the logger has the library

        for quadrant in Quadrant:
            samples = examples(closed, quadrant)
            if samples:
                self._logger.log_image(
                    metric_name(f"samples/{quadrant.value}", closed.stage),
                    [masked_image(sample) for sample in samples],
                    step=closed.step,
                    caption=[caption(sample) for sample in samples],
                )
        rows = [
            [
                closed.epoch,
                s.explanation.probe_index,
                wandb.Image(masked_image(s)),
                s.explanation.label_name,
                s.explanation.prediction_name,
                s.explanation.confidence,
                s.verdict.score,
                None if s.quadrant is None else s.quadrant.value,
                s.verdict.evaluation,
                s.verdict.justification,
                None if s.verdict.reason is None else s.verdict.reason.value,
            ]
            for s in closed.samples
        ]
        self._logger.log_table(
            metric_name("table", closed.stage), columns=COLUMNS, data=rows, step=closed.step
        )

"""Montages and the judge's words to TensorBoard."""

from __future__ import annotations

import html

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger

from ..records import Quadrant, Round
from .base import metric_name
from .pictures import caption, examples, make_montage


class TensorBoardSink:
    """Writes a round to TensorBoard at the step of the round.

    A montage of example masked images for each quadrant that has any, and the words of those
    examples as text.

    Args:
        logger: Lightning's TensorBoard logger.
    """

    def __init__(self, logger: TensorBoardLogger) -> None:
        self._logger = logger

    def write(self, closed: Round) -> None:
        """Write pictures and texts of a round."""
        writer = self._logger.experiment
        for quadrant in Quadrant:
            samples = examples(closed, quadrant)
            if not samples:
                continue
            tag = metric_name(f"samples/{quadrant.value}", closed.stage)
            picture = np.asarray(make_montage(samples))
            writer.add_image(tag, picture, global_step=closed.step, dataformats="HWC")
            words = "\n\n".join(
                f"**{_escape(caption(s))}**\n\n{_escape(s.verdict.evaluation)}\n\n"
                f"_{_escape(s.verdict.justification)}_"
                for s in samples
            )
            writer.add_text(tag, words, global_step=closed.step)


def _escape(text: str) -> str:
    """Return text that TensorBoard's Markdown shows as it is."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|~" else c for c in html.escape(plain))

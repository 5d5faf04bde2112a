"""Verdicts and what tests them go in; figures that say how far to trust them come out."""

from .correction import (
    CorrectedDifference,
    CorrectedRate,
    corrected_difference,
    corrected_rate,
)
from .faithfulness import FAITHFULNESS, faithfulness
from .sampling import Drawn, draw_sample

__all__ = [
    "FAITHFULNESS",
    "CorrectedDifference",
    "CorrectedRate",
    "Drawn",
    "corrected_difference",
    "corrected_rate",
    "draw_sample",
    "faithfulness",
]

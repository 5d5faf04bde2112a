"""Verdicts and what tests them go in; figures that say how far to trust them come out."""

from .correction import (
    CorrectedDifference,
    CorrectedRate,
    corrected_difference,
    corrected_rate,
)
from .faithfulness import FAITHFULNESS, faithfulness

__all__ = [
    "FAITHFULNESS",
    "CorrectedDifference",
    "CorrectedRate",
    "corrected_difference",
    "corrected_rate",
    "faithfulness",
]

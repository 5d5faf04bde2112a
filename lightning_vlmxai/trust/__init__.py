"""Verdicts and what tests them go in; figures that say how far to trust them come out."""

from .agreement import AGREEMENT, Agreed, agreement, krippendorff_alpha
from .correction import (
    CorrectedDifference,
    CorrectedRate,
    corrected_difference,
    corrected_rate,
)
from .faithfulness import FAITHFULNESS, faithfulness
from .masks import mask_agreement
from .sampling import Drawn, draw_sample

__all__ = [
    "AGREEMENT",
    "FAITHFULNESS",
    "Agreed",
    "CorrectedDifference",
    "CorrectedRate",
    "Drawn",
    "agreement",
    "corrected_difference",
    "corrected_rate",
    "draw_sample",
    "faithfulness",
    "krippendorff_alpha",
    "mask_agreement",
]

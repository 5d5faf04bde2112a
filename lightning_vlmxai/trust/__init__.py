"""Verdicts and what tests them go in; figures that say how far to trust them come out."""

from .control_figures import (
    Area,
    ControlFigures,
    Outcome,
    Share,
    area_under,
    control_figures,
    outcomes_of,
)
from .controls import KINDS, Drawn, Subject, draw_controls, subjects_of
from .correction import (
    CorrectedDifference,
    CorrectedRate,
    corrected_difference,
    corrected_rate,
)
from .faithfulness import FAITHFULNESS, faithfulness

__all__ = [
    "FAITHFULNESS",
    "KINDS",
    "Area",
    "ControlFigures",
    "CorrectedDifference",
    "CorrectedRate",
    "Drawn",
    "Outcome",
    "Share",
    "Subject",
    "area_under",
    "control_figures",
    "corrected_difference",
    "corrected_rate",
    "draw_controls",
    "faithfulness",
    "outcomes_of",
    "subjects_of",
]

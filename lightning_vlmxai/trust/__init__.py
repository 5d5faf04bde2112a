"""Verdicts and what tests them go in; figures that say how far to trust them come out."""

from .agreement import AGREEMENT, Agreed, agreement, krippendorff_alpha
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
from .examination import Examination, examine, find_faults
from .examination_lines import compare, describe_answers, describe_figures
from .faithfulness_figures import FAITHFULNESS, faithfulness
from .judge_watch import JUDGE_METRICS, JudgeWatch, round_auc
from .masks import mask_agreement, say_partly
from .sampling import Sampled, draw_sample
from .scenes import SCENE_NAMES, draw_scenes
from .subjects import read_subjects
from .suspects import (
    CLEANLAB,
    COMBINED,
    LABEL_METHODS,
    MIN_PER_CLASS,
    WRONG_HIGH,
    Suspects,
    find_suspects,
    suggested_labels,
)

__all__ = [
    "AGREEMENT",
    "CLEANLAB",
    "COMBINED",
    "FAITHFULNESS",
    "JUDGE_METRICS",
    "KINDS",
    "LABEL_METHODS",
    "MIN_PER_CLASS",
    "SCENE_NAMES",
    "WRONG_HIGH",
    "Agreed",
    "Area",
    "ControlFigures",
    "CorrectedDifference",
    "CorrectedRate",
    "Drawn",
    "Examination",
    "JudgeWatch",
    "Outcome",
    "Sampled",
    "Share",
    "Subject",
    "Suspects",
    "agreement",
    "area_under",
    "compare",
    "control_figures",
    "corrected_difference",
    "corrected_rate",
    "describe_answers",
    "describe_figures",
    "draw_controls",
    "draw_sample",
    "draw_scenes",
    "examine",
    "faithfulness",
    "find_faults",
    "find_suspects",
    "krippendorff_alpha",
    "mask_agreement",
    "outcomes_of",
    "read_subjects",
    "round_auc",
    "say_partly",
    "subjects_of",
    "suggested_labels",
]

"""Explanations and their verdicts go in, validation by validation; closed rounds come out."""

from .book import RoundBook
from .estimates import Answer, Estimate, count_answered, estimate, estimate_quadrants, response_of
from .faults import Faults
from .findings import Finding, Outcome, Outcomes, find
from .groups import Group, Member, Share, bin_confidence, compare_groups, stand_out
from .open_round import with_probe, without_probe
from .paired import Pairs, benjamini_hochberg, fisher_p, holm, mcnemar_p, paired_interval
from .quadrants import (
    BOUNDED_METRICS,
    QUADRANT_METRICS,
    ROUND_METRICS,
    Interval,
    assign_quadrant,
    estimated_metrics,
    estimated_rates,
    faithfulness_names,
    figures_of,
    quadrant_metrics,
    widened_interval,
    wilson_interval,
)
from .ranks import Ranks
from .source import RoundSource, ShortcutSource
from .telling import LETTERS, MEANINGS, NAMES, PALETTE, Shades, is_borderline, show_score

__all__ = [
    "BOUNDED_METRICS",
    "LETTERS",
    "MEANINGS",
    "NAMES",
    "PALETTE",
    "QUADRANT_METRICS",
    "ROUND_METRICS",
    "Answer",
    "Estimate",
    "Faults",
    "Finding",
    "Group",
    "Interval",
    "Member",
    "Outcome",
    "Outcomes",
    "Pairs",
    "Ranks",
    "RoundBook",
    "RoundSource",
    "Shades",
    "Share",
    "ShortcutSource",
    "assign_quadrant",
    "benjamini_hochberg",
    "bin_confidence",
    "compare_groups",
    "count_answered",
    "estimate",
    "estimate_quadrants",
    "estimated_metrics",
    "estimated_rates",
    "faithfulness_names",
    "figures_of",
    "find",
    "fisher_p",
    "holm",
    "is_borderline",
    "mcnemar_p",
    "paired_interval",
    "quadrant_metrics",
    "response_of",
    "show_score",
    "stand_out",
    "widened_interval",
    "wilson_interval",
    "with_probe",
    "without_probe",
]

"""Judges: a masked picture and a predicted label in, a verdict out."""

from .base import Judge, PaidJudge
from .budget import Budget
from .failures import FailureReporter, describe_failures
from .reference import ReferenceMaskJudge, overlap_score
from .vlm import VLMJudge

__all__ = [
    "Budget",
    "FailureReporter",
    "Judge",
    "PaidJudge",
    "ReferenceMaskJudge",
    "VLMJudge",
    "describe_failures",
    "overlap_score",
]

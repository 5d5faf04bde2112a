"""Judges: a masked picture and a predicted label in, a verdict out."""

from .base import Judge, PaidJudge
from .budget import Budget
from .failures import FailureReporter, describe_failures
from .vlm import VLMJudge

__all__ = [
    "Budget",
    "FailureReporter",
    "Judge",
    "PaidJudge",
    "VLMJudge",
    "describe_failures",
]

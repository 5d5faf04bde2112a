"""A masked picture and the predicted label go in; a verdict comes out."""

from .base import Judge, PaidJudge
from .budget import Budget
from .failures import FailureReporter, describe_failures
from .reference import ReferenceMaskJudge, overlap_score
from .vlm import VLMJudge
from .worker import JudgeWorker, Ticket

__all__ = [
    "Budget",
    "FailureReporter",
    "Judge",
    "JudgeWorker",
    "PaidJudge",
    "ReferenceMaskJudge",
    "Ticket",
    "VLMJudge",
    "describe_failures",
    "overlap_score",
]

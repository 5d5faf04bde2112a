"""A masked picture and the predicted label go in; a verdict comes out."""

from .base import Judge, PaidJudge
from .budget import Budget
from .cache import KEPT_REASONS
from .failures import FailureReporter, describe_failures
from .prompts import STYLES, VIEWS
from .reference import ReferenceMaskJudge, overlap_score
from .vlm import VLMJudge
from .worker import INTERRUPTED_S, JudgeWorker, Ticket

__all__ = [
    "INTERRUPTED_S",
    "KEPT_REASONS",
    "STYLES",
    "VIEWS",
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

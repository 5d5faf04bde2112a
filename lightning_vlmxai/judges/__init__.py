"""A masked picture and the predicted label go in; a verdict comes out."""

from .answers import read_attended, tell_attended
from .base import CaptionJudge, Judge, PaidJudge
from .batch_files import (
    BATCH_PRICE,
    BatchFileJudge,
    copy_requests,
    find_request_files,
)
from .batch_results import BatchResults, read_results
from .budget import Budget
from .cache import KEPT_REASONS
from .failures import FailureReporter, describe_failures
from .prices import price_of
from .prompts import STYLES, VIEWS
from .reference import PLACE_NAMES, ReferenceMaskJudge, name_place, overlap_score
from .vlm import VLMJudge
from .worker import INTERRUPTED_S, JudgeWorker, Ticket

__all__ = [
    "BATCH_PRICE",
    "INTERRUPTED_S",
    "KEPT_REASONS",
    "PLACE_NAMES",
    "STYLES",
    "VIEWS",
    "BatchFileJudge",
    "BatchResults",
    "Budget",
    "CaptionJudge",
    "FailureReporter",
    "Judge",
    "JudgeWorker",
    "PaidJudge",
    "ReferenceMaskJudge",
    "Ticket",
    "VLMJudge",
    "copy_requests",
    "describe_failures",
    "find_request_files",
    "name_place",
    "overlap_score",
    "price_of",
    "read_attended",
    "read_results",
    "tell_attended",
]

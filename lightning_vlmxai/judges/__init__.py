"""Judges: a masked picture and a predicted label in, a verdict out."""

from .base import Judge
from .reference import ReferenceMaskJudge, overlap_score
from .vlm import VLMJudge

__all__ = ["Judge", "ReferenceMaskJudge", "VLMJudge", "overlap_score"]

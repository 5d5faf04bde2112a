"""Judges: a masked picture and a predicted label in, a verdict out."""

from .base import Judge
from .reference import ReferenceMaskJudge, overlap_score

__all__ = ["Judge", "ReferenceMaskJudge", "overlap_score"]

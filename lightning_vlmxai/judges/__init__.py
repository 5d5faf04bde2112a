"""Judges: a masked picture and a predicted label in, a verdict out."""

from .base import Judge
from .vlm import VLMJudge

__all__ = ["Judge", "VLMJudge"]

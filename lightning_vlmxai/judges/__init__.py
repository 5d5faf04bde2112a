"""Judges: a masked picture and a predicted label in, a verdict out."""

from .base import Judge, PaidJudge
from .budget import Budget
from .vlm import VLMJudge

__all__ = ["Budget", "Judge", "PaidJudge", "VLMJudge"]

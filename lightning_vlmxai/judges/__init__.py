"""Judges: a masked picture and a predicted label in, a verdict out."""

from .base import Judge

__all__ = ["Judge"]

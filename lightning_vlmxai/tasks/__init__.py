"""A model's output goes in; its prediction, the score to explain and its correctness come out."""

from .base import Prediction, Task, logits_of
from .classification import BinaryClassification, Classification
from .segmentation import Segmentation
from .targets import SampleTarget, WithTarget

__all__ = [
    "BinaryClassification",
    "Classification",
    "Prediction",
    "SampleTarget",
    "Segmentation",
    "Task",
    "WithTarget",
    "logits_of",
]

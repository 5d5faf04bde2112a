"""What a model's output means: the predicted class, the score to explain, when it is right."""

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

"""A model's output goes in; its prediction, the score to explain and its correctness come out."""

from .base import Prediction, Task, is_detection, logits_of, tensors_in
from .classification import BinaryClassification, Classification
from .distributions import class_probabilities
from .multi_label import MultiLabelClassification, OneLabelEach
from .outputs import Output, OutputReader, Reading, Shown
from .segmentation import DENSE, BinarySegmentation, Segmentation
from .targets import SampleTarget, WithTarget

__all__ = [
    "DENSE",
    "BinaryClassification",
    "BinarySegmentation",
    "Classification",
    "MultiLabelClassification",
    "OneLabelEach",
    "Output",
    "OutputReader",
    "Prediction",
    "Reading",
    "SampleTarget",
    "Segmentation",
    "Shown",
    "Task",
    "WithTarget",
    "class_probabilities",
    "is_detection",
    "logits_of",
    "tensors_in",
]

"""A model's output goes in; its prediction, the score to explain and its correctness come out."""

from .base import Prediction, Task, is_detection, logits_of, tensors_in
from .classification import BinaryClassification, Classification
from .distributions import class_probabilities
from .embedding_reader import EmbeddingReader, make_reader, with_texts
from .embeddings import EmbeddingTask, Similarity, find_scale, join_texts, mean_of_texts
from .image_text import ImageText
from .multi_label import MultiLabelClassification, OneLabelEach
from .outputs import OutputReader
from .readings import Output, Reading, Shown
from .segmentation import DENSE, BinarySegmentation, Segmentation
from .targets import SampleTarget, WithTarget
from .zero_shot import ZeroShot

__all__ = [
    "DENSE",
    "BinaryClassification",
    "BinarySegmentation",
    "Classification",
    "EmbeddingReader",
    "EmbeddingTask",
    "ImageText",
    "MultiLabelClassification",
    "OneLabelEach",
    "Output",
    "OutputReader",
    "Prediction",
    "Reading",
    "SampleTarget",
    "Segmentation",
    "Shown",
    "Similarity",
    "Task",
    "WithTarget",
    "ZeroShot",
    "class_probabilities",
    "find_scale",
    "is_detection",
    "join_texts",
    "logits_of",
    "make_reader",
    "mean_of_texts",
    "tensors_in",
    "with_texts",
]

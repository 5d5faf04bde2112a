"""The probability that a model gives to each class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Task, logits_of
from .classification import BinaryClassification, Classification
from .embeddings import Similarity
from .multi_label import MultiLabelClassification
from .targets import WithTarget


def class_probabilities(task: Task, output: Any) -> Tensor | None:
    """Return the probability of each class, `[B, K]` float32 in [0, 1]; None of a dense task.

    Those of a single-label task sum to 1 (K = 2 of one logit); those of several labels, or of pairs
    that are told apart one by one, don't.

    Args:
        task: That reads the output; of a user's own kind it gives none.
        output: As the task is given it, of a batch.

    Example:
        >>> task = BinaryClassification(from_probabilities=False)
        >>> class_probabilities(task, torch.zeros(1, 1)).tolist()
        [[0.5, 0.5]]
    """
    inner = task.task if isinstance(task, WithTarget) else task
    if isinstance(inner, Similarity):
        return inner.probabilities(output).detach()
    if not isinstance(inner, (Classification, BinaryClassification, MultiLabelClassification)):
        return None
    given = logits_of(output).detach().float()
    is_read = inner.predict(output).from_probabilities
    if isinstance(inner, Classification):
        return given if is_read else given.softmax(dim=1)
    each = given if is_read else given.sigmoid()
    if isinstance(inner, MultiLabelClassification):
        return each
    flat = each.flatten()
    return torch.stack([1 - flat, flat], dim=1)

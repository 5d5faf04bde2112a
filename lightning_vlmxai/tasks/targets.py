"""Explain another score than the task's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import AttributionError, expected
from .base import Prediction, Task, logits_of

SampleTarget = Callable[[Tensor], Tensor]
"""From one sample's output to a scalar score, as pytorch-grad-cam's targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithTarget:
    """Another task, explained by scores of your own: pytorch-grad-cam's targets fit as they are.

    Args:
        task: Predicts and tells what is correct.
        target: From a predicted class to the target of one sample, which maps that sample's logits
            to a scalar. A target class such as `ClassifierOutputSoftmaxTarget` is such a function.

    Example:
        >>> from lightning_vlmxai.tasks import Classification
        >>> def margin(predicted):
        ...     return lambda logits: 2 * logits[predicted] - logits.sum()
        >>> task = WithTarget(task=Classification(), target=margin)
        >>> task.predict(torch.tensor([[1.0, 3.0]])).scores
        tensor([2.])
    """

    task: Task
    target: Callable[[int], SampleTarget]

    def predict(self, output: Any) -> Prediction:
        """Return the task's prediction with the target's scores."""
        prediction = self.task.predict(output)
        return replace(prediction, scores=self.score(output, prediction))

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return each sample's score by its target, `[B]` float32.

        Raises:
            AttributionError: If a target gives more than one number.
        """
        logits, classes = logits_of(output), prediction.classes.tolist()
        scores = [self.target(k)(row) for k, row in zip(classes, logits, strict=True)]
        if any(score.numel() != 1 for score in scores):
            raise AttributionError(
                expected(
                    "target",
                    "a function to one number a sample",
                    list(scores[0].shape),
                    "Sum or pick within the target",
                )
            )
        return torch.stack([score.float().reshape(()) for score in scores])

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the task's probability of the predicted class, `[B]` float32."""
        return self.task.confidence(output, prediction)

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the task's label."""
        return self.task.label_of(target, num_classes)

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return what the task says."""
        return self.task.is_correct(prediction, row, target)

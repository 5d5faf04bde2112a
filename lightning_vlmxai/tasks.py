"""What a model's output means: the predicted class, the score to explain, when it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from .errors import AttributionError, ConfigurationError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A batch of predictions.

    Args:
        classes: Predicted class, `[B]` int64.
        confidences: Its probability, `[B]` float32 in [0, 1].
        scores: What is explained, `[B]`; carries the graph to the target layer.
        num_classes: How many classes the model tells apart.
    """

    classes: Tensor
    confidences: Tensor
    scores: Tensor
    num_classes: int


@runtime_checkable
class Task(Protocol):
    """How to read a model's output."""

    def predict(self, output: Any) -> Prediction:
        """Return what the model predicts for a batch."""
        ...

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the true class of one sample."""
        ...

    def is_correct(self, predicted: int, target: Tensor) -> bool:
        """Return whether a prediction counts as right for one sample."""
        ...


class Classification:
    """Single-label classification from logits `[B, K]`, K >= 2; explains the predicted logit."""

    def predict(self, output: Any) -> Prediction:
        """Return the arg-max class of each row of logits.

        Raises:
            AttributionError: If the output is not `[B, K]` with K >= 2.

        Example:
            >>> import torch
            >>> Classification().predict(torch.tensor([[0.0, 1.0]])).classes
            tensor([1])
        """
        if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < 2:
            got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise AttributionError(
                expected(
                    "forward",
                    "a function to logits [B, K] with K >= 2",
                    got,
                    "Return the logits, not a loss or probabilities of one class",
                )
            )
        logits = output.float()
        classes = logits.detach().argmax(dim=1)
        return Prediction(
            classes=classes,
            confidences=logits.detach().softmax(dim=1).amax(dim=1),
            scores=logits.gather(1, classes[:, None]).squeeze(1),
            num_classes=logits.shape[1],
        )

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the label as an int.

        Raises:
            ConfigurationError: If it is no class of the model.
        """
        if target.numel() != 1 or target.is_floating_point() or target.is_complex():
            raise ConfigurationError(
                expected(
                    "label",
                    "one integer a sample",
                    f"{target.dtype} {list(target.shape)}",
                    "Return (image, label) or (image, label, reference_mask) from the data set, "
                    "or pass `unpack`",
                )
            )
        label = int(target)
        if not 0 <= label < num_classes:
            raise ConfigurationError(
                expected(
                    "label",
                    f"in [0, {num_classes - 1}], the model's classes",
                    label,
                    "Renumber the labels from 0, or give the model more outputs",
                )
            )
        return label

    def is_correct(self, predicted: int, target: Tensor) -> bool:
        """Return whether the classes are the same."""
        return predicted == int(target)

"""What a task is, what it predicts, and where logits are found in a model's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ..errors import AttributionError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A batch of predictions.

    Args:
        classes: Predicted class, `[B]` int64.
        confidences: Its probability, `[B]` float32 in [0, 1].
        scores: What is explained, `[B]`; carries the graph to the target layer.
        num_classes: How many classes the model tells apart.
        class_maps: Predicted class of every pixel, `[B, h, w]` int64, where the output is dense.
    """

    classes: Tensor
    confidences: Tensor
    scores: Tensor
    num_classes: int
    class_maps: Tensor | None = None

    def rows(self, index: Tensor) -> Prediction:
        """Return the predictions of those samples.

        Args:
            index: Sample numbers, `[N]` int64; one may come several times.
        """
        return self._map(lambda values: values[index])

    def detach(self) -> Prediction:
        """Return the predictions off the graph."""
        return self._map(lambda values: values.detach())

    def cpu(self) -> Prediction:
        """Return the predictions on the CPU."""
        return self._map(lambda values: values.cpu())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Prediction:
        return Prediction(
            classes=change(self.classes),
            confidences=change(self.confidences),
            scores=change(self.scores),
            num_classes=self.num_classes,
            class_maps=None if self.class_maps is None else change(self.class_maps),
        )


@runtime_checkable
class Task(Protocol):
    """How to read a model's output."""

    def predict(self, output: Any) -> Prediction:
        """Return what the model predicts for a batch."""
        ...

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the explained score, `[B]`, that another output gives to a prediction."""
        ...

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the probability, `[B]`, that another output gives to a prediction."""
        ...

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the true class of one sample."""
        ...

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the prediction of one row of the batch counts as right."""
        ...


def logits_of(output: Any) -> Tensor:
    """Return the logits in a model's output.

    Args:
        output: A tensor, an object with `.logits` (Hugging Face), a dict with "logits", "out"
            (torchvision's segmentation) or a single tensor, or a tuple or list whose first tensor
            of two axes or more they are (one of a single axis if there is none).

    Raises:
        AttributionError: If there are none, or the model detects objects.

    Example:
        >>> import torch
        >>> logits_of((torch.tensor(0.3), torch.zeros(2, 10))).shape
        torch.Size([2, 10])
    """
    if isinstance(output, Tensor):
        return output
    _refuse_detection(output)
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, Mapping):
        tensors = [value for value in output.values() if isinstance(value, Tensor)]
        found = output.get("logits", output.get("out", tensors[0] if len(tensors) == 1 else None))
    elif found is None and isinstance(output, (tuple, list)):
        tensors = [value for value in output if isinstance(value, Tensor)]
        # A scalar before them is a loss.
        found = next(iter(sorted(tensors, key=lambda t: t.ndim < 2)), None)
    if not isinstance(found, Tensor) or found.ndim == 0:
        got = type(output).__name__
        if isinstance(output, Mapping):
            got = f"a mapping with the keys {sorted(map(str, output))}"
        raise AttributionError(
            expected(
                "forward",
                "a function to logits: a tensor, or an output with `logits` or 'out'",
                got,
                "Return the logits from `forward`",
            )
        )
    return found


def _refuse_detection(output: Any) -> None:
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    keys = set(first) if isinstance(first, Mapping) else set(dir(first))
    if keys & {"boxes", "pred_boxes"}:
        raise AttributionError(
            expected(
                "forward",
                "a function to class logits",
                "boxes",
                "Object detection is not supported; explain a classifier or a segmentation model",
            )
        )

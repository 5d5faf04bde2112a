"""Several labels a picture, from one logit a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import ConfigurationError, expected
from .base import Prediction, logits_of, refuse_shape
from .classification import checked_label, is_zeros_and_ones, pick
from .probabilities import are_in_unit_interval, logit_of, read_sigmoids


# No slots: a subclass may keep what it needs for `is_correct`.
@dataclass(frozen=True, kw_only=True)
class MultiLabelClassification:
    """Several labels a picture, from logits `[B, K]`, K >= 2: those whose logit is positive.

    Explained is the most confident label of each picture, by its logit, whether or not it is above
    one half; it is correct if it is among the true ones.

    Args:
        from_probabilities: Whether the output is a sigmoid's, whose log-odds are explained; None
            finds out, as `BinaryClassification` does.
    """

    from_probabilities: bool | None = None

    def predict(self, output: Any) -> Prediction:
        """Return the most confident label of each row.

        Raises:
            AttributionError: If the output is not `[B, K]` with K >= 2.

        Example:
            >>> import torch
            >>> MultiLabelClassification().predict(torch.tensor([[2.0, 3.0, -1.0]])).classes
            tensor([1])
        """
        given = logits_of(output)
        if given.ndim != 2 or given.shape[1] < 2:
            raise refuse_shape("a function to logits [B, K] with K >= 2", given.shape)
        is_known = self.from_probabilities is not None
        flag = (
            bool(self.from_probabilities)
            if is_known
            else read_sigmoids(given, "MultiLabelClassification")
        )
        logits = logit_of(given) if flag else given
        classes = logits.detach().argmax(dim=1)
        scores = pick(logits, classes)
        return Prediction(
            classes=classes,
            confidences=scores.detach().sigmoid(),
            scores=scores,
            num_classes=logits.shape[1],
            from_probabilities=flag,
        )

    def may_be_probabilities(self, output: Tensor) -> bool:
        """Return whether a batch's outputs can be read as probabilities."""
        return are_in_unit_interval(output)

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the logit of the explained label, `[B]` float32."""
        given = logits_of(output)
        return pick(logit_of(given) if prediction.from_probabilities else given, prediction.classes)

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the probability of the explained label, `[B]` float32."""
        return self.score(output, prediction).sigmoid()

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the first true label; -1 where there is none.

        Args:
            target: Zeros and ones, `[K]`, or else the numbers of the true labels, `[N]`.
            num_classes: K.

        Raises:
            ConfigurationError: If these are no labels of the model.

        Example:
            >>> import torch
            >>> task = MultiLabelClassification()
            >>> task.label_of(torch.tensor([0, 1, 1]), 3), task.label_of(torch.tensor([2]), 3)
            (1, 2)
        """
        return next(iter(_labels_in(target, num_classes)), -1)

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the explained label is among the true ones."""
        return int(prediction.classes[row]) in _labels_in(target, prediction.num_classes)

    def true_label(self, prediction: Prediction, row: int, target: Tensor) -> int:
        """Return the explained label if it is true, else the first true one, -1 without any."""
        if self.is_correct(prediction, row, target):
            return int(prediction.classes[row])
        return self.label_of(target, prediction.num_classes)


def _labels_in(target: Tensor, num_classes: int) -> list[int]:
    """Return the true labels, in order."""
    if target.ndim == 0:
        raise ConfigurationError(
            expected(
                "label",
                f"zeros and ones [{num_classes}], or a list of labels",
                target.item(),
                "Pass `task=Classification()` for one label a picture",
            )
        )
    if target.ndim == 1 and len(target) == num_classes and is_zeros_and_ones(target):
        return [int(label) for label in target.nonzero().flatten()]
    if target.numel() == 0:
        return []
    is_list = target.ndim == 1 and len(set(target.tolist())) == len(target)
    if not is_list or target.is_floating_point() or target.is_complex():
        raise ConfigurationError(
            expected(
                "label",
                f"zeros and ones [{num_classes}], or a list of labels",
                f"{target.dtype} {list(target.shape)}",
                "Return one such list a sample from the data set, or pass `unpack`",
            )
        )
    return sorted({checked_label(int(label), num_classes) for label in target})

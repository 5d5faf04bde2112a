"""Several labels a picture, from one logit a label."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigurationError, expected
from .base import Prediction, logits_of, refuse_shape
from .classification import checked_label, is_zeros_and_ones, pick
from .probabilities import are_in_unit_interval, logit_of, read_sigmoids


# No slots: a subclass may keep what it needs for `is_correct`.
@dataclass(frozen=True, kw_only=True)
class MultiLabelClassification:
    """Several labels a picture, from logits `[B, K]`, K >= 2: those whose logit is positive.

    Each predicted label is one explanation, by its logit, and correct if it is among the true ones;
    where none is predicted, the most confident one is explained. `predict` itself, and the proof,
    look at the most confident label alone.

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

    def first_label(self, target: Tensor) -> int:
        """Return `label_of` where the number of labels isn't known."""
        is_several = target.ndim == 1 and is_zeros_and_ones(target)
        labels = target.nonzero().flatten() if is_several else target.flatten()
        return int(labels.min()) if len(labels) else -1

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the explained label is among the true ones."""
        return int(prediction.classes[row]) in _labels_in(target, prediction.num_classes)

    def split(self, output: Any) -> Split:
        """Return what is explained of each sample: its predicted labels, the most confident first.

        Example:
            >>> import torch
            >>> split = MultiLabelClassification().split(torch.tensor([[2.0, 3.0, -1.0]]))
            >>> split.rows.tolist(), split.classes.tolist()
            ([0, 0], [1, 0])
        """
        best = self.predict(output)
        given = logits_of(output).detach()
        logits = logit_of(given) if best.from_probabilities else given
        rows: list[int] = []
        classes: list[int] = []
        for row, order in enumerate(logits.argsort(dim=1, descending=True, stable=True).tolist()):
            found = [label for label in order if logits[row, label] > 0] or order[:1]
            rows += [row] * len(found)
            classes += found
        return Split(
            rows=torch.tensor(rows, device=logits.device),
            classes=torch.tensor(classes, device=logits.device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What is explained of a batch whose samples have several explanations.

    Args:
        rows: Number of the sample of each, `[N]` int64.
        classes: The label of each, `[N]` int64.
    """

    rows: Tensor
    classes: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class OneLabelEach:
    """Several labels a picture, of which one is explained in each row.

    Args:
        task: Reads the output.
        classes: The labels, `[B]` int64.
    """

    task: MultiLabelClassification
    classes: Tensor

    def predict(self, output: Any) -> Prediction:
        """Return the given labels with their confidences and scores."""
        best = self.task.predict(output)
        ours = replace(best, classes=self.classes)
        scores = self.task.score(output, ours)
        return replace(ours, scores=scores, confidences=scores.detach().sigmoid())

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the logit of the explained label, `[B]` float32."""
        return self.task.score(output, prediction)

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the probability of the explained label, `[B]` float32."""
        return self.task.confidence(output, prediction)

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the first true label; -1 where there is none."""
        return self.task.label_of(target, num_classes)

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the explained label is among the true ones."""
        return self.task.is_correct(prediction, row, target)


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

"""One label a picture, from one logit a class or from a single logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import ConfigurationError, expected
from .base import Prediction, is_measure, logits_of, refuse_measure, refuse_shape
from .probabilities import are_distributions, are_in_unit_interval, log_of, logit_of, read_sigmoids


# No slots: a subclass may keep what it needs for `is_correct`.
@dataclass(frozen=True, kw_only=True)
class Classification:
    """Single-label classification from logits `[B, K]`, K >= 2; explains the predicted logit.

    Args:
        from_probabilities: Whether the output is a softmax's, of which the logarithm is explained;
            None finds out: rows in [0, 1] that sum to 1 are. Log-probabilities are logits.
    """

    from_probabilities: bool | None = None

    def predict(self, output: Any) -> Prediction:
        """Return the arg-max class of each row of logits.

        Raises:
            AttributionError: If the output is not `[B, K]` with K >= 2.

        Example:
            >>> import torch
            >>> Classification().predict(torch.tensor([[0.0, 1.0]])).classes
            tensor([1])
        """
        given = logits_of(output)
        if given.ndim != 2 or given.shape[1] < 2:
            raise refuse_shape("a function to logits [B, K] with K >= 2", given.shape)
        is_known = self.from_probabilities is not None
        flag = bool(self.from_probabilities) if is_known else are_distributions(given)
        logits = log_of(given) if flag else given
        classes = logits.detach().argmax(dim=1)
        return Prediction(
            classes=classes,
            confidences=logits.detach().float().softmax(dim=1).amax(dim=1),
            scores=pick(logits, classes),
            num_classes=logits.shape[1],
            from_probabilities=flag,
        )

    def may_be_probabilities(self, output: Tensor) -> bool:
        """Return whether a batch's outputs can be read as probabilities."""
        return are_distributions(output)

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the logit of the predicted class, `[B]` float32."""
        return pick(_read(output, prediction), prediction.classes)

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the softmax probability of the predicted class, `[B]` float32."""
        return pick(_read(output, prediction).float().softmax(dim=1), prediction.classes)

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the label as an int.

        Raises:
            ConfigurationError: If it is no class of the model.
        """
        if is_measure(target):
            raise refuse_measure(float(target))
        if target.numel() != 1 or target.is_floating_point() or target.is_complex():
            remedy = (
                "Return (image, label) or (image, label, reference_mask) from the data set, "
                "or pass `unpack`"
            )
            if target.shape == (num_classes,) and is_zeros_and_ones(target):
                remedy = "Pass `task=MultiLabelClassification()` for several labels a picture"
            raise ConfigurationError(
                expected(
                    "label", "one integer a sample", f"{target.dtype} {list(target.shape)}", remedy
                )
            )
        return checked_label(int(target), num_classes)

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the classes are the same."""
        return int(prediction.classes[row]) == int(target)


# No slots: a subclass may keep what it needs for `is_correct`.
@dataclass(frozen=True, kw_only=True)
class BinaryClassification:
    """Two classes from one logit, `[B]` or `[B, 1]`: class 1 where it is positive.

    Explained is the evidence for the predicted class: the logit for class 1, minus the logit for
    class 0.

    Args:
        from_probabilities: Whether the output is a sigmoid's, whose log-odds are explained; None
            finds out: by the operation that made it where gradients are recorded, else outputs
            that are all in [0, 1] are. The callback looks at all of a validation and tells.
    """

    from_probabilities: bool | None = None

    def predict(self, output: Any) -> Prediction:
        """Return class 1 where the logit is positive, else class 0.

        Raises:
            AttributionError: If the output is not `[B]` or `[B, 1]`.

        Example:
            >>> import torch
            >>> BinaryClassification().predict(torch.tensor([[2.0], [-2.0]])).classes
            tensor([1, 0])
        """
        given = logits_of(output)
        if given.ndim not in (1, 2) or (given.ndim == 2 and given.shape[1] != 1):
            raise refuse_shape("a function to one logit a sample, [B] or [B, 1]", given.shape)
        is_known = self.from_probabilities is not None
        flag = (
            bool(self.from_probabilities)
            if is_known
            else read_sigmoids(given, "BinaryClassification")
        )
        logits = logit_of(given) if flag else given
        classes = (logits.detach().flatten() > 0).long()
        scores = _signed(logits, classes)
        return Prediction(
            classes=classes,
            confidences=scores.detach().sigmoid(),
            scores=scores,
            num_classes=2,
            from_probabilities=flag,
        )

    def may_be_probabilities(self, output: Tensor) -> bool:
        """Return whether a batch's outputs can be read as probabilities."""
        return are_in_unit_interval(output)

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the logit with the sign of the predicted class, `[B]` float32."""
        return _signed(_read_odds(output, prediction), prediction.classes)

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the probability of the predicted class, `[B]` float32."""
        return _signed(_read_odds(output, prediction), prediction.classes).sigmoid()

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the label as an int; a float 0.0 or 1.0, as the loss wants it, will do.

        Raises:
            ConfigurationError: If it is neither 0 nor 1.
        """
        if is_measure(target):
            raise refuse_measure(float(target))
        if target.numel() != 1:
            raise ConfigurationError(
                expected(
                    "label",
                    "0 or 1, one a sample",
                    f"{target.dtype} {list(target.shape)}",
                    "Return one label a sample, as one logit a sample can tell no more",
                )
            )
        if target.is_complex() or float(target) not in (0.0, 1.0):
            raise ConfigurationError(
                expected(
                    "label",
                    "0 or 1",
                    target.item(),
                    "One logit tells two classes apart: renumber the labels, or give the model "
                    "one logit a class",
                )
            )
        return checked_label(int(target), num_classes)

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the classes are the same."""
        return int(prediction.classes[row]) == int(target)


def pick(values: Tensor, classes: Tensor) -> Tensor:
    """Return each row's value of its class, `[B]` float32."""
    return values.float().gather(1, classes[:, None]).squeeze(1)


def is_zeros_and_ones(target: Tensor) -> bool:
    """Return whether every value is 0 or 1."""
    return bool(((target == 0) | (target == 1)).all())


def checked_label(label: int, num_classes: int) -> int:
    """Return a label.

    Raises:
        ConfigurationError: If it is no class of the model.
    """
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


def _read(output: Any, prediction: Prediction) -> Tensor:
    given = logits_of(output)
    return log_of(given) if prediction.from_probabilities else given


def _read_odds(output: Any, prediction: Prediction) -> Tensor:
    given = logits_of(output)
    return logit_of(given) if prediction.from_probabilities else given


def _signed(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.float().flatten() * (2 * classes - 1)

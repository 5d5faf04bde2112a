"""One label a picture, from one logit a class or from a single logit."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import AttributionError, ConfigurationError, expected
from .base import Prediction, logits_of


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
        logits = logits_of(output)
        if logits.ndim != 2 or logits.shape[1] < 2:
            remedy = "Return the logits, not a loss"
            if logits.ndim == 4:
                remedy = "Pass `task=Segmentation()` for a dense output"
            elif logits.ndim == 1 or logits.shape[-1] == 1:
                remedy = "Pass `task=BinaryClassification()` for a single logit"
            raise AttributionError(
                expected(
                    "forward",
                    "a function to logits [B, K] with K >= 2",
                    list(logits.shape),
                    remedy,
                )
            )
        classes = logits.detach().argmax(dim=1)
        return Prediction(
            classes=classes,
            confidences=logits.detach().float().softmax(dim=1).amax(dim=1),
            scores=_pick(logits, classes),
            num_classes=logits.shape[1],
        )

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the logit of the predicted class, `[B]` float32."""
        return _pick(logits_of(output), prediction.classes)

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the softmax probability of the predicted class, `[B]` float32."""
        return _pick(logits_of(output).float().softmax(dim=1), prediction.classes)

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
        return _checked_label(int(target), num_classes)

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the classes are the same."""
        return int(prediction.classes[row]) == int(target)


class BinaryClassification:
    """Two classes from one logit, `[B]` or `[B, 1]`: class 1 where it is positive.

    Explained is the evidence for the predicted class: the logit for class 1, minus the logit for
    class 0.
    """

    def predict(self, output: Any) -> Prediction:
        """Return class 1 where the logit is positive, else class 0.

        Raises:
            AttributionError: If the output is not `[B]` or `[B, 1]`.

        Example:
            >>> import torch
            >>> BinaryClassification().predict(torch.tensor([[2.0], [-2.0]])).classes
            tensor([1, 0])
        """
        logits = logits_of(output)
        if logits.ndim not in (1, 2) or (logits.ndim == 2 and logits.shape[1] != 1):
            raise AttributionError(
                expected(
                    "forward",
                    "a function to one logit a sample, [B] or [B, 1]",
                    list(logits.shape),
                    "Pass `task=Classification()` for one logit a class",
                )
            )
        classes = (logits.detach().flatten() > 0).long()
        scores = _signed(logits, classes)
        return Prediction(
            classes=classes,
            confidences=scores.detach().sigmoid(),
            scores=scores,
            num_classes=2,
        )

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the logit with the sign of the predicted class, `[B]` float32."""
        return _signed(logits_of(output), prediction.classes)

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the probability of the predicted class, `[B]` float32."""
        return _signed(logits_of(output), prediction.classes).sigmoid()

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the label as an int; a float 0.0 or 1.0, as the loss wants it, will do.

        Raises:
            ConfigurationError: If it is neither 0 nor 1.
        """
        if target.numel() != 1 or target.is_complex() or float(target) not in (0.0, 1.0):
            raise ConfigurationError(
                expected(
                    "label",
                    "0 or 1",
                    target.tolist() if target.numel() == 1 else list(target.shape),
                    "Return one label a sample, or pass `task=Classification()`",
                )
            )
        return _checked_label(int(target), num_classes)

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the classes are the same."""
        return int(prediction.classes[row]) == int(target)


def _pick(values: Tensor, classes: Tensor) -> Tensor:
    return values.float().gather(1, classes[:, None]).squeeze(1)


def _signed(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.float().flatten() * (2 * classes - 1)


def _checked_label(label: int, num_classes: int) -> int:
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

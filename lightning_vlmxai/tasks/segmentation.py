"""One label a pixel: the largest foreground object, or the foreground, is what is explained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigurationError, expected
from .base import Prediction, logits_of, refuse_shape
from .probabilities import (
    are_distributions,
    are_in_unit_interval,
    log_of,
    logit_of,
    read_sigmoids,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation:
    """Semantic segmentation from logits `[B, K, h, w]`, in a dict or bare.

    Explained is the largest predicted foreground class, by the sum of its logits over the pixels
    predicted as that class; where only background is predicted, the background. The label is the
    largest true foreground class (background where there is none), and the prediction is correct
    if that class is met with an intersection over union of `min_iou`.

    Args:
        background: Number of the class that is no object; None if every class is one.
        void: Label of the pixels that don't count, neither as predicted nor as true.
        min_iou: From which intersection over union on a prediction is correct, in (0, 1].
        from_probabilities: Whether the output is a softmax's, of which the logarithm is explained;
            None finds out, as `Classification` does.

    Source: Vinogradova, Dibrov and Myers, 2020, arXiv 2002.11434, Eq. 2, for the score. The paper
    that this package follows doesn't define "correct" here.
    """

    background: int | None = 0
    void: int = 255
    min_iou: float = 0.5
    from_probabilities: bool | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.min_iou <= 1.0:
            raise ConfigurationError(
                expected("min_iou", "in (0, 1]", self.min_iou, "Pass min_iou=0.5")
            )

    def predict(self, output: Any) -> Prediction:
        """Return the largest foreground class of each sample's arg-max map.

        Raises:
            AttributionError: If the output has no logits `[B, K, h, w]` with K >= 2.

        Example:
            >>> logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
            >>> Segmentation().predict({"out": logits[None, :, None]}).class_maps
            tensor([[[0, 1, 2]]])
        """
        given = logits_of(output)
        if given.ndim != 4 or given.shape[1] < 2:
            raise refuse_shape("a function to logits [B, K, h, w] with K >= 2", given.shape)
        is_known = self.from_probabilities is not None
        flag = bool(self.from_probabilities) if is_known else are_distributions(given)
        logits = log_of(given) if flag else given
        class_maps = logits.detach().argmax(dim=1)
        areas = torch.stack(
            [(class_maps == k).sum(dim=(1, 2)) for k in range(logits.shape[1])], dim=1
        )
        classes = self._largest(areas)
        scores = _sum_over(logits, classes, class_maps)
        confidences = _mean_over(logits, classes, class_maps)
        return Prediction(
            classes=classes,
            confidences=confidences,
            scores=scores,
            num_classes=logits.shape[1],
            class_maps=class_maps,
            from_probabilities=flag,
        )

    def may_be_probabilities(self, output: Tensor) -> bool:
        """Return whether a batch's outputs can be read as probabilities."""
        return are_distributions(output)

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the sum of the class's logits where it was predicted, `[B]` float32."""
        return _sum_over(_read(output, prediction), prediction.classes, prediction.class_maps)

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the class's mean probability where it was predicted, `[B]` float32."""
        return _mean_over(_read(output, prediction), prediction.classes, prediction.class_maps)

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the largest true foreground class of one sample.

        Raises:
            ConfigurationError: If the target is no map of the model's classes.
        """
        labels = _squeezed(target)
        if labels.ndim != 2 or labels.is_floating_point():
            raise ConfigurationError(
                expected(
                    "target",
                    "an integer class a pixel, [H, W]",
                    f"{target.dtype} {list(target.shape)}",
                    "Return (image, mask) from the data set, or pass `unpack`",
                )
            )
        known = labels[labels != self.void].long()
        if known.numel() and not 0 <= int(known.min()) <= int(known.max()) < num_classes:
            raise ConfigurationError(
                expected(
                    "target",
                    f"of classes in [0, {num_classes - 1}], or void ({self.void})",
                    f"[{int(known.min())}, {int(known.max())}]",
                    "Renumber the classes, or pass `Segmentation(void=...)`",
                )
            )
        return int(self._largest(torch.bincount(known, minlength=num_classes)[None]))

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the label's intersection over union is at least `min_iou`.

        The predicted map is brought to the target's size by its nearest pixels.
        """
        if prediction.class_maps is None:
            raise TypeError("A prediction of Segmentation has class maps.")
        labels = _squeezed(target)
        predicted = F.interpolate(
            prediction.class_maps[row][None, None].float(), size=labels.shape, mode="nearest-exact"
        )[0, 0]
        label = self.label_of(target, prediction.num_classes)
        counts = labels != self.void
        found, true = (predicted == label) & counts, (labels == label) & counts
        union = int((found | true).sum())
        return union > 0 and int((found & true).sum()) >= self.min_iou * union

    def _largest(self, areas: Tensor) -> Tensor:
        """Return the class of the largest area, `[B]`, of `[B, K]`; background if it is alone."""
        if self.background is None:
            return areas.argmax(dim=1)
        foreground = areas.clone()
        foreground[:, self.background] = 0
        return torch.where(foreground.amax(dim=1) > 0, foreground.argmax(dim=1), self.background)


@dataclass(frozen=True, slots=True, kw_only=True)
class BinarySegmentation:
    """Foreground or background a pixel, from one logit: `[B, 1, h, w]` or `[B, h, w]`.

    Foreground is where the logit is positive. What `Segmentation` makes of the two classes is
    explained, told as label and counted: the foreground's logits summed over the pixels predicted
    as it, or minus those of the background where nothing else is predicted; half of each, for the
    two classes stand half a logit on either side.

    Args:
        void: Label of the pixels that don't count, if there are such, as 255.
        min_iou: From which intersection over union on a prediction is correct, in (0, 1].
        from_probabilities: Whether the output is a sigmoid's, whose log-odds are explained; None
            finds out, as `BinaryClassification` does.
    """

    void: int | None = None
    min_iou: float = 0.5
    from_probabilities: bool | None = None

    def __post_init__(self) -> None:
        Segmentation(min_iou=self.min_iou)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called where nothing else names them."""
        return ("background", "foreground")

    def predict(self, output: Any) -> Prediction:
        """Return class 1 where any foreground is predicted, else class 0, with the class maps.

        Raises:
            AttributionError: If the output is not `[B, 1, h, w]` or `[B, h, w]`.

        Example:
            >>> logits = torch.tensor([[[-1.0, 2.0]], [[-1.0, -2.0]]])
            >>> BinarySegmentation().predict(logits).classes
            tensor([1, 0])
        """
        given = logits_of(output)
        if given.ndim not in (3, 4) or (given.ndim == 4 and given.shape[1] != 1):
            rule = "a function to one logit a pixel, [B, 1, h, w] or [B, h, w]"
            raise refuse_shape(rule, given.shape)
        is_known = self.from_probabilities is not None
        flag = (
            bool(self.from_probabilities)
            if is_known
            else read_sigmoids(given, "BinarySegmentation")
        )
        prediction = self._dense.predict(_two_classes(given, is_probability=flag))
        return replace(prediction, from_probabilities=flag)

    def may_be_probabilities(self, output: Tensor) -> bool:
        """Return whether a batch's outputs can be read as probabilities."""
        return are_in_unit_interval(output)

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the sum of the class's logits where it was predicted, `[B]` float32."""
        two = _two_classes(logits_of(output), is_probability=prediction.from_probabilities)
        return _sum_over(two, prediction.classes, prediction.class_maps)

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the class's mean probability where it was predicted, `[B]` float32."""
        two = _two_classes(logits_of(output), is_probability=prediction.from_probabilities)
        return _mean_over(two, prediction.classes, prediction.class_maps)

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return 1 if a sample has any true foreground, else 0.

        Raises:
            ConfigurationError: If the target is no map of zeros and ones.
        """
        return self._dense.label_of(self._classes_in(target), num_classes)

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the label's intersection over union is at least `min_iou`."""
        return self._dense.is_correct(prediction, row, self._classes_in(target))

    @property
    def _dense(self) -> Segmentation:
        void = -1 if self.void is None else self.void
        return Segmentation(void=void, min_iou=self.min_iou, from_probabilities=False)

    def _classes_in(self, target: Tensor) -> Tensor:
        """Return a map of 0, 1 and void, int64; floats, as the loss wants them, will do."""
        labels = _squeezed(target)
        if labels.ndim != 2 or labels.is_complex():
            raise ConfigurationError(
                expected(
                    "target",
                    "0 or 1 a pixel, [H, W]",
                    f"{target.dtype} {list(target.shape)}",
                    "Return (image, mask) from the data set, or pass `unpack`",
                )
            )
        known = labels if self.void is None else labels[labels != self.void]
        if not ((known == 0) | (known == 1)).all():
            raise ConfigurationError(
                expected(
                    "target",
                    "0 or 1 a pixel" + ("" if self.void is None else f", or void ({self.void})"),
                    f"values in [{float(known.min()):g}, {float(known.max()):g}]",
                    "Make the foreground 1, as in "
                    "`unpack=lambda row: Item(image=row[0], target=row[1] > 0)`, or name the "
                    f"pixels that don't count: `BinarySegmentation(void={int(known.max())})`",
                )
            )
        return labels.long()


DENSE = (Segmentation, BinarySegmentation)
"""The tasks whose target is a map."""


def _two_classes(given: Tensor, *, is_probability: bool) -> Tensor:
    """Return logits `[B, 2, h, w]` whose softmax is the sigmoid of one logit a pixel."""
    logits = logit_of(given) if is_probability else given
    logits = logits.unsqueeze(1) if logits.ndim == 3 else logits
    return torch.cat([-logits, logits], dim=1) / 2


def _read(output: Any, prediction: Prediction) -> Tensor:
    given = logits_of(output)
    return log_of(given) if prediction.from_probabilities else given


def _sum_over(logits: Tensor, classes: Tensor, class_maps: Tensor | None) -> Tensor:
    """Return the sum of the class's logits in its region, `[B]` float32."""
    region = _maps_of(class_maps) == classes[:, None, None]
    of_class = classes[:, None, None, None].expand(-1, 1, *logits.shape[2:])
    return (logits.gather(1, of_class).squeeze(1).float() * region).sum(dim=(1, 2))


@torch.no_grad()
def _mean_over(logits: Tensor, classes: Tensor, class_maps: Tensor | None) -> Tensor:
    """Return the mean of the class's probabilities in its region, `[B]` float32; 0 of none.

    The softmax is taken in the region alone: over all maps it costs a small network's forward.
    """
    means = []
    for row, label, own in zip(
        logits.flatten(2), classes.tolist(), _maps_of(class_maps).flatten(1), strict=True
    ):
        region = row.index_select(1, (own == label).nonzero().squeeze(1)).float()
        probability = 1 / (region - region[label]).exp_().sum(dim=0)  # 1 / inf is 0, as it should
        means.append(probability.sum() / max(probability.numel(), 1))
    return torch.stack(means)


def _maps_of(class_maps: Tensor | None) -> Tensor:
    if class_maps is None:
        raise TypeError("A prediction of Segmentation has class maps.")
    return class_maps


def _squeezed(target: Tensor) -> Tensor:
    """Return a map of classes without a leading channel axis."""
    return target[0] if target.ndim == 3 and target.shape[0] == 1 else target

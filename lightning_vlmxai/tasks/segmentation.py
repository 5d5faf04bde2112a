"""One label a pixel: the largest foreground object is what is explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import AttributionError, ConfigurationError, expected
from .base import Prediction, logits_of


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

    Source: Vinogradova, Dibrov and Myers, 2020, arXiv 2002.11434, Eq. 2, for the score. The paper
    that this package follows doesn't define "correct" here.
    """

    background: int | None = 0
    void: int = 255
    min_iou: float = 0.5

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
        logits = logits_of(output)
        if logits.ndim != 4 or logits.shape[1] < 2:
            raise AttributionError(
                expected(
                    "forward",
                    "a function to logits [B, K, h, w] with K >= 2",
                    list(logits.shape),
                    "Pass `task=Classification()` for one label a picture",
                )
            )
        class_maps = logits.detach().argmax(dim=1)
        areas = torch.stack(
            [(class_maps == k).sum(dim=(1, 2)) for k in range(logits.shape[1])], dim=1
        )
        classes = self._largest(areas)
        scores, confidences = _sum_over(logits, classes, class_maps)
        return Prediction(
            classes=classes,
            confidences=confidences,
            scores=scores,
            num_classes=logits.shape[1],
            class_maps=class_maps,
        )

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the sum of the class's logits where it was predicted, `[B]` float32."""
        return _sum_over(logits_of(output), prediction.classes, prediction.class_maps)[0]

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the class's mean probability where it was predicted, `[B]` float32."""
        return _sum_over(logits_of(output), prediction.classes, prediction.class_maps)[1]

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


def _sum_over(logits: Tensor, classes: Tensor, class_maps: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the sum of the class's logits and the mean of its probabilities in its region."""
    if class_maps is None:
        raise TypeError("A prediction of Segmentation has class maps.")
    region = class_maps == classes[:, None, None]
    of_class = classes[:, None, None, None].expand(-1, 1, *logits.shape[2:])
    scores = (logits.gather(1, of_class).squeeze(1).float() * region).sum(dim=(1, 2))
    with torch.no_grad():
        log_sum = logits.float().logsumexp(dim=1)
        probability = (logits.float().gather(1, of_class).squeeze(1) - log_sum).exp()
        means = (probability * region).sum(dim=(1, 2)) / region.sum(dim=(1, 2)).clamp(min=1)
    return scores, means


def _squeezed(target: Tensor) -> Tensor:
    """Return a map of classes without a leading channel axis."""
    return target[0] if target.ndim == 3 and target.shape[0] == 1 else target

"""Tasks whose network answers with an embedding of the picture, held against those of texts.

What a picture is held against lies outside of any one answer: such a task is bound to texts'
embeddings, of the model as it is, before each round. Until then it tells embeddings alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import AttributionError, ConfigurationError, expected
from ..records import Seen
from .base import Prediction, logits_of
from .classification import Classification


# No slots: a subclass may keep what it needs.
@dataclass(frozen=True, kw_only=True)
class EmbeddingTask:
    """A task that is bound to texts before each round.

    Args:
        logit_scale: What cosines are multiplied with, above 0, for confidences; if None, the
            exponential of the model's parameter of that name.
    """

    logit_scale: float | None = None

    def __post_init__(self) -> None:
        """Check the scale.

        Raises:
            ConfigurationError: If it is not above 0.
        """
        if self.logit_scale is not None and not 0 < self.logit_scale < float("inf"):
            raise ConfigurationError(
                expected("logit_scale", "above 0", self.logit_scale, "Pass logit_scale=100.0")
            )

    @property
    def has_captions(self) -> bool:
        """Whether each probe brings a text of its own."""
        return False

    @property
    def num_classes(self) -> int:
        """How many texts, or groups of them, there are; 0 where the probes bring them."""
        return 0

    def predict(self, output: Any) -> Prediction:
        """Return a prediction of which nothing is known but the embeddings.

        Args:
            output: Embeddings `[B, D]`.

        Raises:
            AttributionError: If it is none.
        """
        features = logits_of(output)
        if features.ndim != 2 or features.shape[1] < 2:
            raise AttributionError(
                expected(
                    "forward",
                    "a function to embeddings of the pictures [B, D]",
                    list(features.shape),
                    'Name them, as in `output="image_features"`, or the network that answers '
                    'with them, as in `network="model"`',
                )
            )
        unknown = torch.full((len(features),), -1, device=features.device)
        return Prediction(
            classes=unknown,
            confidences=unknown.float() * float("nan"),
            scores=features.float().sum(dim=1) * 0,
            num_classes=self.num_classes,
            features=features,
        )

    def _refuse(self, *_args: Any, **_kwargs: Any) -> Any:
        """Raise: only what is bound to texts has scores, labels and right answers."""
        name = type(self).__name__
        raise AttributionError(
            expected(
                "task",
                "bound to texts' embeddings before it is asked",
                f"{name}, which is not",
                f"Explain by `VLMExplainCallback(task={name}(...))`, which binds it each round",
            )
        )

    score = confidence = label_of = is_correct = _refuse


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """A bound task: the text with the largest cosine is predicted, and its cosine explained.

    Args:
        texts: Embeddings, `[N, D]` float32, each of length 1.
        class_of_text: Class of each, `[N]` int64; a class has the largest cosine of its texts.
        num_classes: K.
        scale: What cosines are multiplied with for confidences, above 0.
        made_by: Name of the task that was bound.
        bias: What is added to that where pairs are told apart one by one (SigLIP); else None.
        ids: By class, the ids of the pictures that it is a caption of; None where labels are the
            data's own. A target is then the class of a probe's caption and perhaps an id, `[1]` or
            `[2]`.
    """

    texts: Tensor
    class_of_text: Tensor
    num_classes: int
    scale: float
    made_by: str
    bias: float | None = None
    ids: tuple[frozenset[int], ...] | None = None

    def predict(self, output: Any) -> Prediction:
        """Return the class whose text is nearest to each picture.

        Args:
            output: Embeddings of the pictures, `[B, D]`.

        Raises:
            AttributionError: If they don't have the texts' size.
        """
        cosines = self.cosines(output)
        classes = cosines.detach().argmax(dim=1)
        return Prediction(
            classes=classes,
            confidences=self._probabilities(cosines.detach()).gather(1, classes[:, None])[:, 0],
            scores=cosines.gather(1, classes[:, None]).squeeze(1),
            num_classes=self.num_classes,
        )

    def cosines(self, output: Any) -> Tensor:
        """Return the largest cosine of each class's texts to each picture, `[B, K]` float32."""
        features = logits_of(output)
        if features.ndim != 2 or features.shape[1] != self.texts.shape[1]:
            raise AttributionError(
                expected(
                    "forward",
                    f"a function to embeddings [B, {self.texts.shape[1]}], as long as the texts'",
                    list(features.shape),
                    'Name the part that is, as in `output="image_features"`',
                )
            )
        # Autocast would round cosines to half precision.
        with torch.autocast(features.device.type, enabled=False):
            found = F.normalize(features.float(), dim=1) @ self.texts.to(features.device).T
        if len(self.texts) == self.num_classes:
            return found  # the n-th text is the n-th class's only one
        lowest = found.new_full((len(found), self.num_classes), -2.0)
        index = self.class_of_text.to(found.device).expand(len(found), -1)
        return lowest.scatter_reduce(1, index, found, reduce="amax")

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the cosine to the predicted class's text, `[B]` float32."""
        return self.cosines(output).gather(1, prediction.classes[:, None]).squeeze(1)

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the predicted class's probability, `[B]` float32: softmax, or sigmoid by pair."""
        return self.probabilities(output).gather(1, prediction.classes[:, None]).squeeze(1)

    def probabilities(self, output: Any) -> Tensor:
        """Return each class's probability, `[B, K]` float32: a softmax, or sigmoids by pair."""
        return self._probabilities(self.cosines(output))

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the true class.

        Raises:
            ConfigurationError: If the data's label is no class.
        """
        if self.ids is None:
            return Classification().label_of(target, num_classes)
        return int(target[0])

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the class is the true one, or a caption of what shares the probe's id."""
        predicted = int(prediction.classes[row])
        if self.ids is None:
            return predicted == int(target)
        own, *ids = target.tolist()
        return predicted == own or any(one in self.ids[predicted] for one in ids)

    def see(self, seen: Seen) -> Seen:
        """Return what is predicted of an embedding that a validation saw."""
        if seen.features is None:
            return seen
        found = self.predict(seen.features[None].to(self.texts.device))
        return Seen(
            prediction=int(found.classes[0]),
            confidence=float(found.confidences[0]),
            features=seen.features,
        )

    def _probabilities(self, cosines: Tensor) -> Tensor:
        logits = self.scale * cosines
        return logits.softmax(dim=1) if self.bias is None else (logits + self.bias).sigmoid()


def join_texts(features: Tensor, keys: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """Return embeddings of length 1 and the class of each, in the order of the classes.

    Args:
        features: Of texts, `[N, D]`.
        keys: Class of each, in `[0, count)`.
        count: K.

    Raises:
        AttributionError: If one is not finite, or zero.
    """
    features = features.detach().float()
    lengths = features.norm(dim=1)
    if not bool((lengths.isfinite() & (lengths > 0)).all()):
        raise AttributionError(
            expected(
                "texts' embeddings",
                "numbers, of some length",
                f"{int((~(lengths.isfinite() & (lengths > 0))).sum())} of {len(features)} that "
                "are NaN, infinite or zero",
                "Look at the text tower: something overflows, or a text has no token",
            )
        )
    order = sorted(range(len(keys)), key=lambda place: keys[place])
    index = torch.tensor(order, device=features.device)
    classes = torch.tensor([keys[place] for place in order], device=features.device)
    if sorted(set(keys)) != list(range(count)):
        raise ValueError("Expected a text for each class.")
    return F.normalize(features[index], dim=1), classes


def mean_of_texts(features: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the mean direction of each class's texts, `[K, D]` float32, of length 1.

    Args:
        features: Of all texts, class after class, `[sum(counts), D]`.
        counts: How many each class has.

    Source: Radford et al., 2021, arXiv 2103.00020, section 3.1.4: embeddings of length 1 are
        averaged over the prompts of a class, and made of length 1 again.
    """
    each, _ = join_texts(features, list(range(len(features))), len(features))
    parts = torch.split(each, list(counts))
    means = torch.stack([part.mean(dim=0) for part in parts])
    return F.normalize(means, dim=1)


def find_scale(parameter: float | None, task: EmbeddingTask) -> float | None:
    """Return what cosines are multiplied with; None where nothing tells.

    Args:
        parameter: The model's `logit_scale`, its logarithm; None where it has none.
        task: May name it.

    Raises:
        AttributionError: If it can't be one.
    """
    if task.logit_scale is not None or parameter is None:
        return task.logit_scale
    if not parameter < 14:  # NaN as well; CLIP's is 4.6 at most
        raise AttributionError(
            expected(
                "logit_scale",
                "the logarithm of what cosines are multiplied with",
                parameter,
                f"Pass it: `task={type(task).__name__}(logit_scale=100.0)`",
            )
        )
    return math.exp(parameter)

"""Classifiers that are made of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigurationError, expected
from .embeddings import EmbeddingTask


@dataclass(frozen=True, kw_only=True)
class ZeroShot(EmbeddingTask):
    """One label a picture, of classes that are described in words, as CLIP classifies.

    The texts are embedded by the model as it is at each round; of several a class has, the mean
    direction counts. Predicted is the class whose text is nearest by cosine, which is explained.

    Args:
        texts: Of each class a text, or several. If None, `templates` filled with class names.
        templates: Texts with `{}` where the name of a class belongs.
        class_names: In the order of the labels; if None, those that the callback is given or finds
            in the data, or, where there are none, the classes' first texts.
        tokenize: From a list of texts to what the model's `encode_text` or `get_text_features`
            takes: a tensor, or a mapping of keyword arguments. None where it takes the texts.
        encode_texts: From the module and a list of texts to their embeddings, `[N, D]`, where the
            model has no such method.
        logit_scale: What cosines are multiplied with, above 0, for confidences; if None, the
            exponential of the model's parameter of that name.

    Raises:
        ConfigurationError: If there are fewer than two classes, a class without a text, or a
            template without `{}`.

    Example:
        >>> ZeroShot(templates=["a photo of a {}."]).texts_of(["cat", "dog"])
        [['a photo of a cat.'], ['a photo of a dog.']]
    """

    texts: Sequence[str | Sequence[str]] | None = None
    templates: Sequence[str] = ("a photo of a {}.",)
    class_names: Sequence[str] | None = None
    tokenize: Callable[[list[str]], Any] | None = None
    encode_texts: Callable[[nn.Module, list[str]], Tensor] | None = None

    def __post_init__(self) -> None:
        """Check the texts."""
        super().__post_init__()
        if isinstance(self.texts, str) or isinstance(self.templates, str):
            raise ConfigurationError(
                expected("texts", "a list", "one text", 'Pass `texts=["a cat", "a dog"]`')
            )
        broken = [one for one in self.templates if "{}" not in one]
        if self.texts is None and (broken or not self.templates):
            raise ConfigurationError(
                expected(
                    "templates",
                    "texts with {} where the name of a class belongs",
                    broken,
                    'Pass `templates=["a photo of a {}."]`',
                )
            )
        if self.texts is not None:
            self._check(self.texts)
        elif self.class_names is not None:
            self._check(self.class_names)

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 where the data name them."""
        return len(self.texts or self.class_names or ())

    def texts_of(self, names: Sequence[str] | None) -> list[list[str]]:
        """Return the texts of each class.

        Args:
            names: Of the classes, where they are known.

        Raises:
            ConfigurationError: If names are needed, or are not as many as there are texts.
        """
        names = self.class_names if names is None else names
        if self.texts is not None:
            found = [[one] if isinstance(one, str) else list(one) for one in self.texts]
            if names is not None and len(names) != len(found):
                raise ConfigurationError(
                    expected(
                        "class_names",
                        f"{len(found)} names, one for each of `texts`",
                        f"{len(names)} names",
                        "Pass `class_names=[...]` in the order of `texts`, which is that of the "
                        "labels",
                    )
                )
            return found
        if names is None:
            raise ConfigurationError(
                expected(
                    "class_names",
                    "known, for `templates` are filled with them",
                    "none",
                    'Pass `task=ZeroShot(class_names=["cat", "dog"])`, in the order of the labels',
                )
            )
        self._check(names)
        return [[template.replace("{}", name) for template in self.templates] for name in names]

    def _check(self, texts: Sequence[str | Sequence[str]]) -> None:
        if len(texts) < 2 or not all(texts):
            raise ConfigurationError(
                expected(
                    "texts",
                    "of two classes or more, each with a text",
                    [*texts][:20],
                    'Pass `texts=["a cat", "a dog"]`',
                )
            )

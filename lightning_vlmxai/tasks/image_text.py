"""Contrastive training and retrieval: pictures with captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ConfigurationError, expected
from .embeddings import EmbeddingTask


@dataclass(frozen=True, kw_only=True)
class ImageText(EmbeddingTask):
    """Pictures and captions in one space, as CLIP and SigLIP have them.

    A probe is a picture with its caption. Predicted is the caption that is nearest by cosine among
    those of all probes; it is right if it is the probe's own, in the same words or tokens, or one
    of a probe with the same id. Explained is the cosine to the predicted caption, which is what a
    judge is told. Class names are the captions.

    Captions are embedded by the model as it is at each round, from what the validation called it
    with. Their words are a row's `caption` or `text`, or whatever a function from a row gives:
    `unpack=lambda row: Item(image=row[0], target=None, caption=row[2])`, where `target` may be an
    id, a whole number that several captions of one picture have in common.

    Args:
        logit_scale: What cosines are multiplied with, above 0, for confidences; if None, the
            exponential of the model's parameter of that name.
        decode: From numbers of tokens to text, such as `tokenizer.decode` of open_clip or
            transformers: tells which tokens make up which word of a caption. Without it words are
            shown where each is certainly one token.

    Raises:
        ConfigurationError: If `decode` is no function, or as of `EmbeddingTask`.

    Example:
        >>> ImageText().has_captions
        True
    """

    decode: Callable[[list[int]], str] | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        if self.decode is not None and not callable(self.decode):
            raise ConfigurationError(
                expected(
                    "decode",
                    "a function from a list of token numbers to text",
                    repr(self.decode),
                    "Pass `decode=tokenizer.decode`",
                )
            )

    @property
    def has_captions(self) -> bool:
        """True: each probe brings its caption."""
        return True

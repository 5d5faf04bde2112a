"""What a network is asked once, so that its answers are read as what they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from ..calls import Call, StepCall
from ..errors import AttributionError, expected
from ..explain import LiveModel, ask_with_another_picture, ask_with_gradients
from ..tasks import EmbeddingReader, OutputReader


class Questions:
    """Sees answers go by, and asks again where they leave something open.

    Args:
        reader: Reads the answers.

    Attributes:
        changes: What stands between a batch's pictures and the network; empty if nothing does.
    """

    def __init__(self, reader: OutputReader | EmbeddingReader) -> None:
        self._reader = reader
        self.start()

    def start(self) -> None:
        """Forget what was seen."""
        self._sizes: set[int] = set()
        self._ends: Tensor | None = None
        self.changes = ""
        self._are_pairs = True

    def begin(self, pictures: Tensor | None) -> None:
        """Note what a batch has as pictures, before its step may change them in place."""
        self._ends = None if pictures is None else pictures[[0, -1]].clone()

    def see(self, call: Call, answer: Any, size: int) -> None:
        """Look at the answer to a batch: whether it may be a number for each of its pairs."""
        if size > 1 and self._are_pairs:
            self._are_pairs = len(call.rows) > 1 and self._widths(answer, size) == {size}
            self._sizes.add(size)
        if self.changes:
            return
        ends, images = self._ends, call.images
        is_alone = call.rows == {call.picture} and not isinstance(call, StepCall)
        if not is_alone:
            self.changes = "a step gives the network more than the batch's pictures"
        elif len(images) != size or ends is None or not _is_equal(images[[0, -1]], ends):
            self.changes = "a step changes the batch's pictures before the network is given them"

    def make(self, live: LiveModel, first: Call | None) -> Callable[[], Any] | None:
        """Return what asks as the reader wants it; None where nothing was seen.

        Args:
            live: The model, which may be asked at once.
            first: A call of one row.

        Raises:
            AttributionError: If answers for classes are numbers for pairs of a batch.
        """
        if first is None:
            return None
        ask = partial(ask_with_gradients, live, first)
        if isinstance(self._reader, EmbeddingReader):
            return partial(ask_with_another_picture, live, first)
        is_open = self._are_pairs and bool(self._sizes)
        if is_open and (len(self._sizes) > 1 or not self._widths(ask(), 1)):
            raise AttributionError(
                expected(
                    "forward",
                    "a function to a number a class, [B, K]",
                    "[B, B], a number for each pair of a picture and a text of the batch",
                    "Pass `task=ImageText()`, or `network=` and `output=` for logits of classes",
                )
            )
        return ask

    def _widths(self, answer: Any, size: int) -> set[int]:
        """Return how many classes an answer may tell apart, by each way to read it."""
        try:
            return {made.num_classes for made in self._reader.read(answer, size).values()}
        except AttributionError:
            return set()


def _is_equal(given: Tensor, own: Tensor) -> bool:
    return given.shape == own.shape and bool((given == own.to(given)).all())

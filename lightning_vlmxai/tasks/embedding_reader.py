"""Which tensor of a network's answer is the picture's embedding, and which, if any, its text's.

1. Of what `output=` names, else of the whole answer, each floating tensor `[B, D]` may be one.
2. The picture's changes with the picture and has the same width for any number of rows; the text's
   stays as it is when the picture changes. Both are as wide.
3. Of several pairs the least nested is taken; of several of these none: that is a question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import AttributionError, expected
from ..records import Seen
from .base import Prediction, Task, as_code, describe_tensors, refuse_detection, tensors_in
from .embeddings import EmbeddingTask
from .outputs import OutputReader
from .readings import Facts, Output, Reading, Shown

Part = str | int | None


class EmbeddingReader:
    """Looks at a validation's answers as `OutputReader` does, for a task that reads embeddings.

    Args:
        task: Reads them.
        output: What of an answer is read, where that is the user's choice.
    """

    def __init__(self, task: EmbeddingTask, output: Output | None = None) -> None:
        self._task = task
        self._asked = output
        self.start()

    def start(self) -> None:
        """Forget what was seen."""
        self._facts: dict[Reading, Facts] | None = None
        self.choice = self.doubt = ""

    def read(self, answer: Any, size: int, *, has_texts: bool = False) -> dict[Reading, Prediction]:
        """Return what each tensor of an answer that may be an embedding would be read as.

        Args:
            answer: Of the network, to a batch.
            size: Of the batch.
            has_texts: Whether the network was given more than pictures.

        Raises:
            AttributionError: If there is none; the message says what would help.
        """
        given = self._given(answer)
        if not isinstance(given, Tensor):
            refuse_detection(given)
        tensors: Mapping[Any, Tensor]
        tensors = {None: given} if isinstance(given, Tensor) else tensors_in(given)
        found = {
            part: tensor
            for part, tensor in tensors.items()
            if tensor.ndim == 2 and len(tensor) == size and tensor.shape[1] > 1
        }
        if has_texts and _are_pairwise(list(found.values())):
            found = {}
            got = f"{describe_tensors(tensors_in([given]))}, a number for each pair of the batch"
        else:
            got = describe_tensors(tensors_in(given if not isinstance(given, Tensor) else [given]))
        if not found:
            raise AttributionError(
                expected(
                    "forward",
                    "a function to embeddings of the pictures [B, D]",
                    got,
                    'Name the network that answers with embeddings, as in `network="model"`, or '
                    "return them from `forward`",
                )
            )
        return {Reading(part=part): self._task.predict(one) for part, one in found.items()}

    def see(
        self,
        answer: Any,
        size: int,
        targets: Callable[[], Sequence[Any]],  # noqa: ARG002 - what other readers look at
    ) -> Callable[[int], dict[Reading, Seen]]:
        """Remember which tensors may be embeddings; return what tells those of a row.

        Args:
            answer: Of the network, to a batch.
            size: Of the batch.
            targets: Not asked.
        """
        with torch.inference_mode(False), torch.no_grad():
            found = {
                reading: made.features.detach().float().cpu()
                for reading, made in self.read(answer, size).items()
                if made.features is not None
            }
        facts: dict[Reading, Facts] = {}
        for reading, features in found.items():
            before = None if self._facts is None else self._facts.get(reading)
            is_new = self._facts is None
            # What is as wide as the batch is long isn't so in the last batch.
            if is_new or (before is not None and before.shape[1] == features.shape[1]):
                shape = tuple(features.shape)
                facts[reading] = Facts(shape=shape, num_classes=self._task.num_classes)
        self._facts = facts

        def tell(row: int) -> dict[Reading, Seen]:
            with torch.inference_mode(False), torch.no_grad():
                return {
                    reading: Seen(
                        prediction=-1, confidence=float("nan"), features=features[row].clone()
                    )
                    for reading, features in found.items()
                }

        return tell

    def miss(self, targets: Sequence[Any]) -> None:
        """Pass over a batch of which nothing could be read."""

    def check_labels(self) -> None:
        """Return nothing: no label is refused."""

    def tell(self, ask: Callable[[], tuple[Any, Any]] | None = None) -> Shown:
        """Return what the other ranks need to know to choose alike.

        Args:
            ask: Returns what the network answers to one row, and to it with another picture.
        """
        sees: dict[Part, tuple[int, bool]] = {}
        if ask is not None and self._facts:
            first, other = (self._tensors(answer) for answer in ask())
            for reading in self._facts:
                part = reading.part
                if part in first and part in other:
                    is_moved = not torch.equal(first[part], other[part])
                    sees[part] = first[part].shape[-1], is_moved
        return Shown(facts=self._facts, sees_picture=sees)

    def choose(
        self,
        told: Sequence[Shown],
        names: Sequence[str] | None,  # noqa: ARG002 - what other readers look at, as the next
        largest: int | None = None,  # noqa: ARG002
    ) -> Reading:
        """Return how answers are read; `choice` says so in words.

        Args:
            told: By all ranks.
            names: Not looked at.
            largest: Not looked at.

        Raises:
            AttributionError: If no tensor, or several, could be meant; the message lists them.
        """
        seen = [one.facts for one in told if one.facts is not None]
        left = [r.part for r in seen[0] if all(r in facts for facts in seen)]
        widths: dict[Part, int] = {r.part: f.shape[1] for r, f in seen[0].items()}
        looks = [one.sees_picture for one in told if one.sees_picture]
        steady = [p for p in left if all(p in s and s[p][0] == widths[p] for s in looks)]
        pictures = [p for p in steady if all(s[p][1] for s in looks)]
        texts = [p for p in steady if not any(s[p][1] for s in looks)]
        if not pictures:
            raise AttributionError(
                expected(
                    "forward",
                    "a function to embeddings of the pictures [B, D], of one width for any batch",
                    "a number for each pair of the batch, or nothing that changes with the "
                    f"picture, in {self._describe(left or list(widths), widths)}",
                    'Name the network that answers with embeddings, as in `network="model"`, or '
                    "return them from `forward`",
                )
            )
        pairs: list[tuple[Part, Part]] = []
        if self._task.has_captions:
            pairs = [(p, t) for p in pictures for t in texts if widths[p] == widths[t]]
        if pairs:
            best = min(_depth(p) + _depth(t) for p, t in pairs)
            pairs = [(p, t) for p, t in pairs if _depth(p) + _depth(t) == best]
        else:
            best = min(map(_depth, pictures))
            pairs = [(p, None) for p in pictures if _depth(p) == best]
        if len(pairs) > 1:
            raise AttributionError(
                expected(
                    "output",
                    "a function to the embeddings, where several tensors may be",
                    self._describe([*pictures, *texts], widths),
                    "Pass it, such as `output=lambda answer: (answer[0], answer[1])`, the "
                    "picture's and the text's"
                    if self._task.has_captions
                    else f"Pass `output={as_code(pairs[0][0] or 0)}` or another",
                )
            )
        ((picture, text),) = pairs
        if picture is not None:
            also = "" if text is None else f", {as_code(text)} as its text's"
            self.choice = (
                f"vlmxai: of the network's answer {self._describe([picture], widths)} is read as "
                f"the picture's embedding{also}. Pass `output=` for another."
            )
        return Reading(given=self._asked, part=picture, texts=text)

    def _given(self, answer: Any) -> Any:
        return Reading(given=self._asked).take(answer)

    def _tensors(self, answer: Any) -> dict[Part, Tensor]:
        given = self._given(answer)
        return {None: given} if isinstance(given, Tensor) else dict(tensors_in(given).items())

    def _describe(self, parts: Sequence[Part], widths: Mapping[Part, int]) -> str:
        named = ((f"{as_code(p)} " if p is not None else "", widths[p]) for p in parts)
        return ", ".join(f"{name}[B, {width}]" for name, width in named) or "no tensor"


def make_reader(task: Task, output: Output | None) -> OutputReader | EmbeddingReader:
    """Return what reads a network's answers for a task.

    Args:
        task: Reads them.
        output: What of an answer is read, where that is the user's choice.
    """
    if isinstance(task, EmbeddingTask):
        return EmbeddingReader(task, output)
    return OutputReader(task, output)


def _are_pairwise(found: Sequence[Tensor]) -> bool:
    """Return whether all that was found is a number for each pair of the batch, and its transpose.

    An embedding as wide as the batch is long may look like one, alone: so does no pair of them.
    """
    if not found or any(one.shape[0] != one.shape[1] for one in found):
        return False
    return len(found) == 1 or all(torch.equal(one, found[0].T) for one in found[1:])


def _depth(part: Part) -> int:
    """Return how deep in an answer a part is nested."""
    return str(part).count(".")


def with_texts(reading: Reading) -> Reading:
    """Return the reading of the texts' embeddings in the same answer."""
    return replace(reading, part=reading.texts, texts=None)

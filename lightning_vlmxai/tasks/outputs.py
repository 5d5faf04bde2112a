"""Which tensor of a network's answer is read, and as what: chosen once, by what a validation shows.

1. What `output=` names; else the answer as it is, if the task can read that; else every floating
   tensor in it that the task reads as one prediction a row, in every batch.
2. Of several, those with as many classes as there are names, if any; of these, those whose classes
   every label fits, if any. More than one left is a question, never a guess; so is one that is
   many times wider than the labels, where no names are known: it may be features.
3. Probabilities: rows in [0, 1] that sum to 1 are a softmax's. Values that are all in [0, 1] are a
   sigmoid's unless the operations that made them say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from ..errors import AttributionError, ModelChangedError, VLMExplainError, expected
from ..records import Seen
from .base import (
    Prediction,
    Task,
    as_code,
    describe_tensors,
    is_measure,
    logits_of,
    refuse_detection,
    refuse_measure,
    remedy_for,
    tensors_in,
)
from .classification import Classification
from .multi_label import MultiLabelClassification
from .probabilities import made_by_sigmoid
from .readings import Facts, Output, Reading, Shown
from .segmentation import Segmentation
from .targets import WithTarget


class OutputReader:
    """Looks at a validation's answers, and chooses how they are read.

    Args:
        task: Reads them.
        output: What of an answer is read, where that is the user's choice.
    """

    def __init__(self, task: Task, output: Output | None = None) -> None:
        self._task = task
        self._asked = output
        self.start()

    def start(self) -> None:
        """Forget what was seen."""
        self._facts: dict[Reading, Facts] | None = None
        self._measure: float | None = None
        self.choice = self.doubt = ""

    def read(self, answer: Any, size: int) -> dict[Reading, Prediction]:
        """Return what each possible reading of an answer predicts.

        Args:
            answer: Of the network, to a batch.
            size: Of the batch.

        Raises:
            AttributionError: If the task can read nothing in it; the message says what would help.
        """
        answer = self._given(answer)
        if not isinstance(answer, Tensor):
            refuse_detection(answer)
        refusal = ""
        try:
            whole = self._read_part(answer, None, size)
        except Exception as error:  # whatever a user's output is, it is not a prediction
            whole, refusal = {}, str(error)
        if whole:
            return whole
        tensors = {} if isinstance(answer, Tensor) else tensors_in(answer)
        found: dict[Reading, Prediction] = {}
        for part in tensors:
            with suppress(Exception):  # not a tensor of this task's, which may be a user's own
                found |= self._read_part(answer, part, size)
        if found:
            return found
        if tensors:
            of_remedy: dict[str, list[str]] = {}
            for part, tensor in tensors.items():
                of_remedy.setdefault(remedy_for(tensor.shape), []).append(as_code(part))
            remedies = [f"{remedy} ({', '.join(p)})" for remedy, p in of_remedy.items()]
            refusal = expected(
                "forward",
                f"one whose answer {type(self._task).__name__} can read",
                describe_tensors(tensors),
                " or ".join(remedies).replace(" or Pass", " or pass"),
            )
        raise AttributionError(refusal)

    def see(
        self, answer: Any, size: int, targets: Callable[[], Sequence[Any]]
    ) -> Callable[[int], dict[Reading, Seen]]:
        """Remember which readings are left; return what tells what each predicts for a row.

        Args:
            answer: Of the network, to a batch.
            size: Of the batch.
            targets: Gives the rows' labels; asked only where they are needed.
        """
        found = {reading: made.detach() for reading, made in self.read(answer, size).items()}
        given = self._given(answer)
        facts: dict[Reading, Facts] = {}
        for reading, made in found.items():
            before = None if self._facts is None else self._facts.get(reading)
            if self._facts is not None and before is None:
                continue
            known = before or Facts(shape=(), num_classes=made.num_classes)
            if reading.part is not None:
                labels = map(torch.as_tensor, _distinct([t for t in targets() if t is not None]))
                classes = [self._class_of(label, made.num_classes) for label in labels]
                fitting = [k for k in (known.largest, *classes) if k is not None]
                known = Facts(
                    shape=tuple(reading.take(given).shape),
                    num_classes=made.num_classes,
                    fits=known.fits and None not in classes,
                    largest=max(fitting, default=None),
                )
            facts[reading] = known
        self._facts = facts
        return lambda row: {reading: _seen(made, row) for reading, made in found.items()}

    def miss(self, targets: Sequence[Any]) -> None:
        """Remember a batch of which nothing could be read, for what its labels tell."""
        self._measure = next((float(t) for t in targets if is_measure(t)), self._measure)

    def check_labels(self) -> None:
        """Refuse what no task can read.

        Raises:
            ConfigurationError: If the labels were measures.
        """
        if self._measure is not None:
            raise refuse_measure(self._measure)

    def tell(self, ask: Callable[[], Any] | None = None) -> Shown:
        """Return what the other ranks need to know to choose alike.

        Args:
            ask: Returns what the network answers to one row, with gradients recorded.
        """
        flags = {reading.is_probability for reading in self._facts or {}}
        made: dict[Any, bool] = {}
        if ask is not None and flags == {True, False} and not self._is_softmax:
            try:
                answer = self._given(ask())
                for part in {reading.part for reading in self._facts or {}}:
                    known = made_by_sigmoid(logits_of(Reading(part=part).take(answer)))
                    made |= {} if known is None else {part: known}
            except ModelChangedError:
                raise
            except Exception:  # explaining asks again, and tells what is wrong
                made = {}
        return Shown(facts=self._facts, made_by_sigmoid=made)

    def choose(
        self, told: Sequence[Shown], names: Sequence[str] | None, largest: int | None = None
    ) -> Reading:
        """Return how answers are read; `choice` and `doubt` say so in words, where need be.

        Args:
            told: By all ranks.
            names: Of the classes, if they are known.
            largest: The largest label that was seen, if it is a class.

        Raises:
            AttributionError: If several tensors could be meant; the message lists them.
        """
        seen = [one.facts for one in told if one.facts is not None]
        left = {r: f for r, f in seen[0].items() if all(r in facts for facts in seen)}
        if not left:
            raise AttributionError(
                expected(
                    "output",
                    "one that every batch has",
                    "batches with nothing in common that the task can read",
                    "Return the same from `forward` for every batch, or pass a function: "
                    "`output=lambda answer: answer[0]`",
                )
            )
        parts = {reading.part: facts for reading, facts in left.items()}
        named = {p: f for p, f in parts.items() if names and f.num_classes == len(names)}
        chosen = named if named and len(parts) > 1 else parts
        fitting = {r.part for r in left if all(facts[r].fits for facts in seen)}
        if len(chosen) > 1:
            chosen = {p: f for p, f in chosen.items() if p in fitting} or chosen
        (part, facts), *others = chosen.items()
        if part is not None:
            every = [f.largest for s in seen for r, f in s.items() if r.part == part]
            largest = max((k for k in every if k is not None), default=None)
        if isinstance(self._inner, MultiLabelClassification) or (
            part is None and not isinstance(self._inner, Classification)
        ):
            largest = None  # the first of several labels, a map's most frequent one
        is_wide = not names and self._is_wide(facts.num_classes, largest)
        if others or (part is not None and is_wide):
            offers = " or ".join(f"`output={self._code(p)}`" for p in chosen)
            raise AttributionError(
                expected(
                    "output",
                    "named where the labels don't tell which part of the network's answer are "
                    "the logits",
                    self._describe(chosen),
                    f"Pass {offers}, or a function to the logits",
                )
            )
        flags = {reading.is_probability for reading in left if reading.part == part}
        made = next((m.made_by_sigmoid[part] for m in told if part in m.made_by_sigmoid), None)
        is_probability = None if flags == {None} else True in flags and made is not False
        reading = Reading(given=self._asked, part=part, is_probability=is_probability)
        how = self._words_on_numbers(reading) if flags == {True, False} else ""
        is_sure = self._is_softmax or made is not None
        self.choice = f"{self._words_on_part(reading, parts)} {how if is_sure else ''}".strip()
        self.doubt = "" if is_sure else how
        if is_wide:
            self.doubt = (
                f"no label is above {largest}, but the network tells {facts.num_classes} "
                "classes apart. If these are features (metric learning), explain the network that "
                "makes classes of them, or pass a function from answer to logits as `output=`."
            )
        return reading

    def _given(self, answer: Any) -> Any:
        return Reading(given=self._asked).take(answer)

    def _read_part(
        self, answer: Any, part: str | int | None, size: int
    ) -> dict[Reading, Prediction]:
        taken = Reading(part=part).take(answer)
        found = {}
        for reading in self._variants(taken, part):
            prediction = reading.task(self._task).predict(taken)
            if len(prediction.classes) != size:
                text = f"{len(prediction.classes)} predictions for {size} samples"
                raise AttributionError(text)
            found[reading] = prediction
        return found

    def _variants(self, taken: Any, part: str | int | None) -> list[Reading]:
        task = self._inner
        may_be = getattr(task, "may_be_probabilities", None)
        if may_be is None or getattr(task, "from_probabilities", None) is not None:
            return [Reading(part=part)]
        try:
            flags = [False, True] if may_be(logits_of(taken)) else [False]
        except VLMExplainError:  # several tensors, of which a user's own task may make one
            return [Reading(part=part)]
        return [Reading(part=part, is_probability=flag) for flag in flags]

    @property
    def _is_softmax(self) -> bool:
        return isinstance(self._inner, (Classification, Segmentation))

    @property
    def _inner(self) -> Task:
        return self._task.task if isinstance(self._task, WithTarget) else self._task

    @staticmethod
    def _is_wide(num_classes: int, largest: int | None) -> bool:
        """Return whether there are four times as many classes as labels, and 16 or more."""
        return largest is not None and num_classes >= max(16, 4 * (largest + 1))

    def _class_of(self, target: Tensor, num_classes: int) -> int | None:
        """Return a label's class; None if it is none of so many."""
        try:
            return self._task.label_of(target, num_classes)
        except VLMExplainError:
            return None

    def _words_on_part(self, reading: Reading, parts: Mapping[Any, Facts]) -> str:
        if reading.part is None:
            return ""
        mine = {part: facts for part, facts in parts.items() if part == reading.part}
        others = {part: facts for part, facts in parts.items() if part != reading.part}
        rest = f", not {self._describe(others)}, by names and labels" if others else ""
        return (
            f"vlmxai: of the network's answer {self._describe(mine)} is read{rest}. Pass `output=` "
            "for another."
        )

    def _words_on_numbers(self, reading: Reading) -> str:
        kind = "probabilities" if reading.is_probability else "logits"
        return (
            f"vlmxai: the network's answers, all in [0, 1], are read as {kind}. Pass "
            f"`task={type(self._inner).__name__}(from_probabilities={not reading.is_probability})` "
            "for the contrary."
        )

    def _code(self, part: str | int | None) -> str:
        """Return a part as it is written after `output=`."""
        asked = None if callable(self._asked) else self._asked
        name = Reading(given=asked, part=part).describe()
        return as_code(int(name) if name.isdigit() else name)

    def _describe(self, parts: Mapping[Any, Facts]) -> str:
        return ", ".join(
            f"{self._code(p)} [{', '.join(map(str, ['B', *f.shape[1:]]))}]"
            for p, f in parts.items()
        )


def _distinct(targets: Sequence[Any]) -> Sequence[Any]:
    """Return labels, each number once."""
    return [*set(targets)] if all(isinstance(t, (int, float)) for t in targets) else targets


def _seen(prediction: Prediction, row: int) -> Seen:
    label, confidence = prediction.classes[row], prediction.confidences[row]
    return Seen(prediction=int(label), confidence=float(confidence))

"""How a network's answer is read, and what ranks tell each other of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .base import Task, take_part
from .targets import WithTarget

Output = str | int | Callable[[Any], Any]
"""What of a network's answer is read: a key, an attribute, a place, or a function of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One way to read what a network answers.

    Args:
        given: What the user named; None if nothing.
        part: Name of the tensor in that, or in the answer; None reads it as it is.
        is_probability: Whether it holds probabilities; None where the task doesn't ask.
        texts: Name of the tensor that holds the texts' embeddings; None where none does.
    """

    given: Output | None = None
    part: str | int | None = None
    is_probability: bool | None = None
    texts: str | int | None = None

    def take(self, answer: Any) -> Any:
        """Return what the task is given."""
        if self.given is not None:
            given = self.given
            answer = given(answer) if callable(given) else take_part(answer, given)
        return answer if self.part is None else take_part(answer, self.part)

    def describe(self) -> str:
        """Return what is read of an answer, in plain words; empty if that is all of it.

        Example:
            >>> Reading(given="head", part=1).describe()
            'head.1'
        """
        given = self.given
        if callable(given):
            given = getattr(given, "__name__", type(given).__name__)
        return ".".join(str(part) for part in (given, self.part) if part is not None)

    def task(self, task: Task) -> Task:
        """Return the task that reads it so."""
        if self.is_probability is None:
            return task
        if isinstance(task, WithTarget):
            return replace(task, task=self.task(task.task))
        # Not `replace`: a task of a user's may be made with other arguments.
        known = copy.copy(task)
        object.__setattr__(known, "from_probabilities", self.is_probability)
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a validation showed of a reading.

    Args:
        shape: Of a batch.
        num_classes: That it tells apart.
        fits: Whether every label is one of these.
        largest: The largest of them; None if that was not looked at.
    """

    shape: tuple[int, ...]
    num_classes: int
    fits: bool = True
    largest: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one rank tells the others of the readings that are left.

    Args:
        facts: Of each; None if no batch was read.
        made_by_sigmoid: Whether a sigmoid made a part, by its graph; only where that is known.
        sees_picture: Of what may be an embedding the width, and whether the picture changes it.
    """

    facts: Mapping[Reading, Facts] | None
    made_by_sigmoid: Mapping[Any, bool] = field(default_factory=dict)
    sees_picture: Mapping[Any, tuple[int, bool]] = field(default_factory=dict)

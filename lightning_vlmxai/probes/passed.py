"""What is held of batches that passed by, and what ranks tell each other of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..calls import Call, TextCall
from ..explain import Called
from ..records import Seen
from ..tasks import Reading, Shown
from .reservoir import Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is held of a row; what each way to read the answer predicted for it; its names."""

    call: Call
    row: Any
    seen: Mapping[Reading, Seen]
    names: Mapping[str, str]
    text: TextCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A batch whose step has ended.

    Args:
        batch: As the step was given it.
        size: Number of its rows.
        indices: Of its rows.
        padding: How many of its last rows were added so that each rank has as many.
        names: What may name its rows.
        found: The network's call; None if the step made none.
        text: The call that made the texts' embeddings; None if none is known.
    """

    batch: Any
    size: int
    indices: Sequence[int]
    padding: int
    names: Mapping[str, Sequence[str]]
    found: Called | None
    text: TextCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What ranks tell each other of the rows that passed by."""

    tickets: list[Ticket]
    counts: Counter[int]
    shown: Shown
    labels: Mapping[int, int]
    mask_values: frozenset[float]

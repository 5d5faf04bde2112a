"""Choose some of the rows that pass by once: each class keeps its share, in bounded memory."""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROOM = 2
"""How many times the wanted number of rows is held at most, so that shares can shift."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Ticket:
    """A row that passed by, without what it holds.

    Args:
        draw: Its seeded random number, in [0, 1): the smallest of a class are chosen.
        index: Its number.
        label: Its class.
    """

    draw: float
    index: int
    label: int


class Reservoir:
    """Holds rows while they pass by.

    Of every class the rows with the smallest draws are held, as many as its share so far of `ROOM`
    times the size. Draws depend on seed and index alone, so that it does not matter which rank
    sees a row.

    Args:
        size: How many rows are wanted.
        seed: Of the draws.
        floors: The least number of rows of some classes.
    """

    def __init__(self, size: int, *, seed: int, floors: Mapping[int, int] | None = None) -> None:
        self._size = size
        self._seed = seed
        self._floors = dict(floors or {})
        self._held: dict[int, list[Ticket]] = {}
        self._kept: dict[int, Any] = {}
        self.counts: Counter[int] = Counter()

    @property
    def tickets(self) -> list[Ticket]:
        """Of the rows that are held."""
        return [ticket for held in self._held.values() for ticket in held]

    def offer(self, index: int, label: int, take: Callable[[], Any]) -> None:
        """Look at a row, and keep what `take` gives if it is to be held."""
        if index in self._kept:
            return  # a sampler that fills up its last batch gives a row twice
        self.counts[label] += 1
        ticket = Ticket(draw=draw_of(self._seed, index), index=index, label=label)
        held = self._held.setdefault(label, [])
        place = bisect.bisect(held, ticket)
        is_full = len(self._kept) >= ROOM * self._size
        if is_full and place and place / self.counts[label] >= self._worst()[0]:
            return
        held.insert(place, ticket)
        self._kept[index] = take()
        if is_full:
            gone = self._held[self._worst()[1]].pop()
            del self._kept[gone.index]

    def take(self, index: int) -> Any:
        """Return what was kept of a row."""
        return self._kept[index]

    def _worst(self) -> tuple[float, int]:
        """Return the largest share of its class that a class's last held row stands for."""
        return max(
            ((len(held) - 1) / self.counts[label], label)
            for label, held in self._held.items()
            if len(held) > self._floors.get(label, 0)
        )


def choose_tickets(
    tickets: Iterable[Ticket],
    counts: Mapping[int, int],
    size: int,
    *,
    seed: int,
    floors: Mapping[int, int] | None = None,
) -> list[Ticket]:
    """Return the rows to explain, by index: each class's share, rounded up or down by chance.

    Args:
        tickets: Of all ranks.
        counts: How many rows of each class there were.
        size: How many to choose; all if there are fewer.
        seed: Of the rounding.
        floors: The least number of rows of some classes, which are chosen first.

    Example:
        >>> tickets = [Ticket(draw=i / 10, index=i, label=i % 2) for i in range(10)]
        >>> [t.index for t in choose_tickets(tickets, {0: 5, 1: 5}, 4, seed=0)]
        [0, 1, 2, 3]
    """
    of_label: dict[int, list[Ticket]] = {}
    for ticket in sorted(tickets):
        of_label.setdefault(ticket.label, []).append(ticket)
    first: list[Ticket] = []
    position: list[tuple[float, Ticket]] = []
    for label, held in sorted(of_label.items()):
        floor = (floors or {}).get(label, 0)
        first += held[:floor]
        # Systematic sampling: the r-th of a class of n stands at (r + u) / n.
        offset = draw_of(seed, -1 - label)
        total = max(counts[label], len(held))
        position += [((r + offset) / total, t) for r, t in enumerate(held) if r >= floor]
    rest: Sequence[Ticket] = [t for _, t in sorted(position)]
    return sorted([*first, *rest][:size], key=lambda ticket: ticket.index)


def draw_of(seed: int, index: int) -> float:
    """Return the random number in [0, 1) of an index, the same in every process."""
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64

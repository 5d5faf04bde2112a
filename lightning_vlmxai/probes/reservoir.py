"""Choose some of the rows that pass by once: each class keeps its share, in bounded memory."""

from __future__ import annotations

import bisect
import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROOM = 4
"""How many times the wanted number of rows is held, so that each class's share is among them."""


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
    """Holds rows while they pass by: those that are planned, or else those with the smallest draws.

    Draws depend on seed and index alone, so that neither the order of the rows nor the rank that
    sees one plays a part.

    Args:
        size: How many rows are wanted; `ROOM` times as many are held.
        seed: Of the draws.
        floors: The least number of rows of some classes, which are held beside these.
        planned: The rows that are wanted, where that could be said before.
    """

    def __init__(
        self,
        size: int,
        *,
        seed: int,
        floors: Mapping[int, int] | None = None,
        planned: Iterable[Ticket] | None = None,
    ) -> None:
        self._room = ROOM * size
        self._seed = seed
        self._floors = dict(floors or {})
        self._planned = None if planned is None else {t.index: t for t in planned}
        self._floored: dict[int, list[Ticket]] = {}
        self._pool: list[tuple[float, Ticket]] = []
        self._kept: dict[int, tuple[Ticket, Any]] = {}
        self.counts = (
            Counter(t.label for t in self._planned.values()) if self._planned else Counter()
        )

    @property
    def tickets(self) -> list[Ticket]:
        """Of the rows that are held."""
        return [ticket for ticket, _ in self._kept.values()]

    def offer(
        self,
        indices: Sequence[int],
        labels: Callable[[], Iterable[int]],
        take: Callable[[int], Any],
    ) -> None:
        """Look at a batch.

        Args:
            indices: Of its rows.
            labels: Gives the rows' classes; not asked where the rows are planned.
            take: From a row's place in the batch to what is kept of it.
        """
        if self._planned is not None:
            for row, index in enumerate(indices):
                if index in self._planned and index not in self._kept:
                    self._kept[index] = self._planned[index], take(row)
            return
        for row, (index, label) in enumerate(zip(indices, labels(), strict=True)):
            if index in self._kept:
                continue  # a sampler that fills up its last batch gives a row twice
            self.counts[label] += 1
            ticket = Ticket(draw=draw_of(self._seed, index), index=index, label=label)
            gone = self._make_room(ticket)
            if gone != ticket:
                self._kept[index] = ticket, take(row)
            if gone is not None:
                self._kept.pop(gone.index, None)

    def take(self, index: int) -> Any:
        """Return what was kept of a row."""
        return self._kept[index][1]

    def _make_room(self, ticket: Ticket) -> Ticket | None:
        """Note a row, and return the one that is not held for it; None if there was room."""
        floor = self._floors.get(ticket.label, 0)
        if floor:
            held = self._floored.setdefault(ticket.label, [])
            bisect.insort(held, ticket)
            if len(held) <= floor:
                return None
            ticket = held.pop()
        if len(self._pool) < self._room:
            heapq.heappush(self._pool, (-ticket.draw, ticket))
            return None
        return heapq.heappushpop(self._pool, (-ticket.draw, ticket))[1]


def plan(
    labels: Sequence[int], size: int, *, seed: int, floors: Mapping[int, int] | None = None
) -> list[Ticket]:
    """Return the rows to explain of a data set whose labels are known.

    Args:
        labels: By index.
        size: How many to choose.
        seed: Of the choice.
        floors: The least number of rows of some classes.
    """
    tickets = [
        Ticket(draw=draw_of(seed, index), index=index, label=label)
        for index, label in enumerate(labels)
    ]
    return choose_tickets(tickets, Counter(labels), size, seed=seed, floors=floors)


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

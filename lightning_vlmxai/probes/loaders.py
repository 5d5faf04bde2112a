"""Which rows loaders give: their data set, and each row's number in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from typing import Any

from torch.utils.data import ConcatDataset, DistributedSampler, default_collate

from .datasets import find_labels, index_of_position


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What is known of a loader.

    Args:
        dataset: Of it; None if it tells none.
        order: Its sampler, which may tell the rows' indices.
        limit: How many rows will pass by, on all ranks; None if that isn't known.
        collate: What makes batches of samples.
        rows: How many it makes a batch of; None if that isn't known.
    """

    dataset: Any
    order: Any = None
    limit: int | None = None
    collate: Any = None
    rows: int | None = None


class RowNumbers:
    """Numbers the rows of one loader or several while they pass by.

    A row's number is its index in the data set, where that can be said, else its place in the
    validation. Those of several loaders are counted one after the other, as if they were one.

    Args:
        loaders: By their numbers, in the order in which they are validated.
        rank: Of this process.
        ranks: Number of processes.
    """

    def __init__(self, loaders: Mapping[int, Loaded], *, rank: int = 0, ranks: int = 1) -> None:
        self._loaders = dict(loaders)
        self._rank, self._ranks = rank, ranks
        self._index_of: dict[int, Callable[[int], int] | None] = {
            number: index_of_position(one.order, rank=rank, ranks=ranks)
            for number, one in loaders.items()
        }
        self._seen = dict.fromkeys(loaders, 0)
        self.is_shifted = False
        self.is_known = bool(loaders) and None not in self._index_of.values()
        datasets = [one.dataset for one in loaders.values()]
        self.dataset: Any = datasets[0] if len(datasets) == 1 else None
        if len(datasets) > 1 and self.is_known:
            self.dataset = ConcatDataset(datasets)

    @property
    def seen(self) -> int:
        """How many rows have passed by."""
        return sum(self._seen.values())

    @property
    def are_indices(self) -> bool:
        """Whether, after a validation, each row's number is its index: none was left out.

        What makes batches may drop samples that it can't read, and all that follow move up.
        """
        return self.is_known and all(map(self._is_whole, self._loaders))

    def _is_whole(self, number: int) -> bool:
        return self._seen[number] == self._due(number)

    def _due(self, number: int) -> int | None:
        """Return how many rows of a loader this rank will see; None if that is not known."""
        one = self._loaders[number]
        if one.rows is None or not isinstance(one.order, Sized):  # a stream's sampler has no end
            return None
        due = len(one.order)
        return due if one.limit is None else min(due, one.limit // self._ranks)

    @property
    def due(self) -> int | None:
        """How many rows this rank will see of all loaders; None if that is not known."""
        every = [self._due(number) for number in self._loaders]
        return None if None in every else sum(one for one in every if one is not None)

    @property
    def drops_nothing(self) -> bool:
        """Whether what makes batches is torch's own, which leaves no sample out."""
        return all(one.collate in (None, default_collate) for one in self._loaders.values())

    def count_padding(self, loader: int, count: int) -> int:
        """Return how many of a loader's last rows were added so that each rank has as many.

        Args:
            loader: Its number.
            count: How many rows are looked at.
        """
        order, end = self._loaders[loader].order, self._seen[loader]
        if self._index_of[loader] is None or not isinstance(order, DistributedSampler):
            return 0
        length = self._length(loader)
        places = range(end - count, end)
        return sum(self._rank + place * self._ranks >= length for place in places)

    @property
    def labels(self) -> list[int] | None:
        """Of all rows that will pass by, by number; None if that can't be said before."""
        if not self.is_known:
            return None
        labels: list[int] = []
        for one in self._loaders.values():
            found = find_labels(one.dataset)
            if found is None or one.limit is None:
                return None
            if len(self._loaders) > 1 and one.limit < len(found):
                return None
            labels += found[: one.limit]
        return labels

    def next(self, loader: int, count: int) -> list[int]:
        """Return the numbers of a loader's next rows."""
        first, one = self._seen[loader], self._loaders[loader]
        self._seen[loader] += count
        if self.is_known and one.rows is not None:
            # A batch that is shorter than it must be lacks rows, and all after it move up.
            self.is_shifted |= count != min(one.rows, len(one.order) - first)
        before = sum(self._length(number) for number in self._loaders if number < loader)
        index_of = self._index_of[loader]
        if index_of is not None:
            return [before + index_of(first + row) for row in range(count)]
        return [before + (first + row) * self._ranks + self._rank for row in range(count)]

    def _length(self, loader: int) -> int:
        if self.is_known:
            return len(self._loaders[loader].dataset)
        return self._seen[loader] * self._ranks

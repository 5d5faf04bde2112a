"""What the processes of a run tell each other. Knows no Trainer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

from .. import errors
from ..errors import VLMExplainError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among all that train together.

    Everything here but `share` is called by every rank alike, or all wait for the one that doesn't.

    Args:
        rank: Of this process.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this rank's share: every `size`-th item, from the `rank`-th on."""
        return items[self.rank :: self.size]

    def gather(self, own: T) -> list[T]:
        """Return what each rank has to tell, by rank: the same list everywhere."""
        if self.size == 1:
            return [own]
        told: list[T] = [own] * self.size
        dist.all_gather_object(told, own)
        return told

    def first(self, own: T) -> T:
        """Return what rank 0 has."""
        told = [own]
        if self.size > 1:
            dist.broadcast_object_list(told, src=0)
        return told[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run something on every rank; if it fails on one it fails on all, and none waits.

        There must be nothing inside that ranks do together.

        Raises:
            VLMExplainError: What another rank raised.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        told = self.gather(None if failure is None else (type(failure).__name__, str(failure)))
        if failure is not None:
            raise failure
        for rank, other in enumerate(told):
            if other is not None:
                name, message = other
                kind = getattr(errors, name, None)
                if kind is None:
                    kind, message = VLMExplainError, f"{name}: {message}"
                raise kind(f"{message} (Rank {rank} found this; all end with it.)")

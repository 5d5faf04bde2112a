"""How many calls at a time, and when to stop calling. Runs in one event loop; knows no HTTP."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ..records import UnscoredReason


class AdaptiveLimit:
    """Lets at most `limit` calls through at a time, fewer after rate limits.

    It begins with `first` calls at a time, and each success adds one: a server that takes few is
    not stormed before that is known. A rate limit halves the limit, at most once for the calls
    that were under way together; from then on each success adds 1/limit, so that a limit's worth
    of successes adds one call, up to the maximum.

    Args:
        maximum: At least 1.
        first: Of the calls at a time; the maximum if None.

    Source: Jacobson, 1988, "Congestion avoidance and control": slow start, then additive increase
        and multiplicative decrease.
    """

    def __init__(self, maximum: int, first: int | None = None) -> None:
        self.maximum = maximum
        self.limit = float(maximum if first is None else min(first, maximum))
        self._active = 0
        self._cuts = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Hold one of the slots; yields what to give to `slow_down`."""
        if self._active >= int(self.limit) or self._waiting:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # woken and cancelled in one go
                    self._active -= 1
                    self._wake()
                raise
        else:
            self._active += 1
        try:
            yield self._cuts
        finally:
            self._active -= 1
            self._wake()

    def slow_down(self, seen_cuts: int) -> None:
        """Halve the limit, unless it was cut since the call began."""
        if seen_cuts == self._cuts:
            self._cuts += 1
            self.limit = max(1.0, self.limit / 2)

    def speed_up(self) -> None:
        """Count a success."""
        step = 1 / self.limit if self._cuts else 1.0
        self.limit = min(float(self.maximum), self.limit + step)

    def _wake(self) -> None:
        while self._waiting and self._active < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self._active += 1
                turn.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why calls are not made."""

    reason: UnscoredReason
    detail: str


class CircuitBreaker:
    """Remembers for each round whether its set-up proved hopeless, so that nobody calls again."""

    OPENS_ON = frozenset(
        {
            UnscoredReason.AUTHENTICATION,
            UnscoredReason.NOT_FOUND,
            UnscoredReason.QUOTA_EXHAUSTED,
        }
    )

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}

    def fault_of(self, scope: str) -> Fault | None:
        """Return why a round's calls are stopped, or None."""
        return self._faults.get(scope)

    def report(self, scope: str, reason: UnscoredReason, detail: str) -> None:
        """Stop the round's calls if the reason is one that every call would meet."""
        if reason in self.OPENS_ON and scope not in self._faults:
            self._faults[scope] = Fault(reason=reason, detail=detail)

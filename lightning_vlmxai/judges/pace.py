"""How fast a server that refuses calls for their number takes them. Runs in one event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_MOST_CALM = 20
_LEAST_GAP_S = 0.005
_MARGIN = 1.02
"""Of a wait: clocks differ, and a call that comes a moment too early is one more refusal."""


class Pace:
    """Spaces the calls of all, once the server has refused one, by what it was seen to take.

    After a refusal nobody calls before the time that the server names. From then on calls are as
    far apart as the server let them through before: k calls since the last pause, and a wait until
    the next, make a gap of that time over k, and of no more than that wait. Without a time, waits
    double from half a second to 30 seconds, give or take a quarter, so that processes don't come
    back together. After 4 k calls without a refusal (8 to 20) the gap shrinks by a fifth.

    Args:
        clock: Seconds, of any origin.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._random = random.Random()  # noqa: S311 - of its own: the training's is left alone
        self.gap_s = 0.0
        self._resumes_at = -float("inf")
        self._free_at = -float("inf")
        self._refused_at = -float("inf")
        self._refusals = 0  # since a call was let through
        self._began_at: float | None = None
        self._taken = 0  # since the last pause
        self._calm = 0
        self._calm_enough = _MOST_CALM

    async def turn(self, ends_at: float) -> float:
        """Wait for the moment to call; return 0, or the seconds that it would take too long.

        Args:
            ends_at: When the caller gives up, by the clock. What can't come by then is told at
                once.
        """
        while True:
            now = self._clock()
            at = max(now, self._resumes_at, self._free_at)
            if at > ends_at:
                return at - now
            self._free_at, seen = at + self.gap_s, self._refused_at
            if at > now:
                await self._sleep(at - now)
            if self._refused_at == seen:  # else the turns were given out anew
                return 0.0

    def taken(self, sent_at: float) -> None:
        """Note that the server let a call through."""
        if self._began_at is None or (self._refusals and sent_at >= self._refused_at):
            self._began_at, self._taken, self._refusals = sent_at, 0, 0
        self._taken += 1
        self._calm += 1
        if self._calm >= self._calm_enough:
            self._calm = 0
            self.gap_s = 0.8 * self.gap_s if self.gap_s > _LEAST_GAP_S else 0.0

    def refused(
        self, sent_at: float, wait_s: float | None, *, longest_s: float = _LONGEST_WAIT_S
    ) -> None:
        """Note that the server refused a call for its number.

        Args:
            sent_at: When it was sent: those sent before a refusal was known are one.
            wait_s: What the server asks to wait; None if it does not say.
            longest_s: To wait where it does not say.
        """
        now = self._clock()
        is_first = sent_at >= self._refused_at
        if is_first:
            self._refused_at = now
            self._refusals += 1
            self._calm = 0
        backoff = min(longest_s, _FIRST_WAIT_S * 2 ** (self._refusals - 1))
        if wait_s is None:
            wait_s = backoff * self._random.uniform(0.75, 1.25)
        elif self._refusals > 1:  # what it asked for was not enough
            wait_s = max(wait_s, min(1.0, backoff / 4))
        self._resumes_at = max(self._resumes_at, now + _MARGIN * wait_s)
        if is_first:
            self.gap_s = 0.0
            if self._taken and self._began_at is not None:
                rest_s = self._resumes_at - now
                self.gap_s = min(rest_s, (self._resumes_at - self._began_at) / self._taken)
                self._calm_enough = min(_MOST_CALM, max(8, 4 * self._taken))
            self._free_at = self._resumes_at

"""Rate limits are waited out at the pace that a server takes, against a server in made-up time."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable

import pytest

from lightning_vlmxai.judges.flow import AdaptiveLimit
from lightning_vlmxai.judges.pace import Pace


class MadeUpTime:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, self._count, woken))
        await woken

    async def run(self, tasks: list[asyncio.Task[None]]) -> None:
        """Let time pass until all tasks are done."""
        while not all(task.done() for task in tasks):
            for _ in range(50):  # whoever can go on does
                await asyncio.sleep(0)
            if self._sleepers:
                at, _, woken = heapq.heappop(self._sleepers)
                self.now = max(self.now, at)
                if not woken.done():
                    woken.set_result(None)
        for task in tasks:
            task.result()


class Bucket:
    """A server that takes one call each `every_s`, after `burst` at once: a token bucket."""

    def __init__(self, time: MadeUpTime, every_s: float, burst: int = 1) -> None:
        self._time, self._every_s, self._burst = time, every_s, burst
        self._tokens, self._filled_at = float(burst), 0.0
        self.calls = 0

    def call(self) -> float | None:
        """Return None if a call is taken, else the seconds until one would be."""
        self.calls += 1
        passed = self._time.now - self._filled_at
        self._tokens = min(float(self._burst), self._tokens + passed / self._every_s)
        self._filled_at = self._time.now
        if self._tokens >= 1 - 1e-9:
            self._tokens -= 1
            return None
        return (1 - self._tokens) * self._every_s


def judge(
    bucket: Bucket,
    time: MadeUpTime,
    *,
    probes: int,
    concurrency: int,
    say: Callable[[float], float | None],
) -> None:
    """Send so many calls until each was taken."""
    pace, limit = Pace(time.clock, time.sleep), AdaptiveLimit(concurrency, first=1)

    async def one() -> None:
        async with limit.slot() as ticket:
            while True:
                assert await pace.turn(1e9) == 0
                sent_at = time.now
                missing_s = bucket.call()
                await time.sleep(0.01)
                if missing_s is None:
                    pace.taken(sent_at)
                    limit.speed_up()
                    return
                limit.slow_down(ticket)
                pace.refused(sent_at, say(missing_s))

    async def run() -> None:
        await time.run([asyncio.create_task(one()) for _ in range(probes)])

    asyncio.run(run())


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize(("every_s", "probes"), [(1.0, 18), (30.0, 6)])
def test_a_server_that_says_when_is_asked_little_more_than_needed(concurrency, every_s, probes):
    """At one a second 18 probes take at most 1.3 calls each, and little more than 18 s."""
    time = MadeUpTime()
    bucket = Bucket(time, every_s)
    judge(bucket, time, probes=probes, concurrency=concurrency, say=lambda s: math.ceil(s))
    assert bucket.calls <= max(1.3 * probes, probes + 2)
    assert (probes - 1) * every_s <= time.now <= 1.1 * probes * every_s


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_window_is_used_and_not_spread_over_its_pauses(concurrency):
    """Of a server that takes 60 at once, then one a second, all 128 are had in some 68 seconds."""
    time = MadeUpTime()
    bucket = Bucket(time, 1.0, burst=60)
    judge(bucket, time, probes=128, concurrency=concurrency, say=lambda s: math.ceil(s))
    assert bucket.calls <= 1.3 * 128
    assert time.now <= 1.1 * 68


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_server_that_does_not_say_when_is_not_stormed(concurrency):
    """Without a time the waits double: some calls more, and not one per moment."""
    time = MadeUpTime()
    bucket = Bucket(time, 1.0)
    judge(bucket, time, probes=18, concurrency=concurrency, say=lambda _: None)
    assert bucket.calls <= 3 * 18
    assert time.now <= 2 * 18


def test_a_wait_that_is_too_long_is_told_at_once():
    """Whoever can't wait as long as the server asks hears so without waiting."""

    async def run() -> None:
        time = MadeUpTime()
        pace = Pace(time.clock, time.sleep)
        assert await pace.turn(10.0) == 0
        pace.refused(0.0, 300.0)
        assert 300 <= await pace.turn(180.0) <= 310

    asyncio.run(run())


def test_a_long_outage_leaves_no_long_gap():
    """Refusals before anything was taken say nothing of how many a server takes."""

    async def run() -> None:
        time = MadeUpTime()
        pace = Pace(time.clock, time.sleep)
        for _ in range(10):
            pace.refused(time.now, 60.0)
            time.now += 62.0
        assert pace.gap_s == 0
        assert await pace.turn(time.now) == 0

    asyncio.run(run())


def test_a_limit_with_a_small_start_doubles_until_it_is_refused():
    """One at a time at first, one more for each success; after a cut one more for a limit's."""
    limit = AdaptiveLimit(16, first=1)
    for wanted in (2, 3, 4, 5):
        limit.speed_up()
        assert limit.limit == wanted
    limit.slow_down(0)
    assert limit.limit == 2.5
    limit.speed_up()
    assert limit.limit == 2.9

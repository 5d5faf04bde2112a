"""The judge's own thread: one event loop, tickets for what was submitted."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ..errors import ConfigurationError, JudgeError, expected
from ..records import JudgeRequest, UnscoredReason, Usage, Verdict
from .base import SENT, Judge, Sent

_log = logging.getLogger(__name__)

_GRACE_S = 10.0
"""How long closing may take beyond the drain before the thread is left to the interpreter."""

INTERRUPTED_S = 2.0
"""How long an interrupted wait goes on for the requests that are under way, in seconds."""

_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One request and the verdict that it will have.

    Args:
        future: Gives the verdict.
        turn: Taken by whichever comes first: the judge is asked, or the request is given up.
        sent: Requests that the judge sent for it so far.
    """

    future: concurrent.futures.Future[Verdict]
    turn: threading.Lock = field(default_factory=threading.Lock)
    sent: Sent = field(default_factory=Sent)

    def give_up(self) -> bool:
        """Return whether the judge was not asked yet, and won't be; whoever waits is told."""
        is_first = self.turn.acquire(blocking=False)
        if is_first:
            self.future.cancel()
        return is_first


@dataclass(slots=True, kw_only=True)
class Ticket:
    """The claims of one submission.

    Args:
        claims: In the order of the requests.
        late: Those that `collect` left under way, by their place among the claims.
    """

    claims: tuple[Claim, ...]
    late: dict[int, concurrent.futures.Future[Verdict]] = field(default_factory=dict)

    @classmethod
    def answered(cls, verdicts: Sequence[Verdict]) -> Ticket:
        """Return a ticket for verdicts that are known already."""
        return cls(claims=tuple(_answered(verdict) for verdict in verdicts))

    def beside(self, known: Sequence[Verdict | None]) -> Ticket:
        """Return a ticket with verdicts that were known; the claims stand where there was none."""
        claims = iter(self.claims)
        return Ticket(claims=tuple(next(claims) if v is None else _answered(v) for v in known))

    def collect(
        self,
        timeout_s: float,
        on_verdict: Callable[[int], object] | None = None,
        *,
        is_over: Callable[[], bool] = lambda: False,
    ) -> list[Verdict]:
        """Return a verdict for each request, in order, waiting at most `timeout_s` seconds.

        What has none by then comes back as unscored(deadline). Of these, requests that the judge
        was not asked yet are given up; the others, which may be paid for, go on and are `late`.

        Args:
            timeout_s: At least 0.
            on_verdict: Told how many verdicts came in, as they do.
            is_over: Asked while it waits whether the run is to end. Then requests that the judge
                was not asked yet are given up at once, those under way after `INTERRUPTED_S`, and
                what has no verdict comes back as unscored(closed).
        """
        ends = time.monotonic() + timeout_s
        waiting = {claim.future for claim in self.claims}
        is_interrupted = False
        while waiting:
            if not is_interrupted and is_over():
                is_interrupted = True
                ends = min(ends, time.monotonic() + INTERRUPTED_S)
                self.give_up()
            left = max(0.0, ends - time.monotonic())
            done, waiting = concurrent.futures.wait(
                waiting, min(left, _POLL_S), return_when=concurrent.futures.FIRST_COMPLETED
            )
            if done and on_verdict is not None:
                on_verdict(len(done))
            if not done and left <= _POLL_S:
                break
        verdicts = []
        # From the end: those that wait are given up before those under way make room for them.
        for place in reversed(range(len(self.claims))):
            claim = self.claims[place]
            if claim.future.cancelled():
                verdict = Verdict.unscored(UnscoredReason.CLOSED, "the judge was closed before")
            elif claim.future.done():
                verdict = claim.future.result()
            else:
                if not claim.give_up():
                    self.late[place] = claim.future
                verdict = _missed(timeout_s, claim.sent.calls, is_over=is_interrupted)
            verdicts.append(verdict)
        return verdicts[::-1]

    def give_up(self) -> None:
        """Give up the requests that the judge was not asked yet: they come back as unscored."""
        # From the end: none is asked because an earlier one made room for it.
        for claim in reversed(self.claims):
            claim.give_up()


def _missed(timeout_s: float, calls: int, *, is_over: bool) -> Verdict:
    reason, detail = UnscoredReason.DEADLINE, f"no verdict within {timeout_s:g} s"
    if is_over:
        reason, detail = UnscoredReason.CLOSED, "the run was interrupted before"
    if not calls:
        return Verdict.unscored(reason, detail)
    what = "1 request" if calls == 1 else f"{calls} requests"
    # What they cost is not known before they are answered.
    usage = Usage(calls=calls, cost_usd=None)
    return Verdict.unscored(reason, f"{detail}, after {what}", usage=usage)


def _answered(verdict: Verdict) -> Claim:
    claim = Claim(future=concurrent.futures.Future())
    claim.future.set_result(verdict)
    return claim


class JudgeWorker:
    """Runs a judge on a thread with one long-lived event loop.

    The thread starts at the first submission and ends with `close`, or with the interpreter. In a
    process that was forked off (a DataLoader's, say) the worker does nothing: the thread, the loop
    and the judge's connections are the parent's.

    Args:
        judge: To run.
        max_pending: Most requests without a verdict at a time; further ones come back as
            unscored(queue_full) at once, because training never waits for a queue.

    Raises:
        ConfigurationError: If `max_pending` is below 1.
    """

    def __init__(self, judge: Judge, *, max_pending: int = 4096) -> None:
        if max_pending < 1:
            raise ConfigurationError(
                expected("max_pending", "at least 1", max_pending, "Pass the size of two rounds")
            )
        self._judge = judge
        self._max_pending = max_pending
        self._pending: set[concurrent.futures.Future[Verdict]] = set()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._slots: asyncio.Semaphore | None = None

    @property
    def pending(self) -> int:
        """Number of requests without a verdict."""
        with self._lock:
            return len(self._pending)

    def submit(self, requests: Sequence[JudgeRequest]) -> Ticket:
        """Return at once with a ticket for the verdicts on these requests.

        Raises:
            ConfigurationError: If the judge can't be opened.
            JudgeError: In a process forked off from the one that made the worker.
        """
        loop = self._start()
        return Ticket(claims=tuple(self._submit_one(request, loop) for request in requests))

    def close(self, *, drain_s: float = 0.0) -> None:
        """End the thread and release all that the judge holds. Safe to call twice.

        Args:
            drain_s: How long to wait for verdicts under way, in seconds; then they are given up
                and come back as unscored(closed).
        """
        if self._loop is None or self._thread is None or self._pid != os.getpid():
            return
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        atexit.unregister(self.close)
        try:
            self._end(loop, thread, drain_s)
        except BaseException:  # Ctrl-C while draining: wait no longer, but leave nothing
            self._end(loop, thread, 0.0)
            raise

    def _end(
        self, loop: asyncio.AbstractEventLoop, thread: threading.Thread, drain_s: float
    ) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._shut_down(drain_s), loop).result(
                drain_s + _GRACE_S
            )
        except concurrent.futures.TimeoutError:
            # Its code blocks the loop; being a daemon, the thread can't keep the process alive.
            _log.warning("The judge did not close within %g s; its thread is left.", _GRACE_S)
            for future in self._snapshot():
                future.cancel()
            loop.call_soon_threadsafe(loop.stop)
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            raise JudgeError(
                expected("process", "the one that made the worker", "one forked off", "Judge there")
            )
        if self._loop is not None:
            return self._loop
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="vlmxai-judge", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._judge.open(), loop).result()
        except BaseException:  # Ctrl-C too: half a judge is none
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            raise
        self._loop, self._thread = loop, thread
        self._slots = asyncio.Semaphore(self._judge.concurrency)
        atexit.register(self.close)
        return loop

    def _submit_one(self, request: JudgeRequest, loop: asyncio.AbstractEventLoop) -> Claim:
        with self._lock:
            is_full = len(self._pending) >= self._max_pending
        if is_full:
            detail = f"{self._max_pending} requests are waiting already"
            return _answered(Verdict.unscored(UnscoredReason.QUEUE_FULL, detail))
        turn, sent = threading.Lock(), Sent()
        future = asyncio.run_coroutine_threadsafe(self._judge_one(request, turn, sent), loop)
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._forget)
        return Claim(future=future, turn=turn, sent=sent)

    def _forget(self, future: concurrent.futures.Future[Verdict]) -> None:
        with self._lock:
            self._pending.discard(future)

    def _snapshot(self) -> list[concurrent.futures.Future[Verdict]]:
        with self._lock:
            return list(self._pending)

    async def _judge_one(self, request: JudgeRequest, turn: threading.Lock, sent: Sent) -> Verdict:
        assert self._slots is not None  # noqa: S101 - set before the first submission
        SENT.set(sent)
        async with self._slots:
            if not turn.acquire(blocking=False):
                raise asyncio.CancelledError  # given up before the loop came to it
            try:
                verdict: object = await self._judge.judge(request)
                if not isinstance(verdict, Verdict):
                    got = type(verdict).__name__
                    raise TypeError(expected("judge", "a function to a Verdict", got, "Return one"))
                # What was asked for is an answer, wherever a judge keeps its own.
                return replace(verdict, is_reused=False)
            except Exception as error:  # a judge's bug is one sample's failure, not the run's
                return Verdict.unscored(UnscoredReason.JUDGE_ERROR, f"{error!r}")

    async def _shut_down(self, drain_s: float) -> None:
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        if pending and drain_s > 0:
            _, pending = await asyncio.wait(pending, timeout=drain_s)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        try:
            await self._judge.close()
        except Exception as error:  # all verdicts are in: nothing is lost by going on
            _log.warning("The judge did not close properly: %r", error)
        loop = asyncio.get_running_loop()
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

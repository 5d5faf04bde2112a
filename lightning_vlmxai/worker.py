"""The judge's own thread: one event loop, tickets for what was submitted."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from .judges import Judge
from .records import JudgeRequest, UnscoredReason, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A claim on the verdicts of one submission."""

    futures: tuple[concurrent.futures.Future[Verdict], ...]

    def collect(self, timeout_s: float) -> list[Verdict]:
        """Return a verdict for each request, in order, waiting at most `timeout_s` seconds.

        What has no verdict by then is given up and comes back as unscored(deadline).
        """
        concurrent.futures.wait(self.futures, timeout=timeout_s)
        verdicts = []
        for future in self.futures:
            if not future.done():
                future.cancel()
                verdict = Verdict.unscored(
                    UnscoredReason.DEADLINE, f"no verdict within {timeout_s:g} s"
                )
            elif future.cancelled():
                verdict = Verdict.unscored(UnscoredReason.JUDGE_ERROR, "the judge was closed")
            else:
                verdict = future.result()
            verdicts.append(verdict)
        return verdicts


class JudgeWorker:
    """Runs a judge on a thread with one long-lived event loop.

    The thread starts at the first submission and ends with `close`. It is a daemon, so that a
    trainer killed half-way is not kept alive by it.

    Args:
        judge: To run.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._slots: asyncio.Semaphore | None = None

    def submit(self, requests: Sequence[JudgeRequest]) -> Ticket:
        """Return at once with a ticket for the verdicts on these requests."""
        loop = self._start()
        return Ticket(
            futures=tuple(
                asyncio.run_coroutine_threadsafe(self._judge_one(request), loop)
                for request in requests
            )
        )

    def close(self) -> None:
        """Give up what is under way, close the judge, end the thread. Safe to call twice."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = self._slots = None

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="vlmxai-judge", daemon=True)
            thread.start()
            self._loop, self._thread = loop, thread
            self._slots = asyncio.Semaphore(self._judge.concurrency)
            asyncio.run_coroutine_threadsafe(self._judge.open(), loop).result()
        return self._loop

    async def _judge_one(self, request: JudgeRequest) -> Verdict:
        assert self._slots is not None  # noqa: S101 - set before the first submission
        async with self._slots:
            try:
                return await self._judge.judge(request)
            except Exception as error:  # a judge's bug is one sample's failure, not the run's
                return Verdict.unscored(UnscoredReason.JUDGE_ERROR, f"{error!r}")

    async def _shut_down(self) -> None:
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._judge.close()

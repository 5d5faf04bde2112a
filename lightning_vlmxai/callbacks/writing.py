"""Writes beside the training: one thread, in order, that can be waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

WAITING = 4
"""How many jobs are undone at most, two a round: each keeps a round's pictures in memory."""


class Writer:
    """Does what it is given on a thread of its own, one after another.

    What a job raises is raised by the next `do` or by `drain`, and the jobs after it are done all
    the same. The thread begins with the first job.

    Args:
        waiting: How many jobs may be undone; `do` waits for the oldest of more.

    Example:
        >>> writer, done = Writer(), []
        >>> for number in range(5):
        ...     _ = writer.do(lambda number=number: done.append(number))
        >>> writer.close()
        >>> done
        [0, 1, 2, 3, 4]
    """

    def __init__(self, waiting: int = WAITING) -> None:
        self._waiting = waiting
        self._executor: ThreadPoolExecutor | None = None
        self._undone: deque[Future[None]] = deque()

    def do(self, job: Callable[[], None]) -> Future[None]:
        """Have a job done in its turn, and return what says that it is.

        Args:
            job: Takes nothing and gives nothing.
        """
        while len(self._undone) >= self._waiting:
            self._wait_for_oldest()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="vlmxai-writer")
        self._undone.append(self._executor.submit(job))
        return self._undone[-1]

    def drain(self) -> None:
        """Wait until all is done."""
        while self._undone:
            self._wait_for_oldest()

    def close(self) -> None:
        """Wait until all is done, and end the thread. Safe to call twice."""
        try:
            self.drain()
        finally:
            executor, self._executor = self._executor, None
            if executor is not None:
                executor.shutdown()

    def _wait_for_oldest(self) -> None:
        oldest = self._undone[0]
        oldest.exception()  # an interruption of this wait leaves it undone
        self._undone.popleft()
        oldest.result()

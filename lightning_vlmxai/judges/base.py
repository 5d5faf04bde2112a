"""What every judge is."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..records import JudgeRequest, Verdict
from .prices import Estimate


@dataclass(slots=True)
class Sent:
    """How many requests a server was sent for one judgement so far."""

    calls: int = 0


SENT: ContextVar[Sent | None] = ContextVar("vlmxai_sent", default=None)
"""Of the judgement that is under way: a call given up half-way has to be counted too."""


def count_sent() -> None:
    """Count a request to a server, as it is sent."""
    sent = SENT.get()
    if sent is not None:
        sent.calls += 1


@runtime_checkable
class Judge(Protocol):
    """Scores masked pictures from 0 to 5.

    `open`, `judge` and `close` run in one event loop, on the worker's thread. A judge returns an
    unscored verdict rather than raising; what it raises all the same is recorded as
    `unscored(judge_error)`. One that does not heed the label says so with `reads_labels = False`:
    then no control tests whether it does.
    """

    @property
    def name(self) -> str:
        """Who judges, for logs and records."""
        ...

    @property
    def concurrency(self) -> int:
        """How many requests may be under way at a time."""
        ...

    def check(self) -> None:
        """Raise `ConfigurationError` if the environment lacks something (a key, say)."""
        ...

    async def open(self) -> None:
        """Make what needs an event loop."""
        ...

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Return the verdict on one masked picture."""
        ...

    async def close(self) -> None:
        """Release what `open` made."""
        ...


@runtime_checkable
class PaidJudge(Protocol):
    """A judge whose calls cost: it keeps files in the run folder and can say what is to come."""

    def bind(self, run_dir: Path, *, world_size: int = 1) -> None:
        """Keep files in this folder, and take one process's share of the concurrency."""
        ...

    def estimate(self, *, pictures: int, rounds: int) -> Estimate:
        """Return what judging so many pictures in each of so many rounds will take."""
        ...


@runtime_checkable
class CaptionJudge(Protocol):
    """A judge that asks about captions in other words than about classes."""

    def expect_captions(self) -> None:
        """Ask about captions from now on: labels are sentences."""
        ...

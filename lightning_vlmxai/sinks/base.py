"""What every sink is, and how a round's metrics are named outside."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..records import Round

PREFIX = "vlmxai"


@runtime_checkable
class Sink(Protocol):
    """Takes closed rounds, in order, on rank 0."""

    def write(self, closed: Round) -> None:
        """Write a round at the step that it describes."""
        ...


@runtime_checkable
class ReportSink(Sink, Protocol):
    """A sink that also takes the report of a finished fit."""

    def finish(self, report: Path) -> None:
        """Keep the report with the run."""
        ...


def finish_sinks(sinks: Iterable[Sink], report: Path) -> None:
    """Hand the report of a finished fit to the sinks that keep one."""
    for sink in sinks:
        if isinstance(sink, ReportSink):
            sink.finish(report)


def metric_name(name: str, stage: str = "fit") -> str:
    """Return a metric's name outside: `vlmxai/<name>`, or `vlmxai/test/<name>` in a test.

    Example:
        >>> metric_name("coverage"), metric_name("coverage", "test")
        ('vlmxai/coverage', 'vlmxai/test/coverage')
    """
    return f"{PREFIX}/test/{name}" if stage == "test" else f"{PREFIX}/{name}"


def prefixed_metrics(closed: Round) -> dict[str, float]:
    """Return a round's metrics by their names outside."""
    return {metric_name(name, closed.stage): value for name, value in closed.metrics.items()}

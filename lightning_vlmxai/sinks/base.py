"""What every sink is, and how a round's metrics are named outside."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..records import Round

PREFIX = "vlmxai"


@runtime_checkable
class Sink(Protocol):
    """Takes closed rounds, in order, on rank 0, maybe on another thread than the training's."""

    def write(self, closed: Round) -> None:
        """Write a round at the step that it describes."""
        ...


@runtime_checkable
class EarlySink(Sink, Protocol):
    """A sink that has to say something before a round's figures are logged."""

    def announce(self, closed: Round, /) -> None:
        """Say it, at once: the training waits."""
        ...


@runtime_checkable
class ReportSink(Sink, Protocol):
    """A sink that also takes the report of a finished fit."""

    def finish(self, report: Path) -> None:
        """Keep the report with the run."""
        ...


@runtime_checkable
class AlertSink(Sink, Protocol):
    """A sink that can tell people of something at once."""

    def alert(self, title: str, text: str, *, step: int) -> None:
        """Tell of something that was found.

        Args:
            title: A few words.
            text: Sentences; they may hold anything that data and judges say.
            step: Of the round in which it was found.
        """
        ...


def is_lightning(thing: object, *names: str) -> bool:
    """Return whether an object is of one of Lightning's classes, under either of its names.

    `lightning` and `pytorch_lightning` are the same code twice: no class of the one is a class of
    the other.

    Args:
        thing: A module, strategy or logger.
        names: Names of classes, without their modules.

    Example:
        >>> from lightning.pytorch.loggers import CSVLogger
        >>> is_lightning(CSVLogger("."), "CSVLogger"), is_lightning("a text", "CSVLogger")
        (True, False)
    """
    return any(
        kind.__name__ in names
        and kind.__module__.split(".")[0] in ("lightning", "pytorch_lightning")
        for kind in type(thing).__mro__
    )


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

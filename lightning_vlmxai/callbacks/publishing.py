"""Where closed rounds and the report go: sinks of rank 0, made with the first round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from ..records import Round
from ..report import History, is_run_dir, print_summary, read_run, write_report
from ..rounds import Faults
from ..sinks import (
    AlertSink,
    RunFolderSink,
    ShortcutsFound,
    Sink,
    finish_sinks,
    make_sinks,
    write_shortcuts,
)


class Publisher:
    """Hands rounds to the loggers and the run folder. A sink that fails costs a warning.

    Args:
        run_dir: Where samples and pictures go.
        stage: "fit", "validate" or "test".
        loggers: Of the trainer; None on other ranks than 0, which write nothing.
        faults: Passes over what fails.
        settings: Gives how the run was made, in plain values; asked once, at the first round.
    """

    def __init__(
        self,
        *,
        run_dir: Path,
        stage: str,
        loggers: Sequence[Logger] | None,
        faults: Faults,
        settings: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._run_dir = run_dir
        self._stage = stage
        self._loggers = loggers
        self._faults = faults
        self._settings = settings
        self._folder: RunFolderSink | None = None
        self._sinks: list[Sink] = []
        self._history: History | None = None

    def write(self, closed: Round) -> None:
        """Hand a closed round to every sink, with what the run comes to by it."""
        sinks = self._open()
        if sinks:
            with self._faults.passed_over("Finding what stands out", "so it is not told"):
                closed = replace(closed, finding=self._tell(closed))
        for sink in sinks:
            with self._faults.passed_over(
                f"{type(sink).__name__}.write", "so this round is missing there"
            ):
                sink.write(closed)

    def write_late(self, rounds: Iterable[Round]) -> None:
        """Keep what came in after its deadline."""
        for late in rounds:
            if self._folder is not None:
                with self._faults.passed_over(
                    "RunFolderSink.write_late", "so late verdicts are missing there"
                ):
                    self._folder.write_late(late)

    def alert(self, title: str, text: str, *, step: int) -> None:
        """Tell of something through every logger that can."""
        for sink in self._open():
            if isinstance(sink, AlertSink):
                with self._faults.passed_over(
                    f"{type(sink).__name__}.alert", "so it is not told there"
                ):
                    sink.alert(title, text, step=step)

    def write_shortcuts(self, found: ShortcutsFound) -> None:
        """Keep in the run folder what a look for shortcuts came to."""
        if self._folder is not None:
            with self._faults.passed_over("Writing shortcuts", "so the report lacks them"):
                write_shortcuts(self._run_dir, found)

    def finish(self) -> None:
        """Write the report, print the summary, hand the report to the loggers."""
        if self._folder is None:
            return
        report: Path | None = None
        with self._faults.passed_over("Writing the report", "so there is none"):
            report = write_report(self._run_dir)
        with self._faults.passed_over("Printing the summary", "so there is none"):
            print_summary(self._run_dir, stage=self._stage, report=report)
        if report is not None:
            with self._faults.passed_over("Logging the report", "so it is in its folder only"):
                finish_sinks(self._sinks, report)

    def _tell(self, closed: Round) -> tuple[str, ...]:
        if self._history is None:
            earlier = read_run(self._run_dir).rounds if is_run_dir(self._run_dir) else ()
            self._history = History(earlier)
        return self._history.tell(closed)

    def _open(self) -> list[Sink]:
        """Return the sinks, made with the first round: by then layer and names are known."""
        if self._loggers is not None and not self._sinks:
            settings = self._settings()
            self._folder = RunFolderSink(self._run_dir, settings)
            self._sinks = [*make_sinks(self._loggers, settings), self._folder]
        return self._sinks

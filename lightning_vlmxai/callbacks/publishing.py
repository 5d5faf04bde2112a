"""Where closed rounds and the report go: sinks of rank 0, made with the first round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from ..records import Round
from ..report import History, is_run_dir, print_summary, read_run, write_report
from ..rounds import Faults
from ..sinks import (
    AlertSink,
    EarlySink,
    MetricsSink,
    RunFolderSink,
    ShortcutsFound,
    Sink,
    finish_sinks,
    make_sinks,
    write_shortcuts,
)
from .writing import Writer


class Publisher:
    """Hands rounds to the loggers and the run folder. A sink that fails costs a warning.

    Figures are logged at once, by the thread that asks. Files, and then pictures and texts, are
    written beside the training, in order, on one thread. `settle` waits for the files of the rounds
    so far, without which a checkpoint must not say that they are closed; `finish` and `close` wait
    for all.

    Args:
        run_dir: Where samples and pictures go.
        stage: "fit", "validate" or "test".
        loggers: Of the trainer; None on other ranks than 0, which write nothing.
        settings: Gives how the run was made, in plain values; asked once, at the first round.
    """

    def __init__(
        self,
        *,
        run_dir: Path,
        stage: str,
        loggers: Sequence[Logger] | None,
        settings: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._run_dir = run_dir
        self._stage = stage
        self._loggers = loggers
        self._settings = settings
        self._faults, self._faults_beside = Faults(), Faults()
        self._writer = Writer()
        self._in_folder: Future[None] | None = None
        self._folder: RunFolderSink | None = None
        self._sinks: list[Sink] = []
        self._history: History | None = None

    def write(self, closed: Round) -> None:
        """Hand a closed round to every sink, with what the run comes to by it."""
        for sink in self._open():
            with self._faults.passed_over(
                f"{type(sink).__name__}.announce", "so its curves stand over other steps"
            ):
                if isinstance(sink, EarlySink):
                    sink.announce(closed)
            if isinstance(sink, MetricsSink):
                _write(sink, closed, self._faults)
        if self._folder is not None:
            told: list[Round] = []
            self._in_folder = self._writer.do(partial(self._write_folder, closed, told))
            self._writer.do(partial(self._write_pictures, told))

    def write_late(self, rounds: Iterable[Round]) -> None:
        """Keep what came in after its deadline."""
        for late in rounds:
            if self._folder is not None:
                self._in_folder = self._beside(
                    partial(self._folder.write_late, late),
                    "RunFolderSink.write_late",
                    "so late verdicts are missing there",
                )

    def alert(self, title: str, text: str, *, step: int) -> None:
        """Tell of something through every logger that can."""
        for sink in self._open():
            if isinstance(sink, AlertSink):
                self._beside(
                    partial(sink.alert, title, text, step=step),
                    f"{type(sink).__name__}.alert",
                    "so it is not told there",
                )

    def write_shortcuts(self, found: ShortcutsFound) -> None:
        """Keep in the run folder what a look for shortcuts came to."""
        if self._folder is not None:
            with self._faults.passed_over("Writing shortcuts", "so the report lacks them"):
                write_shortcuts(self._run_dir, found)

    def finish(self) -> None:
        """Write the report, print the summary, hand the report to the loggers."""
        self._writer.drain()
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

    def settle(self) -> None:
        """Wait until all rounds and late verdicts so far are in the run folder, or failed to be."""
        if self._in_folder is not None:
            wait([self._in_folder])

    def close(self) -> None:
        """Wait for what is being written, and end its thread. Safe to call twice."""
        self._writer.close()

    def _write_folder(self, closed: Round, told: list[Round]) -> None:
        assert self._folder is not None  # noqa: S101 - asked before
        told.append(closed)
        with self._faults_beside.passed_over("Finding what stands out", "so it is not told"):
            told[0] = replace(closed, finding=self._tell(closed))
        _write(self._folder, told[0], self._faults_beside)

    def _write_pictures(self, told: Sequence[Round]) -> None:
        for sink in self._sinks:
            if not isinstance(sink, MetricsSink | RunFolderSink):
                _write(sink, told[0], self._faults_beside)

    def _beside(self, job: Callable[[], None], what: str, consequence: str) -> Future[None]:
        """Have something written beside the training, after all that came before."""

        def write() -> None:
            with self._faults_beside.passed_over(what, consequence):
                job()

        return self._writer.do(write)

    def _tell(self, closed: Round) -> tuple[str, ...]:
        if self._history is None:
            self._history = History()
            if is_run_dir(self._run_dir):
                run = read_run(self._run_dir)
                self._history = History(run.rounds, run.threshold)
        return self._history.tell(closed)

    def _open(self) -> list[Sink]:
        """Return the sinks, made with the first round: by then layer and names are known."""
        if self._loggers is not None and not self._sinks:
            settings = self._settings()
            self._folder = RunFolderSink(self._run_dir, settings)
            self._sinks = [*make_sinks(self._loggers, settings), self._folder]
        return self._sinks


def _write(sink: Sink, closed: Round, faults: Faults) -> None:
    with faults.passed_over(f"{type(sink).__name__}.write", "so this round is missing there"):
        sink.write(closed)

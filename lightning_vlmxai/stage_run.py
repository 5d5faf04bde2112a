"""One fit, validation or test: its probes, its judge's thread, its rounds and sinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.utils.data import IterableDataset

from .datasets import find_class_names
from .errors import ConfigurationError, JudgeError, expected
from .explain import Explainer
from .faults import Faults
from .judges import FailureReporter, Judge, describe_failures
from .probe import ProbeReader
from .records import Explanation, Probe, Round
from .rounds import RoundBook, gather_over_ranks
from .sinks import RunFolderSink, Sink, make_sinks
from .worker import JudgeWorker

Context = Callable[[], AbstractContextManager[Any]]
"""What a forward runs under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSettings:
    """How rounds are closed and counted; see `VLMExplainCallback` for each.

    Raises:
        ConfigurationError: For a value out of range.
    """

    threshold: float
    lag: int
    deadline_s: float
    watch_classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, is_right, rule in (
            ("threshold", 0 <= self.threshold <= 5, "in [0, 5]"),
            ("lag", self.lag >= 0, "at least 0"),
            ("deadline_s", self.deadline_s > 0, "positive"),
        ):
            if not is_right:
                got = repr(getattr(self, name))
                raise ConfigurationError(expected(name, rule, got, f"Pass {name} so"))


class StageRun:
    """What belongs to one call of the trainer. Knows no Trainer.

    Args:
        stage: "fit", "validate" or "test".
        judge: Scores the masked pictures.
        explainer: As it was asked for; layer and class names are found with the first probes.
        reader: Of the probe set.
        settings: Of the rounds.
        failures: Tells of the judge's.
        run_dir: Where samples and pictures go.
        loggers: Of the trainer; None on other ranks than 0.
        model_name: For `run.json`.
        rank: Of this process.
        world_size: Number of processes.
        first_round: Number of the first round.
        saved_fingerprint: Of the probe set of the checkpoint that is resumed; "" if none.
    """

    def __init__(
        self,
        *,
        stage: str,
        judge: Judge,
        explainer: Explainer,
        reader: ProbeReader,
        settings: RoundSettings,
        failures: FailureReporter,
        run_dir: Path,
        loggers: Sequence[Logger] | None,
        model_name: str,
        rank: int = 0,
        world_size: int = 1,
        first_round: int = 0,
        saved_fingerprint: str = "",
    ) -> None:
        self.stage = stage
        self.run_dir = run_dir
        self.is_rehearsed = False
        self.fingerprint = ""
        self.next_round = first_round
        self._judge = judge
        self._asked = explainer
        self._explainer: Explainer | None = None
        self._reader = reader
        self._settings = settings
        self._failures = failures
        self._faults = Faults()
        self._loggers = loggers
        self._model_name = model_name
        self._rank = rank
        self._world_size = world_size
        self._saved_fingerprint = saved_fingerprint
        self._worker = JudgeWorker(judge)
        self._book: RoundBook | None = None
        self._sinks: list[Sink] = []

    def rehearse(self, module: nn.Module, dataset: Any, context: Context) -> None:
        """Explain all probes and judge one, end to end; log nothing.

        Raises:
            VLMExplainError: If something in the set-up is wrong.
        """
        explanations = self._explain(module, dataset, context)
        book = self._make_book(lag=0, number=-1)
        # An untrained model's maps may be blank, which says nothing about the judge.
        book.open([e for e in explanations if not e.is_blank][:1], stage="fit", epoch=0, step=0)
        (closed,) = book.drain()
        self.is_rehearsed = True
        verdicts = [sample.verdict for sample in closed.samples]
        if any(v.reason is not None and v.reason.is_setup_fault for v in verdicts):
            told = " ".join(describe_failures(verdicts).values())
            raise JudgeError(f"{self._judge.name} could not score a first probe: {told}")
        self._failures.report(verdicts)
        if isinstance(dataset, IterableDataset):
            # The sanity check sees fewer samples than the validation will.
            self._reader.forget()

    def run_round(
        self, module: nn.Module, dataset: Any, context: Context, *, epoch: int, step: int
    ) -> list[Round]:
        """Explain and submit a round; return those that are due, which are in the sinks by then.

        Args:
            module: The live model.
            dataset: Where the probes are from.
            context: What its forward runs under.
            epoch: That is explained.
            step: The trainer's global step.

        Raises:
            VLMExplainError: If the model can't be explained; in a fit that was rehearsed, that is
                a warning and a round without samples.
        """
        own = self._own_probes(dataset)
        explanations: Sequence[Explanation] = ()
        if self.is_rehearsed:
            with self._faults.passed_over(
                "Explaining the probes", "so this round has no judged samples"
            ):
                explanations = self._explain(module, dataset, context)
        else:
            explanations = self._explain(module, dataset, context)
        if self._book is None:
            self._check_fingerprint()
            lag = self._settings.lag if self.stage == "fit" else 0
            self._book = self._make_book(lag=lag, number=self.next_round)
        self._book.open(
            explanations,
            stage=self.stage,
            epoch=epoch,
            step=step,
            missing=len(own) - len(explanations),
            failure=self._faults.last,
        )
        self.next_round += 1
        return [self._publish(closed) for closed in self._book.collect()]

    def drain(self) -> list[Round]:
        """Wait for the rounds that are still open; they are in the sinks by then."""
        return [self._publish(closed) for closed in (self._book.drain() if self._book else [])]

    def close(self) -> None:
        """End the judge's thread. Safe to call twice."""
        self._worker.close()

    def _explain(self, module: nn.Module, dataset: Any, context: Context) -> list[Explanation]:
        own = self._own_probes(dataset)
        if self._explainer is None:
            # Found once: a layer that changed between rounds would be a drift of its own.
            names = self._asked.class_names or find_class_names(dataset)
            self._check_watched(names)
            layer = self._asked.find_layer(
                module, self._reader.read(dataset).probes[:1], context=context
            )
            self._explainer = replace(self._asked, class_names=names, target_layer=layer)
        return self._explainer(module, own, context=context)

    def _own_probes(self, dataset: Any) -> Sequence[Probe]:
        """Return this rank's share of the probes."""
        probe_set = self._reader.read(dataset)
        self.fingerprint = probe_set.fingerprint
        return probe_set.probes[self._rank :: self._world_size]

    def _check_watched(self, names: Sequence[str] | None) -> None:
        unknown = [c for c in self._settings.watch_classes if names and c not in names]
        if names and unknown:
            raise ConfigurationError(
                expected(
                    "watch_classes",
                    "among the class names",
                    ", ".join(map(repr, unknown)),
                    f"Choose from {', '.join(names[:20])}",
                )
            )

    def _check_fingerprint(self) -> None:
        saved, now = self._saved_fingerprint, self.fingerprint
        if saved and saved != now:
            rank_zero_warn(
                f"vlmxai: the probe set differs from the checkpoint's (fingerprint {saved}, now "
                f"{now}): curves before and after are not of the same samples."
            )

    def _make_book(self, *, lag: int, number: int) -> RoundBook:
        return RoundBook(
            self._worker,
            lag=lag,
            deadline_s=self._settings.deadline_s,
            threshold=self._settings.threshold,
            watch_classes=self._settings.watch_classes,
            gather=gather_over_ranks if self._world_size > 1 else lambda part: [part],
            fingerprint=self.fingerprint,
            number=number,
        )

    def _publish(self, closed: Round) -> Round:
        for sink in self._open_sinks():
            with self._faults.passed_over(
                f"{type(sink).__name__}.write", "so this round is missing there"
            ):
                sink.write(closed)
        self._failures.report([sample.verdict for sample in closed.samples])
        return closed

    def _open_sinks(self) -> list[Sink]:
        """Return the sinks, made with the first round: by then layer and names are known."""
        if self._loggers is not None and not self._sinks:
            settings = {
                "model": self._model_name,
                "judge": self._judge.name,
                "threshold": self._settings.threshold,
                "lag": self._settings.lag,
                "watch_classes": list(self._settings.watch_classes),
                **(self._explainer or self._asked).describe(),
            }
            self._sinks = [
                *make_sinks(self._loggers, settings),
                RunFolderSink(self.run_dir, settings),
            ]
        return self._sinks

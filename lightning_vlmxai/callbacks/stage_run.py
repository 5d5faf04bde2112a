"""One fit, validation or test: its probes, its judge's thread, its rounds and sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info

from .. import disk
from ..errors import JudgeError
from ..explain import (
    Explainer,
    LiveModel,
    disagreement,
    find_disagreements,
    share_agreed,
)
from ..judges import FailureReporter, Judge, JudgeWorker, describe_failures
from ..probes import ProbeCollector, ProbeSet
from ..records import Explanation, Round
from ..rounds import Faults, Ranks, RoundBook
from ..sinks import read_settings
from .controlling import Controlling
from .doubting import Doubts
from .explained import Explained
from .explaining import Explaining
from .isolating import Isolation
from .publishing import Publisher
from .round_settings import RoundSettings, rounds_that_go_on
from .shortcutting import Shortcutting
from .training_pictures import TrainingPictures


class StageRun:
    """What belongs to one call of the trainer. Knows no Trainer.

    Every rank has one and calls it alike. The ranks explain and judge a share each, and know
    everything together, so that they log and gate on the same figures, and any can save the state.

    Args:
        stage: "fit", "validate" or "test".
        judge: Scores the masked pictures.
        explainer: As it was asked for; layer and class names are found with the first probes.
        collector: Chooses the probes while a validation goes by.
        settings: Of the rounds.
        failures: Tells of the judge's.
        run_dir: Where samples and pictures go.
        loggers: Of the trainer; None on other ranks than 0.
        model_name: For `run.json`.
        ranks: The processes that share the work.
        first_round: Number of the first round.
        saved: State of the run that is resumed; empty if none is.
        is_over: Asked in every wait whether the run is to end: then it is cut short.
        is_last: Asked for a checkpoint whether no validation may follow it.
    """

    def __init__(
        self,
        *,
        stage: str,
        judge: Judge,
        explainer: Explainer,
        collector: ProbeCollector,
        settings: RoundSettings,
        failures: FailureReporter,
        run_dir: Path,
        loggers: Sequence[Logger] | None,
        model_name: str,
        ranks: Ranks,
        first_round: int = 0,
        saved: Mapping[str, Any] | None = None,
        is_over: Callable[[], bool] = lambda: False,
        is_last: Callable[[], bool] = lambda: False,
    ) -> None:
        disk.forget()
        self.stage = stage
        self._is_over, self._is_last = is_over, is_last
        self.run_dir = run_dir
        self.is_rehearsed = self.is_finished = False
        self._judge = judge
        self._doubt = Doubts()
        self._explaining = Explaining(
            explainer,
            judge=judge,
            watch_classes=settings.watch_classes,
            faithfulness=settings.faithfulness,
            doubt=self._doubt,
        )
        self._collector = collector
        self._settings = settings
        self._failures = failures
        self._faults = Faults()
        self._model_name, self._ranks = model_name, ranks
        self._isolation = Isolation(settings.isolation, ranks)
        self._first_round = first_round
        self._saved = dict(saved or {})
        self._worker = JudgeWorker(judge)
        self._probe_set: ProbeSet | None = None
        self._agreement: float | None = None
        self._book: RoundBook | None = None
        self._controls_then: dict[str, Any] = {}
        self._publisher = Publisher(
            run_dir=run_dir,
            stage=stage,
            loggers=loggers,
            settings=self._describe_run,
        )
        self._shortcutting = Shortcutting(
            ranks=ranks, faults=self._faults, publisher=self._publisher, doubt=self._doubt
        )
        self._controlling = Controlling(
            settings.controls,
            judge=judge,
            explainer=explainer,
            threshold=settings.threshold,
            seed=settings.seed,
            doubt=self._doubt,
            faults=self._faults,
        )
        self._controlling.load_state_dict(self._saved.get("controls", {}))

    @property
    def next_round(self) -> int:
        """Number of the round that comes next."""
        return self._book.next_number if self._book else self._first_round

    @property
    def awaited(self) -> int:
        """Number of this rank's requests that `drain` will wait for; 0 if all are answered."""
        return self._book.open_requests if self._book and self._worker.pending else 0

    @property
    def needs_probes(self) -> bool:
        """Whether the validation that comes has to be watched."""
        return self._probe_set is None

    def rehearse(self, live: LiveModel) -> None:
        """Explain the rows that were seen and have each rank judge one, end to end; log nothing.

        Raises:
            VLMExplainError: If something in the set-up is wrong, on any rank.
        """
        probe_set, explained = self._isolation.run(live, self._explain_probes)
        self._prove(live, probe_set, explained.explanations)
        # A judge may wait for a server that is still loading.
        loading_s = getattr(self._judge, "wait_s", 0.0)
        book = self._make_book(lag=0, number=-1, loading_s=loading_s)
        # An untrained model's maps may be blank, which says nothing about the judge.
        shown = [e for e in explained.explanations if not e.is_blank][: self._ranks.size]
        book.open(shown, stage="fit", epoch=0, step=0)
        (closed,) = book.drain()
        self.is_rehearsed = True
        verdicts = [sample.verdict for sample in closed.samples]
        if any(v.reason is not None and v.reason.is_setup_fault for v in verdicts):
            told = " ".join(describe_failures(verdicts).values())
            raise JudgeError(f"{self._judge.name} could not score a first probe: {told}")
        self._report(closed)

    def forget_probes(self) -> None:
        """Choose anew: a sanity check sees fewer rows than a validation will."""
        self._probe_set = self._agreement = None

    def run_round(self, live: LiveModel, *, epoch: int, step: int) -> list[Round]:
        """Explain and submit a round; return those that are due, whose figures are logged by then.

        Args:
            live: The model.
            epoch: That is explained.
            step: The trainer's global step.

        Raises:
            VLMExplainError: If the model can't be explained; in a fit that was rehearsed, that is
                a warning and a round without samples.
        """
        probe_set, explained = self._isolation.run(live, self._explain_and_check)
        if self._agreement is None and explained.explanations:
            if self.is_rehearsed:
                with self._faults.passed_over("The proof", "so this round has no judged samples"):
                    self._prove(live, probe_set, explained.explanations)
                if self._faults.last:
                    explained = Explained(
                        explanations=[], missing=len(probe_set), failure=self._faults.last
                    )
            else:
                self._prove(live, probe_set, explained.explanations)
        book = self._begin_rounds(probe_set)
        book.open(
            explained.explanations,
            stage=self.stage,
            epoch=epoch,
            step=step,
            missing=explained.missing,
            failure=explained.failure,
        )
        closed = book.collect() if self.stage == "fit" else book.drain()
        return self._publish(closed)

    def _begin_rounds(self, probe_set: ProbeSet) -> RoundBook:
        """Open the book, if it isn't yet; rounds of a resumed run are judged from now on."""
        self._controlling.names = self._explaining.class_names or probe_set.class_names or ()
        if self._book is None:
            lag = self._settings.lag if self.stage == "fit" else 0
            self._book = self._make_book(lag=lag, number=self._first_round)
            # Not at the sanity check, whose few rows say little.
            for line in self._collector.doubts_of_rows(probe_set):
                self._doubt(line)
            if self._saved:
                now = {"fingerprint": probe_set.fingerprint, "settings": self._describe()}
                if rounds := rounds_that_go_on(self._saved, now):
                    self._book.resume(rounds, probe_set.probes)
        return self._book

    def _prove(
        self, live: LiveModel, probe_set: ProbeSet, explanations: Sequence[Explanation]
    ) -> None:
        """Compare what is explained with what the validation predicted for the same rows.

        Raises:
            AttributionError: If they differ; it names a row and both predictions.
        """
        probes = self._explaining.see(probe_set.probes)
        found = find_disagreements(probes, explanations, tolerance=live.tolerance)
        self._agreement = share_agreed(probes, found)
        if found:
            raise disagreement(found, probes)

    def drain(self, on_verdict: Callable[[int], object] | None = None) -> list[Round]:
        """Wait for the rounds that are still open; their figures are logged by then.

        Args:
            on_verdict: Told how many of this rank's verdicts came in, as they do.
        """
        return self._publish(self._book.drain(on_verdict)) if self._book else []

    def look_for_shortcuts(
        self, live: LiveModel, closed: Round | None, training: TrainingPictures
    ) -> None:
        """Look for shortcuts in a closed round, if that was asked for; on every rank alike."""
        if self._settings.find_shortcuts and closed is not None and self._probe_set is not None:
            live = replace(live, network=self._probe_set.network)
            find = partial(training.find, changes=self._collector.questions.changes)
            self._shortcutting.look(live, closed, self._explaining, self._isolation, find)

    def take_up(self) -> None:
        """Open again what was open in the checkpoint of a fit that has nothing left to do."""
        if self._book is None and self._saved.get("rounds", {}).get("open"):
            self._book = self._make_book(lag=0, number=self._first_round)
            told = {"judge": self._judge.name, "threshold": self._settings.threshold}
            self._book.resume(rounds_that_go_on(self._saved, {**self._saved, "settings": told}), ())

    def conclude(self) -> None:
        """Write what is judged by now, and the report: the run ends here, in an error maybe."""
        if self._book is not None:
            # What closes here is open in the state, where it is looked at again.
            self._controls_then = self._controlling.state_dict()
            with self._faults.passed_over("Closing the rounds", "so open ones are missing"):
                self._publish(self._book.conclude(), is_told=False)
        self.finish()

    def finish(self) -> None:
        """Write the report, print the summary, hand the report to the loggers: on rank 0."""
        self.is_finished = True
        self._publisher.finish()

    def close(self) -> None:
        """End the threads of judge and writer. Safe to call twice."""
        self._worker.close()
        self._publisher.close()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run goes on from: plain values and tensors, alike on all ranks."""
        if self._book is None or self._probe_set is None:
            return self._saved
        self._publisher.settle()  # a closed round is no more in the state: it is on the disk
        return {
            "fingerprint": self._probe_set.fingerprint,
            "settings": self._describe(),
            "rounds": self._book.state_dict(with_pictures=self._is_last()),
            "controls": self._controls_then or self._controlling.state_dict(),
        }

    def _explain_probes(self, live: LiveModel) -> tuple[ProbeSet, Explained]:
        probe_set = self._choose_probes(live)
        return probe_set, self._explain_together(live, probe_set)

    def _explain_and_check(self, live: LiveModel) -> tuple[ProbeSet, Explained]:
        probe_set, explained = self._explain_probes(live)
        if self._ranks.rank == 0:
            live = replace(live, network=probe_set.network)
            with self._faults.passed_over("The check of the maps", "so nothing is known of them"):
                self._explaining.look_at_maps(live, explained.explanations, self.next_round)
        return probe_set, explained

    def _explain_together(self, live: LiveModel, probe_set: ProbeSet) -> Explained:
        """Explain this rank's share of the probes, and return what all ranks explained."""
        live = replace(live, network=probe_set.network)
        own = self._ranks.share(probe_set.probes)
        found: Sequence[Explanation] = ()
        failure = ""
        explain = partial(
            self._explaining.explain,
            live,
            probe_set,
            own,
            before=self._saved.get("settings", {}),
            names_line=self._collector.names_line,
        )
        with self._ranks.together():
            if self.is_rehearsed:
                with self._faults.passed_over(
                    "Explaining the probes", "so this round has no judged samples"
                ):
                    found = explain()
                failure = self._faults.last
            else:
                found = explain()
        shares = self._ranks.gather(Explained.share(found, own, failure))
        return Explained.join(shares, probe_set.probes)

    def _choose_probes(self, live: LiveModel) -> ProbeSet:
        """Return the probe set, chosen by all ranks together among the rows that they saw."""
        if self._probe_set is None:
            with self._ranks.together():
                mine = self._collector.tell(live)
            told = self._ranks.gather(mine)
            with self._ranks.together():
                own = self._collector.choose(told)
            self._probe_set = self._collector.gather(self._ranks.gather(own))
            if self._collector.choice and not self.is_rehearsed:
                rank_zero_info(self._collector.choice)
            for line in self._collector.doubts(self._probe_set):
                self._doubt(line)
        return self._probe_set

    def _describe(self) -> dict[str, Any]:
        """Return what the figures depend on beside the model, in plain values."""
        return {
            "judge": self._judge.name,
            "threshold": self._settings.threshold,
            **self._explaining.describe(),
        }

    def _make_book(self, *, lag: int, number: int, loading_s: float = 0.0) -> RoundBook:
        return RoundBook(
            self._worker,
            lag=lag,
            deadline_s=self._settings.deadline_s + loading_s,
            threshold=self._settings.threshold,
            watch_classes=self._settings.watch_classes,
            ranks=self._ranks,
            fingerprint=self._probe_set.fingerprint
            if self._probe_set
            else self._saved.get("fingerprint", ""),
            number=number,
            is_over=self._is_over,
            judged_share=self._settings.judged_share,
            seed=self._settings.seed,
            # The rehearsal has none.
            draw_controls=(lambda *_: []) if number < 0 else self._controlling.draw,
        )

    def _publish(self, rounds: list[Round], *, is_told: bool = True) -> list[Round]:
        """Hand closed rounds, and what came in late, to the sinks of rank 0."""
        rounds = [self._controlling.look(closed) for closed in rounds]
        for closed in rounds:
            self._publisher.write(closed)
            self._shortcutting.hear(closed)
            if is_told:
                self._report(closed)
        self._publisher.write_late(self._book.take_late() if self._book else [])
        return rounds

    def _report(self, closed: Round) -> None:
        """Tell of a round's failures: once, not on every rank; what is raised is, on all."""
        if self._ranks.rank == 0 or self._failures.raises:
            self._failures.report([sample.verdict for sample in closed.samples])

    def _describe_run(self) -> dict[str, Any]:
        """Return how the run was made, for its folder and loggers."""
        settings = {
            "model": self._model_name,
            **self._settings.pace,
            "watch_classes": list(self._settings.watch_classes),
            **self._settings.extras,
            **(self._probe_set.describe() if self._probe_set else {}),
            "agreement": self._agreement,
            "doubts": self._explaining.doubts,
            **({"map_health": health.describe()} if (health := self._explaining.health) else {}),
            **self._describe(),
        }
        if self._probe_set is None:  # nothing was explained: they are the checkpoint's
            settings = read_settings(self.run_dir) | self._saved["settings"]
        return settings

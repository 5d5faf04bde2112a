"""What a run folder comes to, in the sentences that its run told, and where each is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..records import Quadrant, Round
from ..rounds import Answer, Finding, Interval, Outcome, Outcomes, find
from ..trust import mask_agreement, say_partly
from .figures import count_round, estimate_low
from .run import Run, RunRound
from .shortcuts import find_shortcut_lines
from .text import one_line


def outcomes_of(of: RunRound, *, is_audit: bool = False, threshold: float = 2.5) -> Outcomes:
    """Return a round of a folder as findings see it."""
    figures = count_round(of, threshold)
    rate, ends = figures.rate(Quadrant.CORRECT_LOW), figures.interval(Quadrant.CORRECT_LOW)
    if not figures.judged:  # there are no labels
        rate, ends = figures.low_rate, figures.low
    return Outcomes(
        stage=of.stage,
        number=of.number,
        epoch=of.epoch,
        fingerprint=of.fingerprint,
        samples=tuple(
            Outcome(
                s.place,
                s.label_name,
                s.is_correct,
                s.quadrant,
                s.reason,
                is_partly=bool(s.partly),
                is_high=None if s.score is None else s.score >= threshold,
            )
            for s in of.samples
        ),
        is_audit=is_audit,
        low=None if figures.answered is None or rate is None or ends is None else (rate, ends),
        kept=figures.kept,
        is_out=figures.kept > 0 and not figures.coverage,
    )


def outcomes_of_closed(closed: Round) -> Outcomes:
    """Return a round that was just closed as findings see it."""
    samples = []
    for sample in closed.samples:
        e, reason = sample.explanation, sample.verdict.reason
        is_partly = False
        if (
            sample.quadrant is Quadrant.CORRECT_LOW
            and e.reference_mask is not None
            and e.reference_mask.any()
        ):
            is_partly = bool(say_partly(mask_agreement(e.mask, e.reference_mask)))
        samples.append(
            Outcome(
                (e.probe_index, e.part),
                e.label_name,
                e.is_correct,
                sample.quadrant,
                reason.value if reason else "",
                is_partly=is_partly,
                is_high=None
                if (score := sample.verdict.score) is None
                else score >= sample.threshold,
            )
        )
    kept = sum(sample.verdict.is_reused for sample in closed.samples)
    return Outcomes(
        stage=closed.stage,
        number=closed.number,
        epoch=closed.epoch,
        fingerprint=closed.fingerprint,
        samples=tuple(samples),
        low=_estimated_low(closed),
        kept=kept,
        is_out=kept > 0 and not closed.metrics.get("coverage"),
    )


def _estimated_low(closed: Round) -> tuple[float, Interval] | None:
    name, metrics = "correct_low_rate", closed.metrics
    if all(sample.inclusion >= 1 for sample in closed.samples):
        return None
    if name not in metrics:
        answers = [Answer.of(sample) for sample in closed.samples]
        _, low, ends = estimate_low(answers, closed.samples[0].threshold)
        return None if low is None or ends is None else (low, ends)
    return metrics[name], Interval(metrics[f"{name}_lower"], metrics[f"{name}_upper"])


def find_in_run(run: Run, stage: str | None = None) -> list[Finding]:
    """Return what a run's rounds of a stage come to; of the curve's if None."""
    rounds = run.curve if stage is None else [of for of in run.rounds if of.stage == stage]
    return find(
        outcomes_of(of, is_audit=run.is_audit, threshold=run.threshold)
        for of in rounds
        if of.samples or not of.metrics["judged"]
    )


def say_gates(run: Run) -> list[str]:
    """Return when a gate fired, and why."""
    return [one_line(text, 600) for of in run.gates if isinstance(text := of.get("text"), str)]


def describe_findings(run: Run) -> list[dict[str, Any]]:
    """Return the sentences as a page's scripts read them, with the gallery that shows each."""
    stage = run.curve[-1].stage if run.curve else ""
    found = find_shortcut_lines(run)
    for of in find_in_run(run):
        shown: dict[str, str] = {}
        if of.number is not None:
            shown = {"round": f"{stage}-{of.number}", "quadrant": Quadrant.CORRECT_LOW.value}
        if of.label is not None:
            shown["class"] = of.label
        found.append({"text": one_line(of.text, 600), "alarm": of.is_alarm, "shown": shown})
    found += [{"text": text, "alarm": True, "shown": {}} for text in say_gates(run)]
    return found


class History:
    """The rounds of a run so far, of which each new one is told.

    Args:
        earlier: Of the run's folder, where a run is resumed.
        threshold: Of theirs: High from this score on.
    """

    def __init__(self, earlier: Sequence[RunRound] = (), threshold: float = 2.5) -> None:
        self._rounds: dict[tuple[str, int], Outcomes] = {}
        for of in earlier:
            self._rounds[of.stage, of.number] = outcomes_of(of, threshold=threshold)

    def tell(self, closed: Round) -> tuple[str, ...]:
        """Take a closed round in and return what the run comes to by it.

        Rounds of a higher number are of a run before it was resumed, and are forgotten.
        """
        now = outcomes_of_closed(closed)
        for stage, number in list(self._rounds):
            if stage == now.stage and number >= now.number:
                del self._rounds[stage, number]
        self._rounds[now.stage, now.number] = now
        own = sorted((of for of in self._rounds.values() if of.stage == now.stage), key=_number)
        return tuple(finding.text for finding in find(own))


def _number(of: Outcomes) -> int:
    return of.number

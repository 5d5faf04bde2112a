"""A judge asked about controls: what it answered, how fast, for how much, and what ails it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..judges import Judge, JudgeWorker, describe_failures
from ..records import Control, JudgedControl, Verdict
from .control_figures import ControlFigures, Outcome, area_under, control_figures, outcomes_of

MIN_ANSWERED = 0.8
"""Share of questions that have to be answered for a judge to pass."""
_FOLLOWS = 0.9
"""Rank correlation with the visible share from which a judge's scores are taken to follow it."""
_LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What a judge answered to controls.

    Args:
        judged: In the order of asking.
        figures: Over them.
        threshold: High means `score >= threshold`.
        setup_fault: Why nothing more was asked after the first; empty if all was.
    """

    judged: tuple[JudgedControl, ...]
    figures: ControlFigures
    threshold: float
    setup_fault: str = ""

    @property
    def verdicts(self) -> list[Verdict]:
        """All answers, and why there is none."""
        return [one.verdict for one in self.judged]

    def latency_s(self, share: float) -> float | None:
        """Return the nearest-rank quantile of the answers' latencies, in seconds."""
        times = sorted(v.latency_s for v in self.verdicts if v.score is not None)
        return times[max(0, math.ceil(share * len(times)) - 1)] if times else None


def examine(
    judge: Judge,
    controls: Sequence[Control],
    *,
    repeats: int = 2,
    threshold: float = 2.5,
    on_verdict: Callable[[int], object] | None = None,
) -> Examination:
    """Ask a judge about controls, and return what it answered.

    The first question is asked alone: what is wrong with the set-up is found with one call.

    Args:
        judge: To ask. Its answers must not come from a cache.
        controls: At least one.
        repeats: How often it is asked about each.
        threshold: High means `score >= threshold`.
        on_verdict: Told how many verdicts came in, as they do.

    Raises:
        ConfigurationError: If the judge's environment lacks something.
    """
    judge.check()
    asked = list(controls) * repeats
    worker = JudgeWorker(judge)
    fault = ""
    try:
        verdicts = worker.submit([asked[0].request]).collect(_LONGEST_S, on_verdict)
        reason = verdicts[0].reason
        if reason is not None and reason.is_setup_fault:
            fault = " ".join(describe_failures(verdicts).values())
            asked = asked[:1]
        rest = worker.submit([control.request for control in asked[1:]])
        verdicts += rest.collect(_LONGEST_S, on_verdict)
    finally:
        worker.close()
    judged = tuple(
        JudgedControl(control=c, verdict=v) for c, v in zip(asked, verdicts, strict=True)
    )
    figures = control_figures(outcomes_of(judged), threshold=threshold)
    return Examination(judged=judged, figures=figures, threshold=threshold, setup_fault=fault)


def find_faults(found: Examination, *, min_auc: float = 0.75) -> list[str]:
    """Return what keeps a judge from being believed, in sentences; none if it passes.

    Args:
        found: Its answers.
        min_auc: What the lower end of its AUC has to reach, in [0, 1].
    """
    figures, faults = found.figures, list[str]()
    if found.setup_fault:
        return [found.setup_fault]
    if figures.answered < MIN_ANSWERED * figures.asked:
        why = " ".join(describe_failures(found.verdicts).values())
        faults.append(
            f"It answered {figures.answered} of {figures.asked} questions "
            f"({_unanswered_by_kind(found)}). {why}"
        )
    area = figures.auc
    if area is None:
        return [*faults, "Without answers to good and to bad controls it can't be tested."]
    failed = [
        kind
        for kind, own in figures.areas.items()
        if own.interval.upper < min_auc and len(figures.areas) > 1
    ]
    if area.interval.lower >= min_auc and not failed:
        return faults
    causes = _causes(found, min_auc)
    if failed and not causes:
        causes = [f"It does not tell these from good ones: {', '.join(failed)}."]
    faults += causes
    if area.interval.lower < min_auc:
        faults.append(
            f"The AUC's lower end is {area.interval.lower:.2f}, below {min_auc:g}"
            + (
                ": more controls may show that it is good enough."
                if area.value >= min_auc + 0.05 and not causes
                else "."
            )
        )
    return faults


def _causes(found: Examination, min_auc: float) -> list[str]:
    """Return why good and bad controls are not told apart, the plainest first."""
    outcomes = outcomes_of(found.judged)
    answered = [
        (control, outcome)
        for control, outcome in zip(_distinct(found.judged), outcomes, strict=True)
        if outcome.scores
    ]
    scores = {score for _, outcome in answered for score in outcome.scores}
    if len(scores) == 1:
        return [f"It gave every picture the score {scores.pop():g}. {_BLIND}"]
    if _goes_by_label(answered):
        return [f"Pictures of one name got one score, whatever they show. {_BLIND}"]
    area = found.figures.auc
    if area is not None and area.interval.upper < 0.5:
        return [_INVERTED]
    causes = []
    correlation = _rank_correlation(
        [float(np.mean(outcome.scores)) for _, outcome in answered],
        [float(control.request.mask.mean()) for control, _ in answered],
    )
    if correlation > _FOLLOWS:
        causes.append(
            f"Its score follows how much is visible (rank correlation {correlation:.2f}), not what."
        )
    good = [outcome for _, outcome in answered if outcome.is_good]
    beside = [o for _, o in answered if o.kind in ("elsewhere", "shuffled")]
    missed = area_under(good, beside)
    is_blind = missed is not None and missed.interval.lower < 0.5
    if missed is not None and is_blind and not causes:
        low, high = missed.interval
        causes.append(
            "It tells kept objects from kept ground no better than by chance (AUC "
            f"{missed.value:.2f} [{low:.2f}, {high:.2f}]), as if it did not see the picture. Does "
            "the model take pictures, and does the server pass them on?"
        )
    named, right = (of.get("other label") for of in (found.figures.areas, found.figures.kinds))
    is_named_alike = named is not None and named.interval.upper < min_auc
    if causes or is_blind:
        return causes
    if is_named_alike or (right is not None and right.interval.upper < 0.5):
        causes.append(
            "It does not heed the name: an object under a wrong one scores High as under its own."
        )
    return causes


_BLIND = (
    "It does not look at them: a text-only model, or a server that drops pictures. Name a model "
    "with vision, and look at the server's log."
)

_INVERTED = (
    "It scores the wrong way round: bad controls above good ones. Read some evaluations: is 0 its "
    "best score, or does it rate what is hidden?"
)


def _goes_by_label(answered: Sequence[tuple[Control, Outcome]]) -> bool:
    """Return whether all pictures of one name have one score, and some name has several."""
    of_label: defaultdict[str, list[tuple[float, ...]]] = defaultdict(list)
    for control, outcome in answered:
        of_label[control.request.label_name].append(outcome.scores)
    several = [scores for scores in of_label.values() if len(scores) > 1]
    return bool(several) and all(len({s for one in scores for s in one}) == 1 for scores in several)


def _distinct(judged: Sequence[JudgedControl]) -> list[Control]:
    return list({id(one.control): one.control for one in judged}.values())


def _unanswered_by_kind(found: Examination) -> str:
    missing = Counter(one.control.kind for one in found.judged if one.verdict.score is None)
    asked = Counter(one.control.kind for one in found.judged)
    told = [f"of {kind} {asked[kind] - n} of {asked[kind]}" for kind, n in sorted(missing.items())]
    return ", ".join(told)


def _rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's correlation; 0 where either doesn't vary."""
    a, b = _ranks(one), _ranks(other)
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Return mean ranks less their mean."""
    array = np.asarray(values, dtype=np.float64)
    below = (array[None, :] < array[:, None]).sum(axis=1)
    equal = (array[None, :] == array[:, None]).sum(axis=1)
    ranks: NDArray[np.float64] = below + (equal - 1) / 2
    ranks -= ranks.mean()
    return ranks

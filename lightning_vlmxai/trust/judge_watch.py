"""A judge's controls over the rounds of a run: pooled figures, and whether it fell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import JudgedControl
from ..rounds import Interval
from .control_figures import ControlFigures, Outcome, control_figures

JUDGE_METRICS = (
    *(
        f"judge/{name}{end}"
        for name in ("auc", "sensitivity", "specificity")
        for end in ("", "_lower", "_upper")
    ),
    *("judge/answered", "judge/calls", "judge/cost", "judge/alarm"),
)
"""Names of the figures that a run with controls has."""

POOLED = 5
"""How many of the last rounds a figure is over."""
FIRST = 5
"""How many of the first rounds say what a judge was like."""
LEAST_FIRST = 2

FALSE_ALARMS = 0.007
"""Chance of an alarm in a run of any length, at most, whose judge stays what it is."""
_SHARES = (("area", 2, 0.4), ("area", 4, 0.1), ("ties", 2, 0.45), ("one score", 2, 0.05))
"""Of that chance: what is looked at, over how many last rounds, and its share."""
_SPENT_SLOWLY = 8
_WEAK, _LEAST_KNOWN = 0.75, 16
"""A judge is weak whose area is surely below this, by so many controls at least."""
_TENTHS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRound:
    """What is kept of a round's controls: plain values.

    Args:
        number: `Round.number`.
        good: Scores of the good controls.
        bad: Scores of the bad ones.
        pairs: Number of pairs, good and bad, of one picture under one name, with both scores.
        ties: Number of those whose two scores are the same.
    """

    number: int
    good: tuple[float, ...]
    bad: tuple[float, ...]
    pairs: int = 0
    ties: int = 0

    @classmethod
    def of(cls, number: int, controls: Sequence[JudgedControl]) -> ControlRound:
        """Return what is kept of judged controls."""
        scored = [(c.control, c.verdict.score) for c in controls if c.verdict.score is not None]
        beside = {
            (control.request.probe_index, control.request.label_name): score
            for control, score in scored
            if control.is_good
        }
        ties = [
            beside[key] == score
            for control, score in scored
            if not control.is_good
            and (key := (control.request.probe_index, control.request.label_name)) in beside
        ]
        return cls(
            number=number,
            good=tuple(score for control, score in scored if control.is_good),
            bad=tuple(score for control, score in scored if not control.is_good),
            pairs=len(ties),
            ties=sum(ties),
        )


class JudgeWatch:
    """Keeps the controls of a run's rounds, and tells when the judge falls below its beginning.

    An alarm is an exact test: if the judge stays what it is, the answers of the last rounds and of
    the first ones could as well have been exchanged. It asks how many exchanges would let the last
    2 (or 4) rounds look so bad: good scores so low and bad ones so high, so many pictures of one
    name with one score, as of a judge that looks no more, or one score so often for good and bad
    alike. Its level falls from round to round, so that all rounds of a run together, however long,
    have `FALSE_ALARMS`.

    Args:
        threshold: High means `score >= threshold`.

    Source: exchanges as in Fisher, 1935, "The Design of Experiments"; levels by Bonferroni's bound
        over a series that sums up. Why so: docs/decisions/053.
    """

    def __init__(self, threshold: float = 2.5) -> None:
        self._threshold = threshold
        self._rounds: list[ControlRound] = []
        self._tests = 0
        self.is_fallen = self._is_weak = False

    def look(self, number: int, controls: Sequence[JudgedControl]) -> tuple[dict[str, float], str]:
        """Return a round's figures of the judge, and what to warn of; empty if nothing.

        Args:
            number: Of the round. One that was seen before, as in a resumed run, is replaced.
            controls: That were judged with it; without any there is no figure.
        """
        if not controls:
            return {}, ""
        usages = [one.verdict.usage for one in controls]
        costs = [usage.cost_usd for usage in usages if usage.cost_usd is not None]
        metrics = {
            "judge/answered": sum(c.verdict.score is not None for c in controls) / len(controls),
            "judge/calls": float(sum(usage.calls for usage in usages)),
        }
        if len(costs) == len(usages):
            metrics["judge/cost"] = math.fsum(costs)
        told = self.take(ControlRound.of(number, controls))
        return metrics | self._figures() | {"judge/alarm": float(self.is_fallen)}, told

    def state_dict(self) -> dict[str, Any]:
        """Return all of it in plain values."""
        return {
            "rounds": [
                {**asdict(r), "good": list(r.good), "bad": list(r.bad)} for r in self._rounds
            ],
            "tests": self._tests,
            "is_fallen": self.is_fallen,
            "is_weak": self._is_weak,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the checkpoint left off."""
        self._rounds = [
            ControlRound(**{**told, "good": tuple(told["good"]), "bad": tuple(told["bad"])})
            for told in state["rounds"]
        ]
        self._tests = state["tests"]
        self.is_fallen, self._is_weak = state["is_fallen"], state["is_weak"]

    def take(self, new: ControlRound) -> str:
        """Add a round, test it, and return what to warn of; `is_fallen` says if it has an alarm."""
        if not (new.good and new.bad):  # nothing is known of the judge
            return ""
        before = [kept for kept in self._rounds if kept.number < new.number]
        # What no later test looks at is not kept.
        self._rounds = [*before[:FIRST], *before[FIRST:][-POOLED:], new]
        self._tests += 1
        was, self.is_fallen = self.is_fallen, False
        for what, last, share in _SHARES:
            then, now = times_of(self._rounds, last)
            if len(then) < LEAST_FIRST or len(now) < last:
                continue
            if _P_VALUES[what](then, now) <= share * level_of(self._tests):
                self.is_fallen = True
                return "" if was else self._describe_fall(then, now)
        return self._describe_weakness()

    def _figures(self) -> dict[str, float]:
        """Return the figures over the last rounds by their names."""
        found = _figures_of(self._rounds[-POOLED:], self._threshold)
        metrics: dict[str, float] = {}
        told: list[tuple[str, float, Interval]] = []
        if found.auc is not None:
            told.append(("auc", found.auc.value, found.auc.interval))
        for name, share in (("sensitivity", found.sensitivity), ("specificity", found.specificity)):
            if share is not None:
                told.append((name, share.rate, share.interval))
        for name, value, ends in told:
            metrics[f"judge/{name}"] = value
            metrics[f"judge/{name}_lower"], metrics[f"judge/{name}_upper"] = ends
        return metrics

    def _describe_fall(self, then: Sequence[ControlRound], now: Sequence[ControlRound]) -> str:
        was, is_now = (self._describe(rounds) for rounds in (then, now))
        return (
            f"the judge tells pictures with known answers worse than at first: {is_now}, after "
            f"{was}. Is it another model behind the same name, a quantised copy, or has it lost "
            "its vision? Read controls.jsonl, and ask it again with `vlmxai judge`. Scores since "
            f"round {now[0].number} are in doubt; QuadrantStopping(min_judge_auc=0.75) leaves such "
            "rounds out."
        )

    def _describe_weakness(self) -> str:
        pooled = self._rounds[-POOLED:]
        area = _figures_of(pooled, self._threshold).auc
        if self._is_weak or area is None or area.good + area.bad < _LEAST_KNOWN:
            return ""
        if area.interval.upper >= _WEAK:
            return ""
        self._is_weak = True
        return (
            f"the judge hardly tells pictures with known answers apart: {self._describe(pooled)}. "
            "What it says of the others means little: try another model with `vlmxai judge`."
        )

    def _describe(self, rounds: Sequence[ControlRound]) -> str:
        area = _figures_of(rounds, self._threshold).auc
        first, last = rounds[0].number, rounds[-1].number
        of = f"round {first}" if first == last else f"rounds {first} to {last}"
        if area is None:
            return of
        low, high = area.interval
        return f"AUC {area.value:.2f} [{low:.2f}, {high:.2f}] in {of} ({area.good + area.bad})"


def times_of(
    rounds: Sequence[ControlRound], last: int
) -> tuple[Sequence[ControlRound], Sequence[ControlRound]]:
    """Return the first rounds, none of which is among the last ones, and so many last ones."""
    return rounds[:-last][:FIRST], rounds[-last:]


def round_auc(controls: Sequence[JudgedControl]) -> float | None:
    """Return the AUC of one round's controls; None where too few were answered."""
    area = _figures_of([ControlRound.of(0, controls)], 2.5).auc
    return None if area is None else area.value


def level_of(test: int) -> float:
    """Return the level of a run's n-th test; those of all tests sum up to `FALSE_ALARMS`.

    Args:
        test: From 1 on.

    Example:
        >>> round(sum(level_of(test) for test in range(1, 100_000)), 4) == FALSE_ALARMS
        True
    """
    slow = _SPENT_SLOWLY
    return FALSE_ALARMS * slow / ((test + slow - 1) * (test + slow))


def area_p_value(then: Sequence[ControlRound], now: Sequence[ControlRound]) -> float:
    """Return the share of exchanges between two times in which the later one looks as bad.

    How bad it looks is the sum of its good scores less that of its bad ones, to a tenth. Good ones
    are exchanged with good ones, bad with bad.
    """
    good, bad = (
        [[_tenths(score) for r in rounds for score in getattr(r, name)] for rounds in (then, now)]
        for name in ("good", "bad")
    )
    # Most judges score in halves or whole numbers: in these there are fewer sums.
    unit = math.gcd(*good[0], *good[1], *bad[0], *bad[1]) or 1
    good, bad = ([[score // unit for score in scores] for scores in of] for of in (good, bad))
    seen = sum(good[1]) - sum(bad[1])
    of_good, of_bad = (_sums(before + after, len(after)) for before, after in (good, bad))
    below = of_good.cumsum()
    places = np.clip(seen + np.arange(len(of_bad)), -1, len(below) - 1)
    return float(of_bad @ np.where(places < 0, 0.0, below[places]))


def ties_p_value(then: Sequence[ControlRound], now: Sequence[ControlRound]) -> float:
    """Return the share of exchanges of pairs in which the later time has as many ties.

    A pair is a good and a bad control of one picture under one name: Fisher's exact test.
    """
    pairs, ties = sum(r.pairs for r in now), sum(r.ties for r in now)
    every, tied = pairs + sum(r.pairs for r in then), ties + sum(r.ties for r in then)
    return _tail(every, tied, pairs, ties)


def one_score_p_value(then: Sequence[ControlRound], now: Sequence[ControlRound]) -> float:
    """Return the share of exchanges in which the later time gives good and bad one score so often.

    How often is the least of its numbers among good and bad controls: a judge that has become
    surer, with one score for all good ones, is none that fell. For any score of those that were
    seen: the share of the likeliest one times their number, at most 1.
    """
    good, bad = (
        [[_tenths(score) for r in rounds for score in getattr(r, name)] for rounds in (then, now)]
        for name in ("good", "bad")
    )
    scores = {*good[0], *good[1], *bad[0], *bad[1]}
    shares = [
        math.prod(
            _tail(len(before + after), (before + after).count(score), len(after), often)
            for before, after in (good, bad)
        )
        for score in scores
        if (often := min(good[1].count(score), bad[1].count(score)))
    ]
    return min(1.0, len(scores) * min(shares, default=1.0))


_P_VALUES = {"area": area_p_value, "ties": ties_p_value, "one score": one_score_p_value}


def _tail(every: int, marked: int, drawn: int, least: int) -> float:
    """Return the chance of at least so many marked ones among those drawn (hypergeometric)."""
    ways = sum(
        math.comb(marked, k) * math.comb(every - marked, drawn - k)
        for k in range(least, min(marked, drawn) + 1)
    )
    return ways / math.comb(every, drawn)


def _figures_of(rounds: Sequence[ControlRound], threshold: float) -> ControlFigures:
    good = [Outcome(kind="object", scores=(s,)) for r in rounds for s in r.good]
    bad = [Outcome(kind="elsewhere", scores=(s,)) for r in rounds for s in r.bad]
    return control_figures([*good, *bad], threshold=threshold)


def _tenths(score: float) -> int:
    return round(_TENTHS * score)


def _sums(values: Sequence[int], size: int) -> NDArray[np.float64]:
    """Return how likely each sum of so many values is, drawn without putting back."""
    ways = np.zeros((size + 1, size * max(values, default=0) + 1))
    ways[0, 0] = 1.0
    for value in values:
        ways[1:, value:] += ways[:-1, : ways.shape[1] - value]
    chances: NDArray[np.float64] = ways[size] / math.comb(len(values), size)
    return chances

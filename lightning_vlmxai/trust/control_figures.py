"""How well a judge tells good controls from bad ones. Pure functions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..records import Control, ControlKind, JudgedControl
from ..rounds import Interval, wilson_interval

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a control.

    Args:
        kind: `Control.kind`.
        scores: In [0, 5], one for each time that it was asked and answered; none is made up for
            an answer that is missing.
        asked: How often it was asked.
    """

    kind: ControlKind
    scores: tuple[float, ...]
    asked: int = 1

    @property
    def is_good(self) -> bool:
        """Whether the right answer is High."""
        return self.kind in ("object", "whole")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of controls with its 95 % Wilson interval.

    Args:
        right: Number of controls that were answered rightly; of one that was asked several times,
            the share of its answers.
        of: Number of controls with an answer.
        interval: For that number of controls: asking again makes no further one.
    """

    right: float
    of: int
    interval: Interval

    @property
    def rate(self) -> float:
        """The share, in [0, 1]."""
        return self.right / self.of


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """The area under the ROC curve of good against bad controls, with its 95 % interval."""

    value: float
    interval: Interval
    good: int
    bad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlFigures:
    """A judge's figures over controls. What has no denominator is None, neither 0 nor NaN.

    Args:
        auc: Of good against bad controls.
        sensitivity: Share of the good ones that are High.
        specificity: Share of the bad ones that are Low.
        kinds: By kind, the share that is answered rightly.
        areas: By bad kind, the area of the good ones against it.
        asked: Number of questions.
        answered: Number of those with a score.
        spread: Mean difference between the largest and the smallest score of a control that was
            answered several times, in [0, 5].
    """

    auc: Area | None
    sensitivity: Share | None
    specificity: Share | None
    kinds: dict[ControlKind, Share]
    areas: dict[ControlKind, Area]
    asked: int
    answered: int
    spread: float | None


def outcomes_of(judged: Sequence[JudgedControl]) -> list[Outcome]:
    """Return an outcome for each control, however often it was asked."""
    controls: dict[int, Control] = {}
    scores: defaultdict[int, list[float | None]] = defaultdict(list)
    for one in judged:
        controls[id(one.control)] = one.control
        scores[id(one.control)].append(one.verdict.score)
    return [
        Outcome(
            kind=control.kind,
            scores=tuple(score for score in scores[key] if score is not None),
            asked=len(scores[key]),
        )
        for key, control in controls.items()
    ]


def control_figures(outcomes: Sequence[Outcome], *, threshold: float = 2.5) -> ControlFigures:
    """Return a judge's figures over controls.

    Args:
        outcomes: One for each control.
        threshold: High means `score >= threshold`.

    Example:
        >>> good, bad = Outcome(kind="object", scores=(4.0, 5.0)), [(1.0,), (3.0,), ()]
        >>> figures = control_figures([good, *(Outcome(kind="shuffled", scores=s) for s in bad)])
        >>> figures.auc.value, figures.specificity.rate, figures.answered, figures.asked
        (1.0, 0.5, 4, 4)
    """
    told = [one for one in outcomes if one.scores]
    good, bad = [o for o in told if o.is_good], [o for o in told if not o.is_good]
    kinds = sorted({o.kind for o in told})
    of_kind = {kind: [o for o in told if o.kind == kind] for kind in kinds}
    areas = {kind: area_under(good, own) for kind, own in of_kind.items() if not own[0].is_good}
    spreads = [max(o.scores) - min(o.scores) for o in told if len(o.scores) > 1]
    return ControlFigures(
        auc=area_under(good, bad),
        sensitivity=_share(good, threshold),
        specificity=_share(bad, threshold),
        kinds={k: share for k, own in of_kind.items() if (share := _share(own, threshold))},
        areas={kind: area for kind, area in areas.items() if area is not None},
        asked=sum(o.asked for o in outcomes),
        answered=sum(len(o.scores) for o in outcomes),
        spread=math.fsum(spreads) / len(spreads) if spreads else None,
    )


def area_under(good: Sequence[Outcome], bad: Sequence[Outcome]) -> Area | None:
    """Return the area under the ROC curve: the chance that a good control scores above a bad one.

    A tie counts half. Of a control with several answers each counts for its share, and it remains
    one control in the interval.

    Args:
        good: With a score each.
        bad: Likewise.

    Returns:
        None where either is empty.

    Source: Mann and Whitney, 1947; the interval is Newcombe, 2006, "Confidence intervals for an
        effect size measure based on the Mann-Whitney statistic", part 2, method 5: the values whose
        own standard error (Hanley and McNeil, 1982, with equal sizes) reaches the area. It has a
        width where all good controls are above all bad ones.
    """
    if not good or not bad:
        return None
    high, low = (np.concatenate([one.scores for one in of]) for of in (good, bad))
    heavy, light = (
        np.concatenate([np.full(len(one.scores), 1 / len(one.scores)) for one in of])
        for of in (good, bad)
    )
    above = np.sign(high[:, None] - low[None, :]) / 2 + 0.5
    value = float(heavy @ above @ light) / (len(good) * len(bad))
    value = min(max(value, 0.0), 1.0)
    interval = area_interval(value, len(good), len(bad))
    return Area(value=value, interval=interval, good=len(good), bad=len(bad))


def area_variance(area: float, good: int, bad: int) -> float:
    """Return the variance of an area under the ROC curve that is so large.

    Example:
        >>> round(area_variance(0.9, 20, 20) ** 0.5, 3)
        0.051

    Source: see `area_under`.
    """
    more = (good + bad) / 2 - 1
    own = 1 + more * (1 - area) / (2 - area) + more * area / (1 + area)
    return area * (1 - area) * own / (good * bad)


def area_interval(area: float, good: int, bad: int, *, z: float = _Z95) -> Interval:
    """Return the interval of an area under the ROC curve (95 % by default).

    Example:
        >>> lower, upper = area_interval(1.0, 20, 20)
        >>> round(lower, 2), upper
        (0.9, 1.0)

    Source: see `area_under`.
    """

    def reaches(end: float) -> bool:
        return (area - end) ** 2 <= z * z * area_variance(end, good, bad)

    return Interval(_edge(reaches, area, 0.0), _edge(reaches, area, 1.0))


def _edge(holds: Callable[[float], bool], inside: float, outside: float) -> float:
    """Return where something that holds inside begins to fail on the way outside."""
    if inside == outside:
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside


def _share(outcomes: Sequence[Outcome], threshold: float) -> Share | None:
    if not outcomes:
        return None
    right = math.fsum(
        sum((score >= threshold) == one.is_good for score in one.scores) / len(one.scores)
        for one in outcomes
    )
    interval = wilson_interval(right, len(outcomes))
    return Share(right=right, of=len(outcomes), interval=interval)

"""Rates that a judge made, corrected by people who rated a random sample. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError, expected
from ..rounds import Interval, wilson_interval

_FEW = 5
"""With fewer probes in the rarer class the people's own interval stands: variances say little."""
_UNSEEN = 0.5
"""How many disagreements of judge and people more than were seen are reckoned with."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedRate:
    """The rate of Low by the judge, corrected, and by people alone, each with its 95 % interval.

    Args:
        judge: Share of the probes that the judge calls Low, in [0, 1].
        judge_interval: Wilson's interval of it. It knows nothing of the judge's errors.
        corrected: The rate by both, in [0, 1].
        interval: Of `corrected`.
        people: The rate by the ratings alone, weighted.
        people_interval: Wilson's interval of it, for the effective number of ratings.
        rated: Number of probes that people rated.
        probes: Number of probes.
        power: PPI++'s lambda in [0, 1]: what the judge counts. At 0 people alone make the rate.
        is_widened: Whether `interval` is the people's, as few probes are in the rarer class.
        influences: How far each probe moves `corrected`, by its name; empty where probes have none.
    """

    judge: float
    judge_interval: Interval
    corrected: float
    interval: Interval
    people: float
    people_interval: Interval
    rated: int
    probes: int
    power: float
    is_widened: bool
    influences: Mapping[Hashable, float] = field(repr=False)

    def __str__(self) -> str:
        """Return the three rates side by side, in percent."""
        people = "person's rating" if self.rated == 1 else "people's ratings"
        why = "; few in the rarer class: the people's interval" if self.is_widened else ""
        return (
            f"judge {_percent(self.judge, self.judge_interval)}, "
            f"corrected {_percent(self.corrected, self.interval)} "
            f"({self.rated} {people} on {self.probes} probes, lambda {self.power:.2f}{why}), "
            f"people alone {_percent(self.people, self.people_interval)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedDifference:
    """What a corrected rate has more than another on the same probes.

    Args:
        difference: Second minus first, in [-1, 1].
        interval: Its 95 % interval; where 0 lies outside, the two differ.
        shared: Number of probes that are in both.
    """

    difference: float
    interval: Interval
    shared: int


def corrected_rate(
    judge_low: Sequence[bool] | _Floats,
    human_low: Sequence[bool | float | None] | _Floats,
    *,
    weights: Sequence[float] | _Floats | None = None,
    probes: Sequence[Hashable] | None = None,
) -> CorrectedRate:
    """Return a rate of Low, corrected by the ratings of a random sample of the same verdicts.

    For Low given correct, pass the correct ones: correctness is known and needs no correction.

    Args:
        judge_low: Whether the judge says Low, `[N]`, for all judged verdicts.
        human_low: Whether people do, `[N]`: a bool, or of several raters the share in [0, 1];
            None or NaN where nobody rated. They must rate what this judge judged: ratings of
            another round's masked pictures correct that round.
        weights: One over each verdict's chance of being rated, `[N]`, up to a common factor; read
            where someone rated. None: all had the same chance. The chance may depend on the
            judge's verdict, but must be above 0 for all.
        probes: Whose verdict each is, `[N]`. A probe with several verdicts counts as one, with
            their mean, in the rate, its interval and the number of ratings.

    Raises:
        ConfigurationError: If lengths differ, nobody rated, or a value is out of its range.

    Example:
        >>> judge = [True] * 30 + [False] * 70
        >>> rated = {3: True, 7: False, 12: False, 40: False, 55: False, 71: False, 90: False}
        >>> print(corrected_rate(judge, [rated.get(probe) for probe in range(100)]))
        judge 30.0 % [21.9, 39.6], corrected 10.0 % [2.6, 51.3] (7 people's ratings on 100 \
probes, lambda 0.34; few in the rarer class: the people's interval), people alone 14.3 % \
[2.6, 51.3]

    Source: PPI++, Angelopoulos, Duchi and Zrnic, 2023, arXiv 2311.01453: the rate is
        `mean(lambda f) + weighted mean(y - lambda f)`, with the judge's `f`, the people's `y` and
        the lambda in [0, 1] of the smallest variance. The sample lies within the judged, so the two
        means are correlated: the variance is the sum of the probes' squared influences
        (linearised, times `n / (n - 1)`), plus half a disagreement of the smallest weight, as few
        seen disagreements say little of their number. The interval is Wilson's for the number of
        ratings that this variance stands for. With fewer than 5 probes in the rarer class it is
        Wilson's of the ratings alone (Kish's effective number), and reaches to the corrected rate.
    """
    f, y, w = _read(judge_low, human_low, weights)
    names, of_probe = _group(probes, len(f))
    is_rated = ~np.isnan(y)
    number = len(names)
    share = 1.0 / (np.bincount(of_probe, minlength=number)[of_probe] * number)
    judge = float(share @ f)

    pull = np.where(is_rated, share * w, 0.0)
    pull /= pull.sum()
    y = np.where(is_rated, y, 0.0)
    people, judge_of_rated = float(pull @ y), float(pull @ f)
    # How the rate moves with each probe: that of people alone, and what a unit of lambda adds.
    alone = np.bincount(of_probe, pull * (y - people), number)
    added = np.bincount(of_probe, share * (f - judge) - pull * (f - judge_of_rated), number)
    pulls = np.bincount(of_probe, pull, number)
    concentration, spread = float(pulls @ pulls), float(added @ added)
    power = 0.0
    if spread > 1e-12 * concentration:
        power = min(max(-float(alone @ added) / spread, 0.0), 1.0)
    corrected = min(max(people + power * (judge - judge_of_rated), 0.0), 1.0)
    influences = alone + power * added

    rated = np.unique(of_probe[is_rated])
    effective = max(1.0 / concentration, 1.0)
    people_interval = wilson_interval(min(people, 1.0) * effective, effective)
    # A probe's share of Low among its own ratings.
    ratings = np.bincount(of_probe, is_rated, number)[rated]
    low = float((np.bincount(of_probe, y, number)[rated] / ratings).sum())
    is_widened = min(low, len(rated) - low) < _FEW or not 0.0 < corrected < 1.0
    if is_widened:
        interval = Interval(
            min(people_interval.lower, corrected), max(people_interval.upper, corrected)
        )
    else:
        unseen = _UNSEEN * float(pulls[rated].min()) ** 2 * (1 - len(rated) / number)
        variance = float(influences @ influences) * len(rated) / (len(rated) - 1) + unseen
        size = max(corrected * (1 - corrected) / variance, 1.0)
        interval = wilson_interval(corrected * size, size)
    return CorrectedRate(
        judge=min(judge, 1.0),
        judge_interval=wilson_interval(min(judge, 1.0) * number, number),
        corrected=corrected,
        interval=interval,
        people=people,
        people_interval=people_interval,
        rated=len(rated),
        probes=number,
        power=power,
        is_widened=is_widened,
        influences={} if probes is None else dict(zip(names, influences.tolist(), strict=True)),
    )


def corrected_difference(first: CorrectedRate, second: CorrectedRate) -> CorrectedDifference:
    """Return the paired difference of two rounds, or of two models, on the same probes.

    A probe may be in one rate only, as where Low is given correct. Ratings of the same probes for
    both make it the sharpest.

    Args:
        first: With names of its probes.
        second: With names of its probes; the same name is the same probe.

    Raises:
        ConfigurationError: If one was made without `probes`, or they share none.

    Source: the interval is by MOVER: Zou and Donner, 2008, "Construction of confidence limits
        about effect measures" (Newcombe's method 10 of 1998, which is the case of two
        proportions), from the two rates' own intervals and the correlation of their influences.
    """
    shared = first.influences.keys() & second.influences.keys()
    if not shared:
        raise ConfigurationError(
            expected(
                "probes",
                "names that both rates share",
                f"{len(first.influences)} and {len(second.influences)} names, none in both",
                "Pass probes=[sample.explanation.probe_index for sample in samples] to both",
            )
        )
    product = math.fsum(first.influences[name] * second.influences[name] for name in shared)
    scale = math.sqrt(_squares(first) * _squares(second))
    correlation = min(max(product / scale, -1.0), 1.0) if scale > 0 else 0.0
    difference = second.corrected - first.corrected
    down, up = _reach(first), _reach(second)
    return CorrectedDifference(
        difference=difference,
        interval=Interval(
            max(difference - _combine(up.lower, down.upper, correlation), -1.0),
            min(difference + _combine(up.upper, down.lower, correlation), 1.0),
        ),
        shared=len(shared),
    )


def _percent(rate: float, interval: Interval) -> str:
    return f"{100 * rate:.1f} % [{100 * interval.lower:.1f}, {100 * interval.upper:.1f}]"


def _squares(rate: CorrectedRate) -> float:
    return math.fsum(value * value for value in rate.influences.values())


def _reach(rate: CorrectedRate) -> Interval:
    """Return how far the ends of the interval are from the rate, both at least 0."""
    return Interval(rate.corrected - rate.interval.lower, rate.interval.upper - rate.corrected)


def _combine(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(one * one + other * other - 2 * correlation * one * other, 0.0))


def _read(
    judge_low: Sequence[bool] | _Floats,
    human_low: Sequence[bool | float | None] | _Floats,
    weights: Sequence[float] | _Floats | None,
) -> tuple[_Floats, _Floats, _Floats]:
    """Return verdicts, ratings (NaN for none) and weights, `[N]` each, after their checks."""
    f, y = np.asarray(judge_low, dtype=np.float64), np.asarray(human_low, dtype=np.float64)
    w = np.ones(f.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if not f.shape == y.shape == w.shape or f.ndim != 1:
        raise ConfigurationError(
            expected(
                "human_low",
                "as long as `judge_low` and `weights`",
                f"{list(y.shape)}, {list(f.shape)} and {list(w.shape)}",
                "Pass None for what nobody rated, as in "
                "human_low=[ratings.get(name) for name in probes]",
            )
        )
    is_rated = ~np.isnan(y)
    if not is_rated.any():
        raise ConfigurationError(
            expected("human_low", "rated at least once", "no rating", "Rate 30 samples and more")
        )
    _check("judge_low", "True or False", f, (f == 0) | (f == 1), "Pass judge_low=scores < 2.5")
    rated = y[is_rated]
    _check(
        "human_low", "in [0, 1]", rated, (rated >= 0) & (rated <= 1), "Pass human_low=scores < 2.5"
    )
    w_rated = w[is_rated]
    _check(
        "weights",
        "above 0 and finite where someone rated",
        w_rated,
        (w_rated > 0) & np.isfinite(w_rated),
        "Pass weights=1 / chance_of_being_rated",
    )
    return f, y, w


def _check(name: str, rule: str, values: _Floats, is_good: NDArray[np.bool_], remedy: str) -> None:
    if not is_good.all():
        raise ConfigurationError(expected(name, rule, values[~is_good][0], remedy))


def _group(
    probes: Sequence[Hashable] | None, length: int
) -> tuple[Sequence[Hashable], NDArray[np.int64]]:
    """Return the names of the probes, and the number of each verdict's, `[N]`."""
    if probes is None:
        return range(length), np.arange(length, dtype=np.int64)
    if len(probes) != length:
        raise ConfigurationError(
            expected(
                "probes",
                "a name for each verdict",
                f"{len(probes)} for {length}",
                "Leave it out if all are different",
            )
        )
    numbers: dict[Hashable, int] = {}
    found = [numbers.setdefault(name, len(numbers)) for name in probes]
    return list(numbers), np.asarray(found, dtype=np.int64)

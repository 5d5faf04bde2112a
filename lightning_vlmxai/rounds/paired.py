"""Whether two rates differ: of the same probes twice, or of two sets of probes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .quadrants import Interval, wilson_interval

EXACT_BELOW = 25
"""Discordant pairs; with fewer, McNemar's test is the exact one."""


class Pairs(NamedTuple):
    """How often the same probes have a property in two rounds."""

    both: int
    first: int
    """In the first only."""
    second: int
    """In the second only."""
    neither: int


def mcnemar_p(first: int, second: int) -> float:
    """Return the two-sided p-value that pairs part either way equally often.

    Args:
        first: Pairs with the property in the first only.
        second: In the second only. Below `EXACT_BELOW` of both the test is exact (binomial), else
            it is the chi-squared one without continuity correction.

    Example:
        >>> mcnemar_p(0, 0), mcnemar_p(0, 6)
        (1.0, 0.03125)

    Source: McNemar, 1947, "Note on the sampling error of the difference between correlated
        proportions or percentages".
    """
    parted = first + second
    if not parted:
        return 1.0
    if parted >= EXACT_BELOW:
        return math.erfc(abs(first - second) / math.sqrt(2 * parted))
    tail = sum(math.comb(parted, k) for k in range(min(first, second) + 1))
    return min(1.0, 2.0 * tail / math.pow(2.0, parted))


def paired_interval(pairs: Pairs) -> Interval:
    """Return the 95 % interval of the second rate less the first, of the same probes.

    Args:
        pairs: At least one.

    Source: Newcombe, 1998, "Improved confidence intervals for the difference between binomial
        proportions based on paired data", method 10.
    """
    total = sum(pairs)
    ones, twos = pairs.both + pairs.first, pairs.both + pairs.second
    a, b = ones / total, twos / total
    of_a, of_b = wilson_interval(ones, total), wilson_interval(twos, total)
    spread = math.sqrt(ones * (total - ones) * twos * (total - twos))
    excess = float(pairs.both * pairs.neither - pairs.first * pairs.second)
    if excess > 0:
        excess = max(0, excess - total / 2)
    phi = excess / spread if spread else 0.0
    low_b, high_a = b - of_b.lower, of_a.upper - a
    high_b, low_a = of_b.upper - b, a - of_a.lower
    return Interval(
        b - a - math.sqrt(max(0.0, low_b**2 - 2 * phi * low_b * high_a + high_a**2)),
        b - a + math.sqrt(max(0.0, high_b**2 - 2 * phi * high_b * low_a + low_a**2)),
    )


def fisher_p(first: int, of_first: int, second: int, of_second: int) -> float:
    """Return Fisher's exact two-sided p-value that two independent rates are equal.

    Args:
        first: Of `of_first` that have the property.
        of_first: Their number.
        second: Of `of_second`.
        of_second: Their number.

    Example:
        >>> round(fisher_p(3, 4, 1, 4), 4)
        0.4857

    Source: Fisher, 1935, "The logic of inductive inference"; outcomes that are no likelier than
        what was seen count (likelier by less than 1e-7 of it is no likelier, as in R and scipy).
        Likelihoods are relative to the likeliest outcome's, so that no number gets large.
    """
    having, total = first + second, of_first + of_second
    least, most = max(0, having - of_second), min(having, of_first)
    mode = min(most, max(least, (of_first + 1) * (having + 1) // (total + 2)))
    spare = of_second - having
    above, below = [1.0], [1.0]
    for k in range(mode, most):
        above.append(above[-1] * (of_first - k) * (having - k) / ((k + 1) * (spare + k + 1)))
    for k in range(mode, least, -1):
        below.append(below[-1] * k * (spare + k) / ((of_first - k + 1) * (having - k + 1)))
    seen = above[first - mode] if first >= mode else below[mode - first]
    ways = [*above, *below[1:]]
    return min(1.0, math.fsum(w for w in ways if w <= seen * (1 + 1e-7)) / math.fsum(ways))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many there are, each in [0, 1], in their own order.

    Example:
        >>> holm([0.04, 0.01])
        [0.04, 0.02]

    Source: Holm, 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = largest
    return adjusted


def benjamini_hochberg(values: Sequence[float], total: int | None = None) -> list[float]:
    """Return p-values corrected so that of those at most q a share q is chance, in their order.

    Args:
        values: In [0, 1].
        total: How many were looked at, where `values` leaves out some that are taken to be 1.

    Example:
        >>> benjamini_hochberg([0.04, 0.01, 0.5])
        [0.06, 0.03, 0.5]

    Source: Benjamini and Hochberg, 1995, "Controlling the false discovery rate".
    """
    total = len(values) if total is None else total
    adjusted, least = [0.0] * len(values), 1.0
    order = sorted(range(len(values)), key=lambda i: values[i], reverse=True)
    for place, i in enumerate(order):
        least = min(least, values[i] * total / (len(values) - place))
        adjusted[i] = least
    return adjusted

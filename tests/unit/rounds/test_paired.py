"""Differences of two rates, against scipy and published values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lightning_vlmxai.report.contrast import Share, newcombe_interval
from lightning_vlmxai.rounds.paired import (
    EXACT_BELOW,
    Pairs,
    fisher_p,
    holm,
    mcnemar_p,
    paired_interval,
)


def test_mcnemar_is_the_binomial_test_below_25_parted_pairs() -> None:
    """Every split of up to 24 pairs, against scipy."""
    for parted in range(1, EXACT_BELOW):
        for first in range(parted + 1):
            expected = stats.binomtest(first, parted, 0.5).pvalue
            assert mcnemar_p(first, parted - first) == pytest.approx(expected)


def test_mcnemar_is_chi_squared_from_25_on() -> None:
    """Without continuity correction, one degree of freedom."""
    for first, second in ((25, 0), (20, 5), (13, 12), (300, 340), (0, 900)):
        statistic = (first - second) ** 2 / (first + second)
        assert mcnemar_p(first, second) == pytest.approx(stats.chi2.sf(statistic, 1), abs=1e-12)


def test_the_paired_interval_is_that_of_the_literature() -> None:
    """Airway hyper-responsiveness before and after a transplantation (Fagerland et al., 2014)."""
    lower, upper = paired_interval(Pairs(both=1, first=7, second=1, neither=12))
    assert (round(lower, 3), round(upper, 3)) == (-0.507, -0.026)


def test_the_paired_interval_turns_with_the_runs() -> None:
    """Exchanged rounds give the mirrored interval, and it holds the difference."""
    for pairs in (Pairs(10, 3, 1, 6), Pairs(0, 0, 5, 0), Pairs(4, 4, 4, 4), Pairs(50, 0, 0, 3)):
        lower, upper = paired_interval(pairs)
        turned = paired_interval(Pairs(pairs.both, pairs.second, pairs.first, pairs.neither))
        assert turned == pytest.approx((-upper, -lower))
        assert lower <= (pairs.second - pairs.first) / sum(pairs) <= upper


def test_more_agreement_narrows_the_paired_interval() -> None:
    """Probes that keep their property in both rounds tell: the pairing is used."""
    alike, unlike = Pairs(45, 5, 5, 45), Pairs(5, 45, 45, 5)
    widths = [math.dist(*[[end] for end in paired_interval(pairs)]) for pairs in (alike, unlike)]
    assert widths[0] < 0.7 * widths[1]


def test_fisher_is_scipys() -> None:
    """Small and lopsided tables."""
    for table in ((3, 4, 1, 4), (0, 19, 18, 19), (5, 5, 0, 40), (7, 20, 7, 20), (0, 3, 0, 9)):
        a, n, b, m = table
        expected = stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue
        assert fisher_p(*table) == pytest.approx(expected)


def test_fisher_is_scipys_of_a_whole_data_set() -> None:
    """Groups of 3 to 25,000 of 50,000 samples: the numbers of an audit."""
    for table in (
        (3, 3, 7_000, 49_997),
        (20, 50, 7_000, 49_950),
        (0, 50, 7_000, 49_950),
        (3_600, 25_000, 3_400, 25_000),
        (50, 50, 0, 49_950),
    ):
        a, n, b, m = table
        expected = stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue
        assert fisher_p(*table) == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 12), st.integers(0, 12), st.data())
def test_fisher_is_the_literal_sum(n: int, m: int, data: st.DataObject) -> None:
    """Over all tables with the same margins, in whole numbers."""
    a, b = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    ways = {k: math.comb(n, k) * math.comb(m, a + b - k) for k in range(a + b + 1) if k <= n}
    told = sum(w for w in ways.values() if w <= ways[a]) / sum(ways.values())
    assert fisher_p(a, n, b, m) == pytest.approx(told)


def test_holm_by_hand() -> None:
    """The smallest times 4, the next times 3, never less than the one before, at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("first", "second", "difference", "lower", "upper"),
    [  # Newcombe 1998, table II, method 10: 56/70 - 48/80, 9/10 - 3/10, 10/10 - 0/10.
        ((48, 80), (56, 70), 0.2, 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.6, 0.1705, 0.8090),
        ((0, 10), (10, 10), 1.0, 0.6075, 1.0),
    ],
)
def test_newcombes_interval_is_the_published_one(
    first: tuple[int, int], second: tuple[int, int], difference: float, lower: float, upper: float
) -> None:
    """The paper's own examples."""
    a, b = Share(count=first[0], total=first[1]), Share(count=second[0], total=second[1])
    assert (b.rate or 0) - (a.rate or 0) == pytest.approx(difference)
    assert newcombe_interval(a, b) == pytest.approx((lower, upper), abs=5e-5)


def test_an_empty_denominator_has_no_difference() -> None:
    """Neither 0 nor NaN."""
    assert newcombe_interval(Share(count=0, total=0), Share(count=1, total=2)) is None

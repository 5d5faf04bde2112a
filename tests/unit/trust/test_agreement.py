"""Figures of agreement, against scipy, scikit-learn, krippendorff and slow literal twins."""

from __future__ import annotations

import itertools
import math

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.trust import agreement, krippendorff_alpha

Floats = NDArray[np.float64]
SCORES = st.integers(0, 5)


@settings(deadline=None)
@given(st.lists(st.tuples(SCORES, SCORES, st.integers(1, 4)), min_size=3, max_size=40))
def test_figures_are_the_peers_of_the_samples_written_out(
    rows: list[tuple[int, int, int]],
) -> None:
    """A sample of weight 3 counts as three: scipy and scikit-learn of the list written out."""
    x, y, weights = (np.array(column) for column in zip(*rows, strict=True))
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    # Weights count up to a factor.
    told = agreement(x, y, weights=0.37 * weights, resamples=1)
    long_x, long_y = np.repeat(x, weights), np.repeat(y, weights)
    assert told["pearson"].value == pytest.approx(stats.pearsonr(long_x, long_y)[0], abs=1e-12)
    assert told["spearman"].value == pytest.approx(stats.spearmanr(long_x, long_y)[0], abs=1e-12)
    kappa = cohen_kappa_score(long_x, long_y, weights="quadratic", labels=range(6))
    assert told["kappa"].value == pytest.approx(kappa, abs=1e-12)
    assert told["difference"].value == pytest.approx((long_x - long_y).mean(), abs=1e-12)


def literal_alpha(scores: Floats, weights: Floats) -> float:
    """Return alpha with squared differences, as it is defined: pair by pair."""
    columns = [
        (w, [v for v in column if not math.isnan(v)])
        for w, column in zip(weights / weights.mean(), scores.T, strict=True)
    ]
    columns = [(w, values) for w, values in columns if len(values) >= 2]
    mean = sum(w for w, _ in columns) / len(columns)
    columns = [(w / mean, values) for w, values in columns]
    count = sum(w * len(values) for w, values in columns)
    observed = sum(
        w * sum((a - b) ** 2 for a, b in itertools.permutations(values, 2)) / (len(values) - 1)
        for w, values in columns
    )
    pooled = [(w, v) for w, values in columns for v in values]
    expected = sum(w * u * (a - b) ** 2 for w, a in pooled for u, b in pooled) / (count - 1)
    return 1 - observed / expected


@settings(deadline=None)
@given(
    st.integers(3, 5).flatmap(
        lambda raters: st.lists(
            st.tuples(
                st.lists(st.one_of(st.none(), SCORES), min_size=raters, max_size=raters),
                st.sampled_from([1.0, 2.5, 7.0]),
            ),
            min_size=3,
            max_size=20,
        )
    )
)
def test_alpha_is_the_peers(rows: list[tuple[list[int | None], float]]) -> None:
    """The package's without weights, the definition's with them; gaps as they come."""
    scores = np.array([row[0] for row in rows], dtype=float).T
    weights = np.array([row[1] for row in rows])
    paired = scores[:, (~np.isnan(scores)).sum(0) >= 2]
    assume(paired.size and len(np.unique(paired[~np.isnan(paired)])) > 1)
    peer = krippendorff.alpha(reliability_data=scores, level_of_measurement="interval")
    assert krippendorff_alpha(scores, resamples=1).value == pytest.approx(peer, abs=1e-9)
    told = krippendorff_alpha(scores, weights=weights, resamples=1).value
    assert told == pytest.approx(literal_alpha(scores, weights), abs=1e-9)


def graded(generator: np.random.Generator, number: int) -> tuple[Floats, Floats]:
    """Return two people's scores of the same pictures, correlated by .69."""
    seen = generator.normal(size=number)
    told = [seen + 0.6 * generator.normal(size=number) for _ in range(2)]
    first, second = (np.clip(np.round(3.3 + 1.4 * of), 0, 5) for of in told)
    return first, second


def test_intervals_hold_the_truth() -> None:
    """In 91 to 98 % of 400 rounds of 30 ratings; the truth is that of two million."""
    truth = {
        name: of.value
        for name, of in agreement(*graded(np.random.default_rng(0), 2_000_000), resamples=1).items()
    }
    generator = np.random.default_rng(1)
    held = dict.fromkeys(truth, 0)
    for _ in range(400):
        for name, of in agreement(*graded(generator, 30), resamples=400).items():
            assert of.interval is not None
            held[name] += of.interval.lower <= (truth[name] or 0.0) <= of.interval.upper
    assert all(0.91 <= n / 400 <= 0.98 for n in held.values()), held


def test_samples_of_a_probe_are_drawn_together() -> None:
    """Each written ten times is no more evidence; without their names it would be."""
    x, y = graded(np.random.default_rng(2), 40)
    once = agreement(x, y)
    names = list(range(40)) * 10
    grouped = agreement(np.tile(x, 10), np.tile(y, 10), probes=names)
    alone = agreement(np.tile(x, 10), np.tile(y, 10))
    for name in once:
        a, b, c = (told[name].interval for told in (once, grouped, alone))
        assert a is not None
        assert b == pytest.approx(a, abs=1e-9)
        assert c is not None
        assert c.upper - c.lower < 0.5 * (a.upper - a.lower)


@pytest.mark.parametrize("weights", [np.ones(35, dtype=int), np.arange(35) % 7 * 3 + 1])
def test_the_bootstrap_is_that_of_a_loop(weights: NDArray[np.int64]) -> None:
    """Resample by resample with scipy, written out by their weights: the same spread."""
    x, y = graded(np.random.default_rng(3), 35)
    generator = np.random.default_rng(4)

    def written_out(rows: NDArray[np.int64]) -> float:
        times = weights[rows]
        found = stats.spearmanr(np.repeat(x[rows], times), np.repeat(y[rows], times))[0]
        return math.atanh(found)

    drawn = [written_out(generator.integers(0, 35, 35)) for _ in range(2_000)]
    half = 1.959964 * math.sqrt(35 / 32) * float(np.std(drawn))
    centre = written_out(np.arange(35))
    wanted = (math.tanh(centre - half), math.tanh(centre + half))
    told = agreement(x, y, weights=weights)["spearman"].interval
    assert told == pytest.approx(wanted, abs=0.02)
    assert agreement(x, y, weights=weights)["spearman"].interval == told
    assert agreement(x, y, weights=weights, seed=1)["spearman"].interval != told


def test_what_is_not_defined_is_no_number() -> None:
    """A rater who says 3 always, one sample, no disagreement, too few probes."""
    flat = agreement([3] * 10, range(10))
    for name in ("pearson", "spearman"):
        assert flat[name].value is None
        assert flat[name].why == "not defined: the first gives all samples one score"
    assert flat["kappa"].value == 0.0
    same = agreement([3] * 10, [3] * 10)
    assert (same["kappa"].value, same["difference"].value) == (None, 0.0)
    assert agreement([1], [2])["pearson"].value is None
    perfect = agreement(range(10), range(10))["pearson"]
    assert perfect.value == pytest.approx(1.0)
    assert perfect.why == "no interval: not one disagreement was seen"
    assert agreement(range(7), range(7))["kappa"].why == "fewer than 8 probes, so no interval"
    almost = agreement([0] * 29 + [5], [0] * 28 + [1, 5])["pearson"]
    assert almost.interval is None
    assert almost.why == "too few different scores for an interval"
    alone = krippendorff_alpha([[1, math.nan], [math.nan, 2], [math.nan, math.nan]])
    assert (alone.value, alone.why) == (None, "no sample was scored by two raters")
    assert krippendorff_alpha([[2, 2], [2, 2]]).why == "all scores are the same"


def test_what_does_not_fit_is_refused() -> None:
    """With what to pass."""
    with pytest.raises(ConfigurationError, match="Pass the samples that both scored"):
        agreement([1, 2], [1])
    with pytest.raises(ConfigurationError, match="`second` to be as many finite"):
        agreement([1, 2], [1, math.nan])
    with pytest.raises(ConfigurationError, match="Pass weights=1 / chance"):
        agreement([1, 2], [1, 2], weights=[1, 0])
    with pytest.raises(ConfigurationError, match="`figures` to be of"):
        agreement([1, 2], [1, 2], figures=["rho"])
    with pytest.raises(ConfigurationError, match="Pass one row a rater"):
        krippendorff_alpha([1, 2])  # type: ignore[list-item]

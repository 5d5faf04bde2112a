"""Corrected rates against PPI++'s own code, a literal twin and counts by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.rounds import wilson_interval
from lightning_vlmxai.trust import CorrectedRate, corrected_difference, corrected_rate


def draw(
    seed: int, *, count: int = 400, ratings: int = 60, rate: float = 0.3, quality: float = 0.85
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the judge's verdicts, the ratings (NaN for none) and unequal weights."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < rate
    judge = np.where(rng.random(count) < quality, truth, ~truth).astype(float)
    human = np.full(count, np.nan)
    rated = rng.choice(count, ratings, replace=False)
    human[rated] = truth[rated]
    return judge, human, rng.uniform(1.0, 6.0, count)


def literal_rate(
    judge: Any, human: Any, weights: Any, probes: Any, power: float, emphasis: dict[Any, float]
) -> float:
    """The estimator as it is written, verdict by verdict; a probe's emphasis is 1."""
    verdicts = {name: sum(other == name for other in probes) for name in set(probes)}
    parts = [0.0, 0.0, 0.0, 0.0]
    for f, y, w, name in zip(judge, human, weights, probes, strict=True):
        share = emphasis.get(name, 1.0) / verdicts[name]
        parts[0] += share * f
        parts[1] += share
        if not math.isnan(y):
            parts[2] += share * w * (y - power * f)
            parts[3] += share * w
    return power * parts[0] / parts[1] + parts[2] / parts[3]


def literal_variance(judge: Any, human: Any, weights: Any, probes: Any, power: float) -> float:
    """The infinitesimal jackknife: how the literal estimator moves when a probe counts more."""
    step, moved = 1e-4, 0.0
    for name in set(probes):
        ends = [
            literal_rate(judge, human, weights, probes, power, {name: 1 + sign * step})
            for sign in (1, -1)
        ]
        moved += ((ends[0] - ends[1]) / (2 * step)) ** 2
    return moved


@pytest.mark.parametrize("seed", range(4))
def test_the_rate_its_lambda_and_its_interval_are_those_of_a_literal_twin(seed: int) -> None:
    """With weights, and with probes of several verdicts."""
    judge, human, weights = draw(seed, count=90, ratings=40)
    probes = [number // 2 if number < 40 else number for number in range(90)]
    found = corrected_rate(judge, human, weights=weights, probes=probes)
    assert found.corrected == pytest.approx(
        literal_rate(judge, human, weights, probes, found.power, {}), abs=1e-12
    )
    assert found.people == pytest.approx(
        literal_rate(judge, human, weights, probes, 0.0, {}), abs=1e-12
    )
    variance = literal_variance(judge, human, weights, probes, found.power)
    assert sum(v * v for v in found.influences.values()) == pytest.approx(variance, rel=1e-6)
    for other in (found.power - 0.05, found.power + 0.05):
        assert literal_variance(judge, human, weights, probes, other) > variance
    # The interval: Wilson's, at the number of ratings that this variance stands for.
    rated = {name for name, y in zip(probes, human, strict=True) if not math.isnan(y)}
    pulls = dict.fromkeys(rated, 0.0)
    for y, w, name in zip(human, weights, probes, strict=True):
        if not math.isnan(y):
            pulls[name] += w / probes.count(name)
    least = min(pulls.values()) / sum(pulls.values())
    names = len(set(probes))
    total = variance * len(rated) / (len(rated) - 1)
    total += 0.5 * least**2 * (1 - len(rated) / names)
    size = found.corrected * (1 - found.corrected) / total
    assert not found.is_widened
    assert (found.rated, found.probes) == (len(rated), names)
    assert found.interval == pytest.approx(wilson_interval(found.corrected * size, size), rel=1e-6)


def test_the_rate_is_that_of_ppi_python() -> None:
    """The point estimate to rounding, plain and weighted; lambda and the interval at large n."""
    ppi = pytest.importorskip("ppi_py", reason="needs ppi-python")
    judge, human, weights = draw(1, count=4000, ratings=1000)
    rated = ~np.isnan(human)
    y, f, rest = human[rated], judge[rated], judge[~rated]
    found = corrected_rate(judge, human, probes=range(4000))
    # Over there the two samples are disjoint, which scales lambda.
    power = found.power * 3000 / 4000
    assert found.corrected == pytest.approx(
        float(np.squeeze(ppi.ppi_mean_pointestimate(y, f, rest, lam=power))), abs=1e-12
    )
    assert found.corrected == pytest.approx(
        float(np.squeeze(ppi.ppi_mean_pointestimate(y, f, rest))), abs=2e-3
    )
    low, high = (float(np.squeeze(end)) for end in ppi.ppi_mean_ci(y, f, rest, alpha=0.05))
    assert found.interval == pytest.approx((low, high), abs=0.03 * (high - low))

    weighted = corrected_rate(judge, human, weights=weights)
    assert weighted.corrected == pytest.approx(
        float(
            np.squeeze(
                ppi.ppi_mean_pointestimate(y, f, judge, lam=weighted.power, w=weights[rated])
            )
        ),
        abs=1e-12,
    )


def test_where_people_rated_all_the_judge_counts_nothing() -> None:
    """Whatever it said."""
    truth = [True] * 12 + [False] * 28
    for judge in (truth, [not low for low in truth], [True] * 40):
        found = corrected_rate(judge, truth)
        assert found.corrected == pytest.approx(0.3, abs=1e-12)
        assert found.people_interval == pytest.approx(wilson_interval(12, 40))
        assert found.interval == pytest.approx(wilson_interval(12, 40), abs=0.005)


def test_a_judge_that_says_one_thing_leaves_the_people_alone() -> None:
    """There is nothing to learn from it."""
    _, human, _ = draw(3)
    found = corrected_rate(np.ones_like(human), human)
    assert (found.judge, found.power) == (1.0, 0.0)
    assert found.corrected == found.people == pytest.approx(np.nanmean(human))


def test_a_judge_that_inverts_counts_nothing() -> None:
    """Lambda does not fall below 0."""
    judge, human, _ = draw(3)
    assert corrected_rate(1 - judge, human).power == 0.0


@pytest.mark.parametrize(("low", "is_widened"), [(4, True), (5, False), (55, False), (56, True)])
def test_with_fewer_than_five_in_the_rarer_class_the_peoples_interval_stands(
    low: int, is_widened: bool
) -> None:
    """Rarer may be High as well."""
    human: list[bool | None] = [True] * low + [False] * (60 - low) + [None] * 340
    judge = [True] * (low - 1) + [False] * (61 - low) + [True] * 100 + [False] * 240
    found = corrected_rate(judge, human)
    assert found.is_widened is is_widened
    assert found.people_interval == pytest.approx(wilson_interval(low, 60))
    assert found.interval.lower <= found.corrected <= found.interval.upper
    if is_widened:
        assert found.interval.lower <= found.people_interval.lower
        assert found.interval.upper >= found.people_interval.upper
        assert "the people's interval" in str(found)
    else:
        assert "the people's interval" not in str(found)


def test_a_probe_of_many_rounds_counts_as_one() -> None:
    """The same verdicts three times over say no more than once."""
    judge, human, weights = draw(5)
    once = corrected_rate(judge, human, weights=weights, probes=range(400))
    thrice = corrected_rate(
        np.tile(judge, 3),
        np.tile(human, 3),
        weights=np.tile(weights, 3),
        probes=[*range(400)] * 3,
    )
    assert (thrice.rated, thrice.probes) == (60, 400)
    for name in ("corrected", "interval", "people", "people_interval", "judge_interval", "power"):
        assert getattr(thrice, name) == pytest.approx(getattr(once, name), abs=1e-9), name
    as_if = corrected_rate(np.tile(judge, 3), np.tile(human, 3), weights=np.tile(weights, 3))
    width, narrow = (rate.interval.upper - rate.interval.lower for rate in (once, as_if))
    assert narrow < 0.65 * width


def test_weights_undo_a_sample_that_prefers_what_the_judge_calls_low() -> None:
    """Twenty of each, of 100 and 300: the strata's own means, by hand; their scale is nothing."""
    judge = [True] * 100 + [False] * 300
    human: list[bool | None] = [True] * 14 + [False] * 6 + [None] * 80
    human += [True] * 2 + [False] * 18 + [None] * 280
    weights = [5.0] * 100 + [15.0] * 300
    found = corrected_rate(judge, human, weights=weights)
    truth = 0.25 * 14 / 20 + 0.75 * 2 / 20
    assert found.people == pytest.approx(truth)
    assert found.corrected == pytest.approx(truth)
    assert corrected_rate(judge, human).people == pytest.approx(16 / 40)
    scaled = corrected_rate(judge, human, weights=[weight / 3 for weight in weights])
    assert scaled.interval == pytest.approx(found.interval)


def test_the_corrected_interval_holds_the_truth_where_the_judges_does_not() -> None:
    """And is narrower than that of people alone. The draws are the same each time."""
    rng = np.random.default_rng(0)
    held, widths = np.zeros(2), np.zeros(2)
    for _ in range(400):
        truth = rng.random(1000) < 0.3
        judge = np.where(rng.random(1000) < 0.85, truth, ~truth)
        human = np.full(1000, np.nan)
        rated = rng.choice(1000, 60, replace=False)
        human[rated] = truth[rated]
        found = corrected_rate(judge.tolist(), human)
        ends = found.judge_interval, found.interval
        held += [low <= 0.3 <= high for low, high in ends]
        widths += [high - low for low, high in (found.people_interval, found.interval)]
    assert held[0] < 0.1 * 400
    assert 0.92 * 400 <= held[1] <= 0.98 * 400
    assert widths[1] < 0.85 * widths[0]


def pair(seed: int) -> tuple[CorrectedRate, CorrectedRate]:
    """Return two rates on the same probes; the second has fewer Low, and not all probes."""
    judge, human, _ = draw(seed, count=3000, ratings=900)
    better = np.where(np.arange(3000) % 2, human, np.minimum(human, 0.0))
    later = np.where(np.arange(3000) % 2, judge, 0.0)
    first = corrected_rate(judge, human, probes=range(3000))
    return first, corrected_rate(later[300:], better[300:], probes=range(300, 3000))


def test_a_difference_is_paired() -> None:
    """At large n its interval is the normal one of the probes' own differences."""
    first, second = pair(0)
    found = corrected_difference(first, second)
    assert found.difference == pytest.approx(second.corrected - first.corrected)
    assert found.shared == 2700
    gaps = [second.influences.get(name, 0.0) - first.influences[name] for name in range(3000)]
    half = 1.959963984540054 * math.sqrt(math.fsum(gap * gap for gap in gaps))
    width = found.interval.upper - found.interval.lower
    assert width == pytest.approx(2 * half, rel=0.02)
    unpaired = [math.fsum(v * v for v in rate.influences.values()) for rate in (first, second)]
    assert half < 0.9 * 1.959963984540054 * math.sqrt(sum(unpaired))
    back = corrected_difference(second, first)
    assert back.interval == pytest.approx((-found.interval.upper, -found.interval.lower))


def test_where_all_are_rated_a_difference_is_newcombes() -> None:
    """From the four counts of a paired table, with Wilson's ends and phi."""
    both, only_first, only_second, neither = 20, 25, 10, 45
    first = [True] * both + [True] * only_first + [False] * only_second + [False] * neither
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    rates = [corrected_rate(low, low, probes=range(100)) for low in (first, second)]
    found = corrected_difference(*rates)
    (l1, u1), (l2, u2) = wilson_interval(45, 100), wilson_interval(30, 100)
    phi = (both * neither - only_first * only_second) / math.sqrt(45 * 55 * 30 * 70)
    down = math.sqrt((0.3 - l2) ** 2 + (u1 - 0.45) ** 2 - 2 * phi * (0.3 - l2) * (u1 - 0.45))
    up = math.sqrt((u2 - 0.3) ** 2 + (0.45 - l1) ** 2 - 2 * phi * (u2 - 0.3) * (0.45 - l1))
    assert found.difference == pytest.approx(-0.15)
    assert found.interval == pytest.approx((-0.15 - down, -0.15 + up), abs=0.002)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([True], [None]), "`human_low` to be rated at least once"),
        (([True], [True, False]), "`human_low` to be as long as"),
        (([True], [2.0]), r"`human_low` to be in \[0, 1\], got 2.0"),
        (([3.5], [True]), "`judge_low` to be True or False, got 3.5"),
        (([float("nan")], [True]), "`judge_low` to be True or False, got nan"),
    ],
)
def test_what_is_no_verdict_or_rating_is_named(arguments: Any, said: str) -> None:
    """Scores in the place of Low would be rates of nothing."""
    with pytest.raises(ConfigurationError, match=said):
        corrected_rate(*arguments)


def test_a_weight_of_nothing_and_names_that_do_not_fit_are_named() -> None:
    """Of those that nobody rated the weight is not read."""
    with pytest.raises(ConfigurationError, match="`weights` to be above 0"):
        corrected_rate([True, False], [True, False], weights=[1.0, 0.0])
    corrected_rate([True, False], [True, None], weights=[1.0, math.nan])
    with pytest.raises(ConfigurationError, match="`probes` to be a name for each"):
        corrected_rate([True, False], [True, None], probes=["a"])
    nameless = corrected_rate([True, False], [True, None])
    with pytest.raises(ConfigurationError, match="`probes` to be names that both rates share"):
        corrected_difference(nameless, nameless)

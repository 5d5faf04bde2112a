"""Quadrants, rates and intervals."""

import math
from dataclasses import replace

import pytest

from lightning_vlmxai.records import Quadrant, UnscoredReason, Usage, Verdict
from lightning_vlmxai.rounds.quadrants import (
    assign_quadrant,
    quadrant_metrics,
    round_metrics,
    wilson_interval,
)
from samples import make_sample


@pytest.mark.parametrize(
    ("successes", "total", "lower", "upper"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_published_values(
    successes: int, total: int, lower: float, upper: float
) -> None:
    """The interval is the one tabulated for method 3 in Newcombe, 1998, table I."""
    interval = wilson_interval(successes, total)
    assert interval.lower == pytest.approx(lower, abs=5e-5)
    assert interval.upper == pytest.approx(upper, abs=5e-5)


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_refuses_impossible_counts(successes: int, total: int) -> None:
    """No interval is invented for an empty denominator or more successes than trials."""
    with pytest.raises(ValueError, match="0 <= successes <= total >= 1"):
        wilson_interval(successes, total)


@pytest.mark.parametrize(
    ("score", "is_correct", "quadrant"),
    [
        (2.5, True, Quadrant.CORRECT_HIGH),
        (2.49, True, Quadrant.CORRECT_LOW),
        (5.0, False, Quadrant.WRONG_HIGH),
        (0.0, False, Quadrant.WRONG_LOW),
    ],
)
def test_quadrant_is_score_crossed_with_correctness(
    score: float, is_correct: bool, quadrant: Quadrant
) -> None:
    """A score at the threshold is High."""
    assert assign_quadrant(score, is_correct=is_correct) is quadrant


def test_rates_are_over_the_judged_samples_only() -> None:
    """Eight judged and two unscored samples give rates in eighths and a coverage of 0.8."""
    samples = [
        *(make_sample(score=5, is_correct=True) for _ in range(3)),
        *(make_sample(score=1, is_correct=True) for _ in range(2)),
        make_sample(score=3, is_correct=False),
        *(make_sample(score=0, is_correct=False) for _ in range(2)),
        *(make_sample(reason=UnscoredReason.TIMEOUT) for _ in range(2)),
    ]
    metrics = round_metrics(samples)
    assert metrics["correct_high_rate"] == 3 / 8
    assert metrics["correct_low_rate"] == 2 / 8
    assert metrics["wrong_high_rate"] == 1 / 8
    assert metrics["wrong_low_rate"] == 2 / 8
    assert metrics["low_given_correct"] == 2 / 5
    assert metrics["average_score"] == 20 / 8
    assert metrics["coverage"] == 0.8
    assert metrics["unscored"] == 2
    lower, upper = wilson_interval(2, 8)
    assert metrics["correct_low_rate_lower"] == lower
    assert metrics["correct_low_rate_upper"] == upper


def test_empty_denominators_give_no_point() -> None:
    """A round in which nothing was judged has a coverage of 0 and no rate, but an accuracy."""
    metrics = round_metrics([make_sample(reason=UnscoredReason.TIMEOUT)])
    assert metrics == {
        "accuracy": 1, "coverage": 0, "unscored": 1, "reused": 0, "calls": 0, "tokens": 0,
        "cost": 0,
    }  # fmt: skip
    assert "low_given_correct" not in quadrant_metrics([make_sample(score=5, is_correct=False)])


def test_calls_tokens_and_cost_are_summed_and_an_unknown_price_gives_no_cost() -> None:
    """What is not known is not counted as nothing."""
    priced = make_sample(score=5, usage=Usage(calls=2, tokens=100, cost_usd=0.25))
    unpriced = make_sample(score=5, usage=Usage(calls=1, tokens=50, cost_usd=None))
    both = round_metrics([priced, unpriced])
    assert (both["calls"], both["tokens"]) == (3, 150)
    assert "cost" not in both
    assert round_metrics([priced, priced])["cost"] == 0.5


def test_verdicts_kept_from_an_earlier_round_are_counted() -> None:
    """One of three is reused, and counts in the rates like any other."""
    fresh = make_sample(score=5)
    kept = replace(fresh, verdict=replace(fresh.verdict, is_reused=True))
    metrics = round_metrics([fresh, kept, fresh])
    assert metrics["reused"] == 1
    assert metrics["coverage"] == 1


def test_watched_classes_have_figures_of_their_own() -> None:
    """Only samples whose true class is watched count in its figures."""
    samples = [
        make_sample(score=0, is_correct=True, label_name="cat"),
        make_sample(score=5, is_correct=True, label_name="dog"),
    ]
    metrics = round_metrics(samples, watch_classes=["cat", "cow"])
    assert metrics["class/cat/correct_low_rate"] == 1
    assert metrics["correct_low_rate"] == 0.5
    assert not any(name.startswith("class/cow") for name in metrics)


def test_drift_is_averaged_over_the_probes_that_have_one() -> None:
    """Probes without an earlier mask don't dilute the mean."""
    samples = [make_sample(score=5, attention_drift=d) for d in (0.25, 0.75, None)]
    assert math.isclose(round_metrics(samples)["attention_drift"], 0.5)


def test_a_verdict_is_scored_or_unscored() -> None:
    """A verdict with neither, both, or a score out of range can't be made."""
    with pytest.raises(ValueError, match="either a score or a reason"):
        Verdict(score=None)
    with pytest.raises(ValueError, match="either a score or a reason"):
        Verdict(score=1.0, reason=UnscoredReason.TIMEOUT)
    for score in (-0.1, 5.1, float("nan")):
        with pytest.raises(ValueError, match=r"in \[0, 5\]"):
            Verdict.scored(score)

"""Figures of a round in which not all were judged, over every draw that there is."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from draws import every_draw
from lightning_vlmxai.records import Quadrant, Sample, UnscoredReason, Verdict
from lightning_vlmxai.rounds.estimates import (
    Answer,
    count_answered,
    estimate,
    estimate_quadrants,
    response_of,
)
from lightning_vlmxai.rounds.quadrants import (
    QUADRANT_METRICS,
    assign_quadrant,
    class_table,
    estimated_rates,
    quadrant_metrics,
    round_metrics,
    widened_interval,
    wilson_interval,
)
from samples import make_sample

KEPT = [4.0, 1.0, 3.0, 2.0, 5.0]
FRESH = [1.0, 1.5, 2.0, 4.5, 5.0]
RIGHT = [True, True, False, False, True]
INCLUSION = [0.3, 0.15, 0.6, 0.45, 0.8]
CERTAIN = [(2.0, True), (3.0, False), (None, True)]


def make(drawn: Sequence[bool], *, failed: Sequence[int] = (), label: str = "cat") -> list[Sample]:
    """Return a round: five whose last verdict can stand, and three that are certain."""
    samples = []
    for i, is_drawn in enumerate(drawn):
        score = FRESH[i] if is_drawn else KEPT[i]
        sample = make_sample(
            score=None if is_drawn and i in failed else score,
            is_correct=RIGHT[i],
            index=i,
            label_name=label,
        )
        verdict = replace(sample.verdict, is_reused=not is_drawn)
        samples.append(
            replace(sample, verdict=verdict, inclusion=INCLUSION[i], expected_score=KEPT[i])
        )
    more = [make_sample(score=s, is_correct=c, label_name="dog") for s, c in CERTAIN]
    return [*samples, *more]


def judge_all() -> list[Sample]:
    """Return the round as judging all gives it."""
    told = [make_sample(score=s, is_correct=c) for s, c in zip(FRESH, RIGHT, strict=True)]
    return [*told, *(make_sample(score=s, is_correct=c, label_name="dog") for s, c in CERTAIN)]


def test_rates_and_score_are_right_on_average_whatever_the_last_verdicts_are_worth() -> None:
    """Over all draws the mean of each estimate is what judging all gives, to rounding."""
    whole, draws = quadrant_metrics(judge_all()), every_draw(INCLUSION)
    for quadrant in Quadrant:
        found = [
            (p, estimate_quadrants([Answer.of(s) for s in make(drawn)], 2.5)[quadrant])
            for p, drawn in draws
        ]
        assert {e.number for _, e in found} == {7}
        mean = math.fsum(p * e.total / e.number for p, e in found)
        assert mean == pytest.approx(whole[f"{quadrant.value}_rate"], abs=1e-12)
    scores = [
        (p, estimate([Answer.of(s) for s in make(drawn)], lambda _, score: score))
        for p, drawn in draws
    ]
    average = math.fsum(p * (e.mean or 0) for p, e in scores)
    assert average == pytest.approx(whole["average_score"], abs=1e-12)
    right = [(p, [a for s in make(drawn) if (a := Answer.of(s)).is_correct]) for p, drawn in draws]
    low = math.fsum(p * (estimate(a, lambda _, s: float(s < 2.5)).mean or 0) for p, a in right)
    assert low == pytest.approx(whole["low_given_correct"], abs=1e-12)


def test_an_estimate_is_the_literal_sum() -> None:
    """Last verdicts on all, and of each drawn one its change over its probability."""
    for _, drawn in every_draw(INCLUSION)[:60]:
        low = 1 + sum(k < 2.5 and c for k, c in zip(KEPT, RIGHT, strict=True))
        for i, is_in in enumerate(drawn):
            if is_in and RIGHT[i]:
                low += ((FRESH[i] < 2.5) - (KEPT[i] < 2.5)) / INCLUSION[i]
        metrics = quadrant_metrics(make(drawn))
        # Shown in [0, right answers], which are five with a score less the one without.
        assert metrics["correct_low_rate"] == pytest.approx(min(max(low, 0), 4) / 7)
        total = math.fsum(metrics[f"{q.value}_rate"] for q in Quadrant)
        assert total == pytest.approx(1)


def test_the_variance_is_never_below_that_of_the_drawn() -> None:
    """On average it is at least what the estimates vary by, over draws one by one."""
    random.seed(0)
    found = []
    for _ in range(3000):
        drawn = [random.random() < p for p in INCLUSION]  # noqa: S311
        found.append(estimate_quadrants([Answer.of(s) for s in make(drawn)], 2.5))
    for quadrant in (Quadrant.CORRECT_LOW, Quadrant.WRONG_LOW):
        means = [e[quadrant].mean or 0.0 for e in found]
        average = math.fsum(means) / len(means)
        variance = math.fsum((m - average) ** 2 for m in means) / len(means)
        assert math.fsum(e[quadrant].variance for e in found) / len(found) >= 0.97 * variance


def test_what_fails_counts_for_nothing_and_what_stands_by_the_share_that_was_answered() -> None:
    """A failed one lowers the number that the figures are over; with the judge out it is 0."""
    drawn = [True, True, False, True, False]
    samples = make(drawn, failed=[1])
    weights = {i: 1 / INCLUSION[i] for i in (0, 1, 3)}
    response = 1 - weights[1] / sum(weights.values())
    found = estimate([Answer.of(s) for s in samples], lambda *_: 1.0)
    assert found.number == pytest.approx(2 + 5 * response)
    assert found.total == pytest.approx(found.number)
    metrics = round_metrics(samples)
    assert metrics["coverage"] == pytest.approx(found.number / 8)
    assert metrics["unscored"] == 2
    assert count_answered(samples) == math.floor(2 + 5 * response)
    out = make(drawn, failed=[0, 1, 3])
    assert response_of(map(Answer.of, out)) == 0
    only = quadrant_metrics(out)
    assert only["correct_low_rate"] == 0.5
    assert round_metrics(out)["coverage"] == 2 / 8
    assert quadrant_metrics(out[:5]) == {}


def test_a_class_of_which_none_was_drawn_goes_by_its_round() -> None:
    """With the judge out, its last verdicts are no figure."""
    out = [
        replace(s, explanation=replace(s.explanation, label_name="ox" if i == 2 else "cat"))
        for i, s in enumerate(make([True, True, False, True, False], failed=[0, 1, 3]))
    ]
    rows = {row.label_name: row.metrics for row in class_table(out)}
    assert rows["ox"] == {}
    well = [
        replace(s, explanation=replace(s.explanation, label_name="ox" if i == 2 else "cat"))
        for i, s in enumerate(make([True, True, False, True, False]))
    ]
    rows = {row.label_name: row.metrics for row in class_table(well)}
    assert rows["ox"]["wrong_high_rate"] == 1


def test_right_answers_of_which_none_was_drawn_go_by_the_others() -> None:
    """Where those that were drawn all failed, `low_given_correct` is none of old verdicts alone."""
    drawn = [False, False, True, True, False]  # both are wrong
    out = [s for s in make(drawn, failed=[2, 3]) if s.inclusion < 1]
    assert round_metrics(out).keys() & set(QUADRANT_METRICS) == set()
    half = round_metrics([s for s in make(drawn, failed=[3]) if s.inclusion < 1])
    answered = (1 / 0.6) / (1 / 0.6 + 1 / 0.45)  # of the two, by weight
    right = [Answer(True, None, INCLUSION[i], KEPT[i], False) for i in (0, 1, 4)]
    found = estimated_rates(right, 2.5, answered)[Quadrant.CORRECT_LOW]
    assert (half["low_given_correct"], half["low_given_correct_upper"]) == (
        found[0],
        found[1].upper,
    )
    assert found[1] != estimated_rates(right, 2.5, 1.0)[Quadrant.CORRECT_LOW][1]


def test_an_interval_is_never_narrower_than_that_of_as_many_counted() -> None:
    """And it is the same where the draw adds nothing."""
    for rate, number, variance in ((0.2, 64, 0.0), (0.2, 64, 0.001), (0.0, 64, 0.002), (1, 3, 9)):
        plain = wilson_interval(rate * number, number)
        wide = widened_interval(rate, number, variance)
        assert wide.lower <= plain.lower
        assert wide.upper >= plain.upper
        if variance == 0:
            assert wide == pytest.approx(plain)
        else:
            assert wide.upper - wide.lower > plain.upper - plain.lower


def test_with_all_certain_every_figure_is_what_it_was() -> None:
    """Bit by bit: certain ones leave no trace, nor does their last score."""
    samples = judge_all()
    marked = [replace(s, inclusion=1.0) for s in samples]
    assert round_metrics(marked) == round_metrics(samples)
    answers = [Answer.of(s) for s in samples]
    for quadrant, (rate, _) in estimated_rates(answers, 2.5).items():
        assert rate == pytest.approx(quadrant_metrics(samples)[f"{quadrant.value}_rate"])


def test_the_order_of_samples_changes_nothing() -> None:
    """Sums are rounded once."""
    samples = make([True, False, True, False, True])
    assert round_metrics(samples) == round_metrics(samples[::-1])


def test_score_drift_is_over_what_was_asked_by_weight() -> None:
    """One with a probability of a half stands for two."""
    verdict = Verdict.scored(3)
    certain = replace(make_sample(score=3), score_drift=1.0, verdict=verdict)
    drawn = replace(certain, score_drift=4.0, inclusion=0.5, expected_score=3.0)
    stands = replace(drawn, score_drift=None, verdict=replace(verdict, is_reused=True))
    assert round_metrics([certain, drawn, stands])["score_drift"] == 3.0


def test_a_expected_score_counts_with_the_prediction_of_now() -> None:
    """Quadrants are of this round's correctness."""
    sample = make([False] * 5)[0]
    assert sample.quadrant is assign_quadrant(4.0, is_correct=True)
    unscored = make_sample(reason=UnscoredReason.TIMEOUT)
    assert Answer.of(unscored).was_asked

"""What holds of the figures of any round."""

import math
import statistics
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lightning_vlmxai.records import Quadrant, Sample, UnscoredReason
from lightning_vlmxai.rounds.quadrants import (
    BOUNDED_METRICS,
    DRIFTS,
    QUADRANT_METRICS,
    ROUND_METRICS,
    class_table,
    round_metrics,
    wilson_interval,
)
from samples import make_sample

scored = st.builds(make_sample, score=st.floats(0, 5), is_correct=st.booleans())
unscored = st.builds(make_sample, reason=st.sampled_from(UnscoredReason))
rounds = st.lists(st.one_of(scored, unscored), max_size=40)


@given(rounds)
def test_rates_sum_to_one_over_the_judged_or_are_absent(samples: list[Sample]) -> None:
    """Every judged sample is in one quadrant, and figures keep to their ranges and names."""
    metrics = round_metrics(samples)
    rates = [metrics[f"{q.value}_rate"] for q in Quadrant if f"{q.value}_rate" in metrics]
    judged = sum(sample.quadrant is not None for sample in samples)
    assert len(rates) == (4 if judged else 0)
    if judged:
        assert abs(sum(rates) - 1) < 1e-12
        assert metrics["correct_low_rate_lower"] <= metrics["correct_low_rate"]
        assert metrics["correct_low_rate"] <= metrics["correct_low_rate_upper"]
        assert 0 <= metrics["average_score"] <= 5
    assert set(metrics) <= set(ROUND_METRICS)
    assert set(QUADRANT_METRICS) <= set(ROUND_METRICS)


@given(rounds.flatmap(lambda s: st.tuples(st.just(s), st.permutations(s))))
def test_order_changes_nothing(both: tuple[list[Sample], list[Sample]]) -> None:
    """The figures of a round don't depend on the order of its samples."""
    assert round_metrics(both[0]) == round_metrics(both[1])


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_rate_and_mirrors(counts: tuple[int, int]) -> None:
    """The interval holds the rate, stays in [0, 1] and mirrors when successes become failures."""
    successes, total = counts
    lower, upper = wilson_interval(successes, total)
    mirrored = wilson_interval(total - successes, total)
    assert 0 <= lower <= successes / total <= upper <= 1
    assert abs(lower - (1 - mirrored.upper)) < 1e-12


@given(rounds)
def test_each_interval_holds_its_rate(samples: list[Sample]) -> None:
    """Where a rate has an interval it has both ends, around it and in [0, 1]."""
    metrics = round_metrics(samples)
    for name in BOUNDED_METRICS:
        ends = [metrics.get(key) for key in (f"{name}_lower", name, f"{name}_upper")]
        assert ends == [None] * 3 or 0 <= ends[0] <= ends[1] <= ends[2] <= 1


@given(rounds)
def test_the_standard_error_is_that_of_the_statistics_module(samples: list[Sample]) -> None:
    """From two scores on; absent before."""
    scores = [s.verdict.score for s in samples if s.verdict.score is not None]
    metrics = round_metrics(samples)
    assert ("average_score_stderr" in metrics) == (len(scores) > 1)
    if len(scores) > 1:
        expected = statistics.stdev(scores) / len(scores) ** 0.5
        assert math.isclose(metrics["average_score_stderr"], expected, abs_tol=1e-12)


named = st.builds(
    make_sample,
    score=st.one_of(st.none(), st.floats(0, 5)),
    is_correct=st.booleans(),
    label_name=st.sampled_from(["cat", "dog", "cow"]),
)


@given(st.lists(named, max_size=30))
def test_the_table_of_classes_accounts_for_every_sample(samples: list[Sample]) -> None:
    """Rows are disjoint and complete, and each is the class's own round."""
    table = class_table(samples)
    assert [row.label_name for row in table] == sorted({s.explanation.label_name for s in samples})
    assert sum(row.explained for row in table) == len(samples)
    judged = [s for s in samples if s.verdict.score is not None]
    assert sum(row.judged for row in table) == len(judged)
    low = sum(row.metrics.get("correct_low_rate", 0) * row.judged for row in table)
    assert math.isclose(low, sum(s.quadrant is Quadrant.CORRECT_LOW for s in judged))
    watched = round_metrics(samples, watch_classes=["cat"])
    of_cats = {k.split("/")[-1]: v for k, v in watched.items() if k.startswith("class/cat/")}
    assert of_cats == next((dict(r.metrics) for r in table if r.label_name == "cat"), {})


drifting = st.builds(
    replace,
    scored,
    **{name: st.one_of(st.none(), st.floats(0, 1)) for name in DRIFTS},
)


@given(st.lists(drifting, max_size=20))
def test_drifts_are_means_over_those_that_have_one(samples: list[Sample]) -> None:
    """Absent where no probe has one."""
    metrics = round_metrics(samples)
    for name in DRIFTS:
        values = [v for v in (getattr(s, name) for s in samples) if v is not None]
        assert (name in metrics) == bool(values)
        if values:
            assert math.isclose(metrics[name], statistics.fmean(values), abs_tol=1e-12)

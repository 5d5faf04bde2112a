"""What holds of the figures of any round."""

from hypothesis import given
from hypothesis import strategies as st

from lightning_vlmxai.quadrants import (
    QUADRANT_METRICS,
    ROUND_METRICS,
    round_metrics,
    wilson_interval,
)
from lightning_vlmxai.records import Quadrant, Sample, UnscoredReason
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

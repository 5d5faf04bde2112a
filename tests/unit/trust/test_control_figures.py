"""AUC, sensitivity and specificity over controls, against literal twins and scikit-learn."""

from __future__ import annotations

import math
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest

from helpers_judge import make_request
from lightning_vlmxai.records import Control, JudgedControl, UnscoredReason, Verdict
from lightning_vlmxai.rounds import wilson_interval
from lightning_vlmxai.trust import Outcome, control_figures, outcomes_of
from lightning_vlmxai.trust.control_figures import area_interval, area_variance


def outcomes(good: list[float], bad: list[float]) -> list[Outcome]:
    """Return controls that were asked once."""
    return [Outcome(kind="object", scores=(s,)) for s in good] + [
        Outcome(kind="elsewhere", scores=(s,)) for s in bad
    ]


def test_the_area_is_scikit_learns() -> None:
    """On scores with many ties."""
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    rng = np.random.default_rng(0)
    for good, bad in ((5, 7), (20, 20), (1, 30)):
        scores = rng.integers(0, 6, good + bad).astype(float)
        found = control_figures(outcomes(list(scores[:good]), list(scores[good:]))).auc
        assert found is not None
        truth = [1] * good + [0] * bad
        assert found.value == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
        assert (found.good, found.bad) == (good, bad)


def test_a_control_that_is_asked_twice_remains_one() -> None:
    """Its answers count for their share, in the rate and not in the number."""
    twice = [
        Outcome(kind="object", scores=(5.0, 1.0), asked=2),
        Outcome(kind="object", scores=(4.0,), asked=2),
        Outcome(kind="shuffled", scores=(0.0, 2.0), asked=2),
        Outcome(kind="other label", scores=(3.0, 3.0), asked=2),
    ]
    found = control_figures(twice)
    wins = sum(
        ((a > b) + 0.5 * (a == b)) / (len(g.scores) * len(o.scores))
        for g, o in product(twice[:2], twice[2:])
        for a, b in product(g.scores, o.scores)
    )
    assert found.auc is not None
    assert found.auc.value == pytest.approx(wins / 4)
    assert (found.auc.good, found.auc.bad) == (2, 2)
    assert found.sensitivity is not None
    assert (found.sensitivity.right, found.sensitivity.of) == (1.5, 2)
    assert found.sensitivity.interval == wilson_interval(1.5, 2)
    assert found.specificity is not None
    assert found.specificity.rate == 0.5
    assert {kind: share.rate for kind, share in found.kinds.items()} == {
        "object": 0.75,
        "shuffled": 1.0,
        "other label": 0.0,
    }
    assert found.areas["other label"].value == pytest.approx((0.5 + 1.0) / 2)
    assert found.spread == pytest.approx((4 + 2 + 0) / 3)
    assert (found.asked, found.answered) == (8, 7)


def test_what_was_not_answered_is_no_score() -> None:
    """It is counted apart; without any answer there is no figure."""
    good = Outcome(kind="object", scores=(), asked=2)
    found = control_figures([good, Outcome(kind="elsewhere", scores=(1.0,))])
    assert found.auc is None
    assert found.sensitivity is None
    assert found.specificity is not None
    assert found.specificity.of == 1
    assert set(found.kinds) == {"elsewhere"}
    assert (found.asked, found.answered, found.spread) == (3, 1, None)


def test_verdicts_of_one_control_are_put_together() -> None:
    """By the control, in the order in which they came; a refusal leaves no score."""
    controls = [Control(kind=kind, request=make_request()) for kind in ("object", "elsewhere")]
    refusal = Verdict.unscored(UnscoredReason.REFUSAL)
    verdicts = [Verdict.scored(5), Verdict.scored(1), refusal, Verdict.scored(2)]
    judged = [
        JudgedControl(control=controls[i % 2], verdict=verdict)
        for i, verdict in enumerate(verdicts)
    ]
    assert outcomes_of(judged) == [
        Outcome(kind="object", scores=(5.0,), asked=2),
        Outcome(kind="elsewhere", scores=(1.0, 2.0), asked=2),
    ]


def test_the_threshold_belongs_to_high() -> None:
    """As in the quadrants."""
    found = control_figures(outcomes([2.5, 2.4], [2.5, 2.4]), threshold=2.5)
    assert found.sensitivity is not None
    assert found.specificity is not None
    assert (found.sensitivity.rate, found.specificity.rate) == (0.5, 0.5)


def test_the_variance_is_hanley_and_mcneils_for_equal_sizes() -> None:
    """Their formula with Q1 and Q2, written out."""
    for area, size in ((0.5, 4), (0.8, 20), (0.97, 33)):
        q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
        literal = (
            area * (1 - area) + (size - 1) * (q1 - area**2) + (size - 1) * (q2 - area**2)
        ) / size**2
        assert area_variance(area, size, size) == pytest.approx(literal, rel=1e-12)


def test_the_ends_are_where_the_standard_error_reaches() -> None:
    """Beyond them the area is more than 1.96 of their own standard errors away."""
    z = NormalDist().inv_cdf(0.975)
    for area, good, bad in ((0.9, 20, 20), (0.5, 4, 4), (0.72, 10, 30)):
        low, high = area_interval(area, good, bad)
        for end in (low, high):
            assert abs(area - end) == pytest.approx(
                z * math.sqrt(area_variance(end, good, bad)), rel=1e-6
            )
        assert 0 < low < area < high < 1
    assert area_interval(1.0, 8, 8).upper == 1.0
    assert area_interval(0.0, 8, 8).lower == 0.0
    assert 0.7 < area_interval(1.0, 8, 8).lower < 0.9


def test_the_interval_holds_the_truth() -> None:
    """In some 95 of 100 drawn experiments, from small samples to an area near 1."""
    rng = np.random.default_rng(1)
    for area, size in ((0.75, 10), (0.9, 20), (0.97, 20)):
        shift = NormalDist().inv_cdf(area) * math.sqrt(2)
        held = 0
        for _ in range(400):
            good, bad = rng.normal(shift, 1, size), rng.normal(0, 1, size)
            value = float((good[:, None] > bad[None, :]).mean())
            low, high = area_interval(value, size, size)
            held += low <= area <= high
        assert held >= 0.92 * 400

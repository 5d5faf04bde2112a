"""A judge over the rounds of a run: pooled figures, and an alarm that is exact."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from helpers_judge import make_request
from lightning_vlmxai.records import (
    Control,
    ControlKind,
    JudgedControl,
    UnscoredReason,
    Usage,
    Verdict,
)
from lightning_vlmxai.trust import JUDGE_METRICS, JudgeWatch, control_figures, outcomes_of
from lightning_vlmxai.trust.judge_watch import (
    FALSE_ALARMS,
    ControlRound,
    area_p_value,
    level_of,
    one_score_p_value,
    round_auc,
    ties_p_value,
    times_of,
)

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
import controls as simulation


def judged(kind: ControlKind, score: float | None, *, probe: int = 0) -> JudgedControl:
    """Return a control of a probe with its score, or a refusal."""
    label = "dog" if kind == "other label" else "cat"
    request = replace(make_request(probe), label_name=label)
    verdict = Verdict.unscored(UnscoredReason.REFUSAL) if score is None else Verdict.scored(score)
    verdict = replace(verdict, usage=Usage(calls=2, tokens=10, cost_usd=0.25))
    return JudgedControl(control=Control(kind=kind, request=request), verdict=verdict)


def a_round(good: tuple[float, ...], bad: tuple[float, ...]) -> list[JudgedControl]:
    """Return controls with these scores."""
    return [judged("object", s, probe=i) for i, s in enumerate(good)] + [
        judged("elsewhere", s, probe=i) for i, s in enumerate(bad)
    ]


def test_figures_are_over_the_last_five_rounds() -> None:
    """As if these were one; calls and cost are the round's own."""
    watch, rounds = JudgeWatch(), []
    for number in range(8):
        rounds.append(a_round((4.0, number / 2), (1.0, 3.0)))
        metrics, told = watch.look(number, rounds[-1])
        assert told == ""
    whole = control_figures(outcomes_of([c for of in rounds[-5:] for c in of]))
    assert whole.auc is not None
    assert whole.sensitivity is not None
    assert whole.specificity is not None
    assert metrics == {
        "judge/auc": whole.auc.value,
        "judge/auc_lower": whole.auc.interval.lower,
        "judge/auc_upper": whole.auc.interval.upper,
        "judge/sensitivity": whole.sensitivity.rate,
        "judge/sensitivity_lower": whole.sensitivity.interval.lower,
        "judge/sensitivity_upper": whole.sensitivity.interval.upper,
        "judge/specificity": whole.specificity.rate,
        "judge/specificity_lower": whole.specificity.interval.lower,
        "judge/specificity_upper": whole.specificity.interval.upper,
        "judge/answered": 1.0,
        "judge/calls": 8.0,
        "judge/cost": 1.0,
        "judge/alarm": 0.0,
    }
    assert set(metrics) == set(JUDGE_METRICS)


def test_what_was_not_answered_is_no_figure_and_no_alarm() -> None:
    """An outage says nothing of what the judge is like; an unknown price is none."""
    watch = JudgeWatch()
    assert watch.look(0, []) == ({}, "")
    silent = [judged("object", None), judged("elsewhere", None)]
    assert watch.look(0, silent)[0] == {
        "judge/answered": 0.0,
        "judge/calls": 4.0,
        "judge/cost": 0.5,
        "judge/alarm": 0.0,
    }
    for number in range(1, 7):
        watch.look(number, a_round((5.0,) * 4, (0.0,) * 4))
    unknown = replace(
        silent[0], verdict=Verdict.unscored(UnscoredReason.TIMEOUT, usage=Usage(cost_usd=None))
    )
    before = watch.state_dict()
    metrics, told = watch.look(7, [unknown, silent[1]])
    assert watch.look(8, [judged("object", 5.0), silent[1]])[1] == ""  # no bad one was answered
    assert watch.state_dict() == before
    assert (metrics["judge/auc"], metrics["judge/alarm"], told) == (1.0, 0.0, "")
    assert "judge/cost" not in metrics


def test_ties_are_counted_between_one_picture_s_controls_of_one_name() -> None:
    """A misnamed one, another picture's, and one without an answer make no pair."""
    kept = ControlRound.of(
        3,
        [
            judged("object", 3.0, probe=0),
            judged("elsewhere", 3.0, probe=0),
            judged("object", 3.0, probe=1),
            judged("shuffled", 2.0, probe=1),
            judged("object", 3.0, probe=2),
            judged("other label", 3.0, probe=2),
            judged("object", None, probe=3),
            judged("elsewhere", 3.0, probe=3),
        ],
    )
    assert (kept.number, kept.pairs, kept.ties) == (3, 2, 1)
    assert (kept.good, kept.bad) == ((3.0, 3.0, 3.0), (3.0, 2.0, 3.0, 3.0))


def test_the_p_value_is_the_share_of_all_exchanges() -> None:
    """Counted out, for scores in tenths with ties."""
    rng = np.random.default_rng(0)
    for _ in range(6):
        scores = np.round(rng.uniform(0, 5, (4, 3)), 1).tolist()
        then = [
            ControlRound(number=n, good=tuple(scores[n]), bad=tuple(scores[n + 1])) for n in (0, 1)
        ]
        now = [ControlRound(number=2, good=tuple(scores[2]), bad=tuple(scores[3]))]
        good = [s for r in [*then, *now] for s in r.good]
        bad = [s for r in [*then, *now] for s in r.bad]
        seen = sum(now[0].good) - sum(now[0].bad)
        found = [
            sum(of_good) - sum(of_bad) <= seen + 1e-9
            for of_good in combinations(good, 3)
            for of_bad in combinations(bad, 3)
        ]
        assert area_p_value(then, now) == pytest.approx(sum(found) / len(found), rel=1e-9)


@pytest.mark.parametrize(
    ("count", "last", "then", "now"),
    [
        (3, 2, [0], [1, 2]),
        (4, 2, [0, 1], [2, 3]),
        (6, 4, [0, 1], [2, 3, 4, 5]),
        (9, 2, [0, 1, 2, 3, 4], [7, 8]),
        (1, 2, [], [0]),
    ],
)
def test_no_round_is_compared_with_itself(
    count: int, last: int, then: list[int], now: list[int]
) -> None:
    """The first rounds end where the last ones begin."""
    rounds = [ControlRound(number=number, good=(), bad=()) for number in range(count)]
    assert [[r.number for r in part] for part in times_of(rounds, last)] == [then, now]


def test_ties_are_tested_by_fisher() -> None:
    """The hypergeometric tail, counted out; without pairs there is nothing to see."""
    then = [ControlRound(number=0, good=(), bad=(), pairs=6, ties=1)]
    now = [ControlRound(number=1, good=(), bad=(), pairs=4, ties=3)]
    pairs = [1] * 4 + [0] * 6
    found = [sum(drawn) >= 3 for drawn in combinations(pairs, 4)]
    assert ties_p_value(then, now) == pytest.approx(sum(found) / len(found), rel=1e-12)
    none = [ControlRound(number=0, good=(1.0,), bad=(1.0,))]
    assert ties_p_value(none, none) == 1.0


def test_one_score_for_good_and_bad_alike_is_tested_by_all_exchanges() -> None:
    """Counted out for each score; times the number of scores."""
    then = [ControlRound(number=0, good=(5.0, 3.0, 4.0, 4.5), bad=(0.0, 3.0, 1.0))]
    now = [ControlRound(number=1, good=(3.0, 3.0, 4.0), bad=(3.0, 3.0))]
    shares = []
    for score, often in ((3.0, 2),):
        good, bad = (then[0].good + now[0].good), (then[0].bad + now[0].bad)
        shares.append(
            np.mean([sum(s == score for s in c) >= often for c in combinations(good, 3)])
            * np.mean([sum(s == score for s in c) >= often for c in combinations(bad, 2)])
        )
    seen = len({*good, *bad})
    assert seen == 6
    assert one_score_p_value(then, now) == pytest.approx(seen * min(shares), rel=1e-12)


def test_a_judge_that_became_surer_has_no_score_for_good_and_bad() -> None:
    """Though each of its answers is one that was rare before."""
    then = [ControlRound(number=0, good=(3.0, 3.5, 4.0, 4.5), bad=(0.5, 1.0, 1.5, 2.0))] * 5
    now = [ControlRound(number=9, good=(5.0,) * 4, bad=(0.0,) * 4)] * 2
    assert one_score_p_value(then, now) == 1.0
    assert one_score_p_value(now, now) == 1.0


def test_the_levels_of_all_tests_together_have_a_bound() -> None:
    """However long the run; that of twenty rounds is below 1 of 200."""
    levels = [level_of(test) for test in range(1, 5001)]
    assert FALSE_ALARMS * 0.99 < sum(levels) < FALSE_ALARMS
    assert sum(levels[3:20]) < 1 / 200  # the fourth round is the first with two before its own two
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize("drift", simulation.DRIFTS)
def test_a_fall_is_told_within_two_rounds(drift: str) -> None:
    """Of a judge that was sure for five, with eight controls each: in words, once."""
    rng = np.random.default_rng(0)
    watch, told = JudgeWatch(), []
    for number in range(10):
        judge = simulation.sharp if number < 5 else simulation.DRIFTS[drift]
        told.append(watch.take(simulation.one_round(number, judge, 4, rng)))
        assert watch.is_fallen == (number >= 6) or number == 5
    said = [number for number, line in enumerate(told) if line.startswith("the judge tells")]
    assert len(said) == 1
    assert said[0] in (5, 6)
    line = told[said[0]]
    assert "in rounds 0 to 4 (40)" in line
    assert f"in rounds {said[0] - 1} to {said[0]} (16)" in line
    assert f"Scores since round {said[0] - 1} are in doubt" in line


def test_a_judge_that_stays_is_left_in_peace() -> None:
    """120 runs of twenty rounds of a judge with an area of .9: no alarm in any."""
    rng = np.random.default_rng(1)
    judge = simulation.normal(0.9)
    assert [simulation.first_alarm([judge] * 20, 4, rng) for _ in range(120)] == [None] * 120


def test_a_judge_that_was_never_any_good_is_told_once() -> None:
    """When the upper end of its area is below .75."""
    rng = np.random.default_rng(2)
    watch = JudgeWatch()
    told = [
        watch.take(simulation.one_round(number, simulation.at_random, 4, rng))
        for number in range(9)
    ]
    assert sum("hardly tells pictures with known answers apart" in line for line in told) == 1
    assert not watch.is_fallen


@pytest.mark.parametrize("at", range(1, 9))
def test_a_resumed_watch_goes_on_as_one_never_interrupted(at: int) -> None:
    """From plain values; a round that comes again replaces itself and what came after."""
    rng = np.random.default_rng(3)
    rounds = [
        simulation.one_round(n, simulation.sharp if n < 6 else simulation.constant, 4, rng)
        for n in range(10)
    ]
    whole, first, second = JudgeWatch(), JudgeWatch(), JudgeWatch()
    expected = [whole.take(one) for one in rounds]
    for one in rounds[:at]:
        first.take(one)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [second.take(one) for one in rounds[at:]] == expected[at:]
    assert second.state_dict() == whole.state_dict()
    assert second.state_dict()["tests"] == 10
    second.load_state_dict(first.state_dict())
    again = second.state_dict()
    second.take(rounds[at - 1])
    assert second.state_dict()["rounds"] == again["rounds"]


def test_the_area_of_one_round_is_its_own() -> None:
    """None where only good or only bad ones were answered."""
    assert round_auc(a_round((4.0, 2.0), (3.0, 1.0))) == 0.75
    assert round_auc(a_round((4.0,), ())) is None
    assert round_auc([]) is None

"""Who is judged in a round: what stands, who is drawn, and what a run's speed has to do with it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from draws import every_draw
from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import Explanation, JudgeRequest, Round, UnscoredReason, Verdict
from lightning_vlmxai.rounds.book import RoundBook
from lightning_vlmxai.rounds.drawing import (
    FEW,
    FLOOR,
    JUDGE_SPREAD,
    MOVED_SPREAD,
    expect,
    inclusion_probabilities,
    plan,
)
from lightning_vlmxai.rounds.panel import REMEMBERED, Chance, Panel, next_share
from lightning_vlmxai.testing import ScriptedJudge
from samples import make_explanation, make_probe

PROBES = 40


def lit(index: int, share: float, *, label: str = "cat", pixel: float = 0.5) -> Explanation:
    """Return an explanation whose mask keeps the upper part of a picture of 100 lines."""
    mask = torch.zeros(100, 20)
    mask[: round(100 * share)] = 1.0
    return replace(
        make_explanation(index, label_name=label, mask=mask),
        pixels=torch.full((3, 100, 20), pixel),
    )


def lit_rounds(rounds: int, *, seed: int = 0) -> list[list[Explanation]]:
    """Return rounds of probes whose masks wander."""
    generator = np.random.default_rng(seed)
    shares = generator.uniform(0.2, 0.8, PROBES)
    told = []
    for _ in range(rounds):
        told.append([lit(i, float(share)) for i, share in enumerate(shares)])
        shares = np.clip(shares + generator.normal(0, 0.04, PROBES), 0.05, 1)
    return told


class Paced(ScriptedJudge):
    """Takes its time, and scores in halves of the kept share."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(lambda request: Verdict.scored(5 * float(request.mask.mean())))
        self._seconds = seconds

    async def judge(self, request: JudgeRequest) -> Verdict:
        await asyncio.sleep(self._seconds)
        return await super().judge(request)


def run(
    judge: ScriptedJudge,
    rounds: Sequence[Sequence[Explanation]],
    *,
    share: float = 0.4,
    lag: int = 0,
    split: int | None = None,
    **settings: Any,
) -> list[Round]:
    """Return closed rounds; interrupted and resumed after `split`."""
    worker = JudgeWorker(judge)

    def make_book(number: int) -> RoundBook:
        return RoundBook(
            worker,
            lag=lag,
            deadline_s=60,
            threshold=2.5,
            judged_share=share,
            number=number,
            **settings,
        )

    book, closed = make_book(0), []
    for number, explanations in enumerate(rounds):
        if number == split:
            state, book = book.state_dict(), make_book(number)
            pixels = torch.full((3, 100, 20), 0.5)
            book.resume(state, [make_probe(i, pixels) for i in range(PROBES)])
        book.open(explanations, stage="fit", epoch=number, step=number)
        closed += book.collect()
    closed += book.drain()
    worker.close()
    return closed


def tell(rounds: Sequence[Round]) -> list[object]:
    """Return all of rounds that a draw decides."""
    return [
        (s.verdict.score, s.verdict.is_reused, s.inclusion, s.expected_score, s.score_drift)
        for closed in rounds
        for s in closed.samples
    ] + [closed.metrics for closed in rounds]


def test_a_verdict_that_stands_costs_nothing_and_says_so() -> None:
    """The first round is judged whole; later ones in part, and each has its last asked verdict."""
    judge, rounds = Paced(), lit_rounds(6)
    closed = run(judge, rounds)
    assert all(not s.verdict.is_reused and s.inclusion == 1 for s in closed[0].samples)
    past: dict[int, list[tuple[float, torch.Tensor]]] = {i: [] for i in range(PROBES)}
    asked = 0
    for of, explanations in zip(closed, rounds, strict=True):
        for sample, explanation in zip(of.samples, explanations, strict=True):
            mask, own = explanation.mask, past[explanation.probe_index]
            if of.number and sample.inclusion < 1:
                ious = [float((m * mask).sum() / torch.maximum(m, mask).sum()) for _, m in own]
                spread = [JUDGE_SPREAD**2 + (MOVED_SPREAD * (1 - iou)) ** 2 for iou in ious]
                weighted = sum(score / s for (score, _), s in zip(own, spread, strict=True))
                wanted = weighted / sum(1 / s for s in spread)
                assert sample.expected_score == pytest.approx(wanted, abs=1e-5)
            else:
                assert sample.expected_score is None
            if sample.verdict.is_reused:
                nearest = max(range(len(own)), key=lambda i, ious=ious: ious[i])
                assert sample.verdict.score == pytest.approx(own[nearest][0])
                assert sample.verdict.usage.calls == 0
                assert sample.score_drift is None
                assert sample.inclusion < 1
            else:
                asked += 1
                assert sample.verdict.score == pytest.approx(5 * float(mask.mean()))
                own.append((sample.verdict.score, mask))
                del own[:-REMEMBERED]
    assert asked == len(judge.requests) < 0.6 * 6 * PROBES
    assert (
        closed[3].metrics["reused"] + sum(not s.verdict.is_reused for s in closed[3].samples) == 40
    )
    assert closed[0].metrics["judged_share"] == 1
    assert closed[3].metrics["judged_share"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    "changed",
    [{"label": "dog"}, {"pixel": 0.25}],
    ids=["another prediction", "another picture"],
)
def test_a_changed_probe_is_always_judged(changed: dict[str, Any]) -> None:
    """Another prediction or picture is another question."""
    first = [lit(i, 0.9) for i in range(PROBES)]
    second = [lit(i, 0.9, **(changed if i % 5 == 0 else {})) for i in range(PROBES)]
    closed = run(ScriptedJudge([Verdict.scored(5)] * 2 * PROBES), [first, second], share=0.3)
    for sample in closed[1].samples:
        is_changed = sample.explanation.probe_index % 5 == 0
        assert (sample.inclusion == 1) is is_changed
        assert not (is_changed and sample.verdict.is_reused)


def test_a_share_of_one_draws_nothing() -> None:
    """All are asked in each round, and the figures are those of a book without a panel."""
    judge = Paced()
    closed = run(judge, lit_rounds(3), share=1.0)
    assert len(judge.requests) == 3 * PROBES
    assert all(s.inclusion == 1 and s.expected_score is None for of in closed for s in of.samples)
    assert "judged_share" not in closed[1].metrics
    assert Panel(1.0, seed=0, threshold=2.5).state_dict()["judged"] == []


def test_what_was_not_scored_is_asked_again() -> None:
    """A failure is no verdict that stands, nor does it let the one before stand."""
    rounds = [[lit(i, 0.9) for i in range(PROBES)]] * 3
    failed = Verdict.unscored(UnscoredReason.TIMEOUT, "slow")
    calls: list[int] = []

    def answer(request: JudgeRequest) -> Verdict:
        calls.append(request.round_number)
        return failed if request.round_number == 1 else Verdict.scored(5)

    closed = run(ScriptedJudge(answer), rounds, share=0.3)
    out = {s.explanation.probe_index for s in closed[1].samples if s.verdict.score is None}
    assert out
    assert len(out) == calls.count(1)
    for sample in closed[2].samples:
        if sample.explanation.probe_index in out:
            assert sample.inclusion == 1
            assert not sample.verdict.is_reused


def test_a_judge_that_refuses_takes_no_verdict_that_stands() -> None:
    """They stand and count for nothing, as nothing that was drawn is answered."""

    class Refuses(JudgeWorker):
        is_out = False

        def submit(self, requests: Sequence[JudgeRequest]) -> Any:
            if self.is_out:
                raise RuntimeError("the thread is gone")
            return super().submit(requests)

    worker = Refuses(Paced())
    book = RoundBook(worker, lag=0, deadline_s=60, threshold=2.5, judged_share=0.4)
    closed = []
    for number, explanations in enumerate(lit_rounds(2)):
        worker.is_out = number == 1
        book.open(explanations, stage="fit", epoch=number, step=number)
        closed += book.collect()
    worker.close()
    out = closed[1]
    for sample in out.samples:
        assert sample.verdict.is_reused == (sample.verdict.score is not None)
    assert 0 < out.metrics["reused"] < PROBES
    assert out.metrics["coverage"] == 0
    assert "correct_low_rate" not in out.metrics
    assert "average_score" not in out.metrics


@pytest.mark.parametrize("lag", [0, 1, 2])
@pytest.mark.parametrize("split", [None, 3])
def test_neither_speed_nor_an_interruption_plays_a_part(lag: int, split: int | None) -> None:
    """Only closed rounds count; a resumed run draws what it would have drawn."""
    rounds = lit_rounds(6)
    found = [
        tell(run(Paced(seconds), rounds, lag=lag, split=split, seed=3)) for seconds in (0.0, 0.01)
    ]
    assert found[0] == found[1]
    assert found[0] == tell(run(Paced(), rounds, lag=lag, seed=3))
    assert any(s[1] for s in found[0] if isinstance(s, tuple))
    assert found[0] != tell(run(Paced(), rounds, lag=lag, seed=4))


def test_a_watched_class_is_judged_with_the_share_at_least() -> None:
    """Its probes have a floor of their own, by their true class."""
    explanations = [lit(i, 0.9, label="rare" if i < 4 else "cat") for i in range(PROBES)]
    rounds = [explanations] * 3
    settings: dict[str, Any] = {"watch_classes": ["rare"], "share": 0.3}
    closed = run(ScriptedJudge(lambda _: Verdict.scored(5)), rounds, **settings)
    inclusion = [s.inclusion for s in closed[2].samples]
    assert min(inclusion[:4]) >= 0.3
    assert FLOOR <= min(inclusion[4:]) < 0.3
    assert "class/rare/correct_high_rate" in closed[2].metrics


def test_drawing_takes_no_number_from_anyone() -> None:
    """The generators of training are where they were."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[2]  # noqa: NPY002
    run(Paced(), lit_rounds(3))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[2] == before[1]  # noqa: NPY002


@pytest.mark.parametrize("inclusion", [[0.1, 0.35, 0.5, 0.9], [0.2, 0.2, 0.3, 1.0, 0.7], [0.4]])
def test_each_is_drawn_with_its_own_probability(inclusion: list[float]) -> None:
    """Over all draws that there are, exactly; the size differs from the expected by less than 1."""
    draws = every_draw(inclusion)
    for place, p in enumerate(inclusion):
        assert math.isclose(math.fsum(q for q, drawn in draws if drawn[place]), p)
    assert all(abs(sum(drawn) - sum(inclusion)) < 1 for _, drawn in draws)


def test_probabilities_grow_with_weights_between_floor_and_one() -> None:
    """They add up to what was asked for, where the floors let them."""
    weights, floors = [0.0, 0.2, 0.5, 1.0, 40.0], [0.1, 0.1, 0.3, 0.1, 0.1]
    found = inclusion_probabilities(weights, 2.5, floors)
    assert math.isclose(sum(found), 2.5)
    assert found[0] == 0.1
    assert found[4] == 1
    assert found[1] / 0.2 == pytest.approx(found[3] / 1.0)
    assert all(p >= floor for p, floor in zip(found, floors, strict=True))
    assert inclusion_probabilities(weights, 0.1, floors) == floors
    assert inclusion_probabilities(weights, 5, floors) == [1.0] * 5
    assert inclusion_probabilities([0.0, 0.0], 1.0, [0.1, 0.1]) == [0.1, 0.1]
    assert inclusion_probabilities([], 1.0, []) == []


def test_a_moved_mask_and_a_close_score_are_asked_more_often() -> None:
    """The chance of a change grows with both, and falls with what is remembered."""

    def chance(*past: tuple[float, float]) -> float:
        scores, ious = zip(*past, strict=True)
        return expect(scores, ious).chance_of_change(2.5)

    assert chance((4, 1.0)) < chance((4, 0.5)) < chance((4, 0.1))
    assert chance((4, 0.5)) < chance((3, 0.5)) < chance((2.5, 0.5)) == 0.5
    assert chance((3, 0.5)) == pytest.approx(chance((2, 0.5)))
    assert chance((3, 0.5), (3, 0.5)) < chance((3, 0.5))
    assert expect([1, 5], [0.0, 1.0]).score > 4.5


def test_the_certain_are_paid_first_and_a_few_are_asked_all_the_same() -> None:
    """Watched classes are asked with their share at least; with a share of 1 all are."""
    chances, watched = [0.2] * 20, [True] + [False] * 19
    told: dict[str, Any] = {"share": 0.4, "watched_share": 0.4}
    some = plan(chances, watched, probes=30, **told)
    assert sum(some) == pytest.approx(FEW)
    assert some[0] == 0.4
    assert min(some[1:]) >= FLOOR
    many = plan(chances, [False] * 20, probes=20, **told)
    assert sum(many) == pytest.approx(8)
    few = plan(chances, [False] * 20, probes=200, **told)
    assert sum(few) == pytest.approx(FEW)
    assert plan(chances, watched, probes=30, **{**told, "share": 1.0}) == [1.0] * 20


def make_chances(changed: int, same: int) -> tuple[list[Chance], list[Verdict]]:
    """Return what was drawn, and what became of it."""
    kept = Verdict.scored(4)
    chances = [Chance(inclusion=0.5, is_asked=True, expected=4.0, kept=kept)] * (changed + same)
    return chances, [Verdict.scored(1)] * changed + [Verdict.scored(4)] * same


def test_many_changes_raise_the_share_at_once_and_it_comes_back_by_steps() -> None:
    """Doubled, at most to all; half of the way back in each round without."""
    assert next_share(0.4, 0.4, *make_chances(0, 20), 2.5) == 0.4
    assert next_share(0.4, 0.4, *make_chances(2, 18), 2.5) == 0.4
    assert next_share(0.4, 0.4, *make_chances(8, 12), 2.5) == 0.8
    assert next_share(0.8, 0.4, *make_chances(8, 12), 2.5) == 1.0
    share, steps = 1.0, []
    while share > 0.4:
        share = next_share(share, 0.4, *make_chances(0, 20), 2.5)
        steps.append(share)
    assert steps[0] == pytest.approx(0.7)
    assert steps == sorted(steps, reverse=True)
    assert len(steps) < 8
    assert next_share(0.8, 0.4, [], [], 2.5) == pytest.approx(0.6)


def test_a_round_in_which_much_changes_is_followed_by_more_calls() -> None:
    """The share is logged, and in the state."""
    still = [[lit(i, 0.9) for i in range(PROBES)]] * 2
    gone = [[lit(i, 0.05) for i in range(PROBES)]] * 3
    closed = run(Paced(), [*still, *gone])
    shares = [of.metrics["judged_share"] for of in closed]
    assert shares[:4] == pytest.approx([1.0, 0.4, 0.4, 0.8])
    assert closed[3].metrics["reused"] < closed[1].metrics["reused"]
    again = run(Paced(), [*still, *gone], split=3)
    assert tell(again) == tell(closed)

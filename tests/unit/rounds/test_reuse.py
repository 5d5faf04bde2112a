"""Verdicts that still hold: what is asked anew does not depend on how fast a judge is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import Explanation, JudgeRequest, Round, UnscoredReason, Verdict
from lightning_vlmxai.rounds.book import RoundBook
from lightning_vlmxai.testing import ScriptedJudge
from samples import make_explanation, make_probe


def lit(share: float, *, label: str = "cat", pixel: float = 0.5) -> Explanation:
    """Return an explanation whose mask keeps the upper part of a picture of 100 lines."""
    mask = torch.zeros(100, 100)
    mask[: round(100 * share)] = 1.0
    return replace(
        make_explanation(1, label_name=label, mask=mask), pixels=torch.full((3, 100, 100), pixel)
    )


class Paced(ScriptedJudge):
    """Takes its time, and scores in halves of the kept share."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(lambda request: Verdict.scored(5 * float(request.mask.mean())))
        self._seconds = seconds

    async def judge(self, request: JudgeRequest) -> Verdict:
        await asyncio.sleep(self._seconds)
        return await super().judge(request)


def run(
    judge: ScriptedJudge, rounds: Sequence[Explanation], *, lag: int = 0, split: int | None = None
) -> list[Round]:
    """Return the closed rounds of one explanation each; interrupted and resumed after `split`."""
    worker = JudgeWorker(judge)

    def make_book(number: int) -> RoundBook:
        return RoundBook(
            worker, lag=lag, deadline_s=60, threshold=2.5, reuse_iou=0.9, number=number
        )

    book, closed = make_book(0), []
    for number, explanation in enumerate(rounds):
        if number == split:
            state, book = book.state_dict(), make_book(number)
            book.resume(state, [make_probe(1, torch.full((3, 100, 100), 0.5))])
        book.open([explanation], stage="fit", epoch=number, step=number)
        closed += book.collect()
    closed += book.drain()
    worker.close()
    return closed


def test_a_reused_verdict_costs_nothing_and_says_so() -> None:
    """With the mask hardly changed and the prediction the same, the verdict stays."""
    judge = Paced()
    first, second = (r.samples[0].verdict for r in run(judge, [lit(0.50), lit(0.53)]))
    assert len(judge.requests) == 1
    assert (first.score, second.score) == (2.5, 2.5)
    assert (first.is_reused, second.is_reused) == (False, True)
    assert second.usage.calls == 0


@pytest.mark.parametrize(
    "changed",
    [lit(0.60), lit(0.50, label="dog"), lit(0.50, pixel=0.25)],
    ids=["another mask", "another prediction", "another picture"],
)
def test_a_changed_probe_is_not_reused(changed: Explanation) -> None:
    """Another mask, prediction or picture is judged anew."""
    judge = Paced()
    verdicts = [r.samples[0].verdict for r in run(judge, [lit(0.50), changed])]
    assert len(judge.requests) == 2
    assert not verdicts[1].is_reused


def test_small_steps_do_not_carry_a_verdict_away() -> None:
    """A mask is compared with the one that was judged, not with the one last reused."""
    judge = Paced()
    rounds = run(judge, [lit(share) for share in (0.50, 0.53, 0.56, 0.59)])
    assert len(judge.requests) == 2
    assert rounds[-1].samples[0].verdict.score == pytest.approx(2.8)


def test_what_was_not_scored_is_asked_again() -> None:
    """A failure is no verdict that holds."""
    judge = ScriptedJudge([Verdict.unscored(UnscoredReason.TIMEOUT, "slow")])
    run(judge, [lit(0.5), lit(0.5)])
    assert len(judge.requests) == 2


@pytest.mark.parametrize("lag", [0, 1, 2])
@pytest.mark.parametrize("split", [None, 2])
def test_neither_speed_nor_an_interruption_plays_a_part(lag: int, split: int | None) -> None:
    """Only closed rounds count: with a lag the verdict of the round before is not there yet."""
    shares = [0.50, 0.53, 0.50, 0.56, 0.58, 0.70, 0.70]
    found = []
    for seconds in (0.0, 0.05):
        rounds = run(Paced(seconds), [lit(share) for share in shares], lag=lag, split=split)
        found.append([(v.score, v.is_reused) for v in (r.samples[0].verdict for r in rounds)])
    assert found[0] == found[1]
    assert any(is_reused for _, is_reused in found[0])
    whole = run(Paced(), [lit(share) for share in shares], lag=lag)
    assert found[0] == [(v.score, v.is_reused) for v in (r.samples[0].verdict for r in whole)]

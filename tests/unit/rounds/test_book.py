"""Rounds: lag, deadlines, what is sent and what is not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_vlmxai.errors import ConfigurationError, VLMExplainError
from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import (
    JudgeRequest,
    Quadrant,
    Round,
    UnscoredReason,
    Verdict,
)
from lightning_vlmxai.rounds.book import RoundBook
from lightning_vlmxai.rounds.ranks import Ranks
from lightning_vlmxai.testing import ScriptedJudge
from samples import make_explanation, make_probe


@pytest.fixture
def judge() -> ScriptedJudge:
    """Return a judge that gives each probe its index as score."""
    return ScriptedJudge(lambda request: Verdict.scored(request.probe_index))


@pytest.fixture
def worker(judge: ScriptedJudge) -> Iterator[JudgeWorker]:
    """Yield a worker and end it."""
    worker = JudgeWorker(judge)
    yield worker
    worker.close()


def make_book(worker: JudgeWorker, **settings: object) -> RoundBook:
    """Return a book that waits for a minute at most."""
    return RoundBook(worker, **{"lag": 1, "deadline_s": 60.0, "threshold": 2.5, **settings})


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_a_round_is_collected_exactly_lag_rounds_later(worker: JudgeWorker, lag: int) -> None:
    """At validation N the round N - lag comes out, with its own step and epoch."""
    book = make_book(worker, lag=lag)
    seen = []
    for n in range(5):
        book.open([make_explanation()], stage="fit", epoch=n, step=10 * n)
        seen.append([(c.number, c.epoch, c.step) for c in book.collect()])
    assert seen == [[(n - lag, n - lag, 10 * (n - lag))] if n >= lag else [] for n in range(5)]
    assert [c.number for c in book.drain()] == list(range(5 - lag, 5))
    assert book.drain() == []


def test_verdicts_come_back_to_their_own_probes(worker: JudgeWorker) -> None:
    """Each sample carries the score that the judge gave to its index, in their order."""
    book = make_book(worker, lag=0)
    book.open([make_explanation(i) for i in (1, 3, 5)], stage="fit", epoch=0, step=0)
    (closed,) = book.collect()
    assert [(s.explanation.probe_index, s.verdict.score) for s in closed.samples] == [
        (1, 1.0), (3, 3.0), (5, 5.0),
    ]  # fmt: skip


def test_blank_saliency_is_never_sent_and_never_scored(
    worker: JudgeWorker, judge: ScriptedJudge
) -> None:
    """A blank map among others is unscored(blank_saliency); the others keep their verdicts."""
    book = make_book(worker, lag=0)
    explanations = [make_explanation(i, is_blank=i == 2) for i in (1, 2, 3)]
    book.open(explanations, stage="fit", epoch=0, step=0)
    (closed,) = book.collect()
    assert [r.probe_index for r in judge.requests] == [1, 3]
    assert [s.verdict.score for s in closed.samples] == [1.0, None, 3.0]
    assert closed.samples[1].verdict.reason is UnscoredReason.BLANK_SALIENCY
    assert closed.metrics["coverage"] == pytest.approx(2 / 3)


def test_what_misses_the_deadline_is_unscored() -> None:
    """A judge that never answers leaves unscored(deadline), and all probes are accounted for."""
    worker = JudgeWorker(ScriptedJudge([Verdict.scored(5)], delay_s=3600))
    try:
        book = make_book(worker, lag=0, deadline_s=0.05)
        book.open([make_explanation(i) for i in range(3)], stage="fit", epoch=0, step=0)
        (closed,) = book.collect()
    finally:
        worker.close()
    assert [s.verdict.reason for s in closed.samples] == [UnscoredReason.DEADLINE] * 3
    assert closed.judged == 0
    assert closed.metrics["unscored"] == 3


def test_drift_compares_a_probe_with_its_own_last_mask(worker: JudgeWorker) -> None:
    """Half of the mask moved: IoU 1/3, drift 2/3; a blank map in between is passed over."""
    left = torch.zeros(8, 8)
    left[:, :4] = 1
    middle = torch.zeros(8, 8)
    middle[:, 2:6] = 1
    book = make_book(worker, lag=0)
    drifts = []
    for mask, blank in ((left, False), (left, False), (left, True), (middle, False)):
        explanation = make_explanation(1, mask=mask, is_blank=blank)
        book.open([explanation], stage="fit", epoch=0, step=0)
        drifts.append(book.collect()[0].samples[0].attention_drift)
    assert drifts == [None, 0, None, pytest.approx(2 / 3)]


def test_a_judge_that_raises_costs_one_sample_and_says_why() -> None:
    """A bug in a judge is unscored(judge_error) with the exception's text."""

    def script(request: object) -> Verdict:
        raise RuntimeError("no such thing")

    worker = JudgeWorker(ScriptedJudge(script))
    try:
        book = make_book(worker, lag=0)
        book.open([make_explanation()], stage="fit", epoch=0, step=0)
        (closed,) = book.collect()
    finally:
        worker.close()
    verdict = closed.samples[0].verdict
    assert verdict.reason is UnscoredReason.JUDGE_ERROR
    assert "no such thing" in verdict.detail


@dataclass(frozen=True, kw_only=True)
class ThreadRanks(Ranks):
    """Ranks that are threads of this process."""

    meeting: threading.Barrier
    told: list[object]

    def gather(self, own: Any) -> list[Any]:
        """Return what each thread has to tell."""
        self.told[self.rank] = own
        self.meeting.wait(30)
        gathered = list(self.told)
        self.meeting.wait(30)
        return gathered


def on_ranks(size: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """Return what some work returns on each of so many ranks."""
    meeting, told = threading.Barrier(size), [None] * size
    with ThreadPoolExecutor(size) as threads:
        jobs = [
            threads.submit(work, ThreadRanks(rank=rank, size=size, meeting=meeting, told=told))
            for rank in range(size)
        ]
        return [job.result(60) for job in jobs]


@pytest.mark.parametrize("size", [2, 3, 7])
def test_every_rank_closes_the_round_that_one_rank_would(size: int) -> None:
    """Uneven shares, and ranks without any: figures and samples are those of one rank alone."""
    explanations = [make_explanation(i, is_blank=i == 2) for i in range(5)]
    asked: list[list[int]] = []

    def work(ranks: Ranks) -> Round:
        judge = ScriptedJudge(lambda request: Verdict.scored(request.probe_index))
        worker = JudgeWorker(judge)
        book = make_book(worker, lag=0, ranks=ranks)
        for step in (0, 1):
            book.open(explanations, stage="fit", epoch=0, step=step, missing=2, failure="no memory")
            (closed,) = book.collect()
        worker.close()
        asked.append([request.probe_index for request in judge.requests])
        return closed

    (alone,) = on_ranks(1, work)
    asked.clear()
    for closed in on_ranks(size, work):
        assert closed.metrics == alone.metrics
        assert [s.verdict.score for s in closed.samples] == [0, 1, None, 3, 4]
        assert (closed.missing, closed.failure) == (2, "no memory")
    assert sorted(index for share in asked for index in share) == sorted(2 * [0, 1, 3, 4])
    assert max(map(len, asked)) - min(map(len, asked)) <= 2  # two rounds of shares that differ by 1


def test_a_rank_whose_judge_can_t_be_opened_keeps_no_other_waiting() -> None:
    """Its share is unscored(judge_error) on every rank; the other's is judged."""

    class Broken(ScriptedJudge):
        async def open(self) -> None:
            raise OSError("no such device")

    def work(ranks: Ranks) -> Round:
        make = Broken if ranks.rank == 1 else ScriptedJudge
        worker = JudgeWorker(make([Verdict.scored(5)]))
        book = make_book(worker, lag=0, ranks=ranks)
        book.open([make_explanation(i) for i in range(4)], stage="fit", epoch=0, step=0)
        (closed,) = book.collect()
        worker.close()
        return closed

    for closed in on_ranks(2, work):
        reasons = [s.verdict.reason for s in closed.samples]
        assert reasons == [None, UnscoredReason.JUDGE_ERROR] * 2
        assert "no such device" in closed.samples[1].verdict.detail


class Patient(ScriptedJudge):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__([Verdict.scored(4)], concurrency=2)
        self.leave = threading.Event()

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Return a verdict, once."""
        while not self.leave.is_set():
            await asyncio.sleep(0.001)
        return await super().judge(request)


def test_a_verdict_after_its_deadline_is_told_and_not_counted() -> None:
    """It comes out once, by the number of its round, without pictures; no score follows on it."""
    judge = Patient()
    worker = JudgeWorker(judge)
    book = make_book(worker, lag=0, deadline_s=0.05)
    try:
        book.open([make_explanation(i) for i in range(3)], stage="fit", epoch=1, step=7)
        (closed,) = book.collect()
        assert book.take_late() == []
        judge.leave.set()
        (second,) = reopen(book)
        late = book.take_late()
    finally:
        worker.close()
    assert closed.metrics["coverage"] == 0
    assert {(r.number, r.epoch, r.step) for r in late} == {(0, 1, 7)}
    samples = [sample for r in late for sample in r.samples]
    assert sorted(s.explanation.probe_index for s in samples) == [0, 1]
    assert {(s.verdict.score, s.quadrant) for s in samples} == {(4.0, Quadrant.CORRECT_HIGH)}
    assert all(s.explanation.mask.numel() == 0 for s in samples)
    assert all(r.metrics == {} for r in late)
    assert book.take_late() == []
    assert "score_drift" not in second.metrics


def reopen(book: RoundBook) -> list[Round]:
    """Open a second round and drain the book."""
    book.open([make_explanation(i) for i in range(2)], stage="fit", epoch=2, step=9)
    return book.drain()


def test_a_call_that_hangs_blocks_the_judge_for_no_more_than_a_second_deadline() -> None:
    """Its place is free when the next round is opened, so that this one is judged."""

    class HangsOnce(ScriptedJudge):
        async def judge(self, request: JudgeRequest) -> Verdict:
            if request.round_number == 0:
                await asyncio.sleep(3600)
            return await super().judge(request)

    worker = JudgeWorker(HangsOnce([Verdict.scored(4)], concurrency=1))
    book = make_book(worker, lag=0, deadline_s=0.2)
    try:
        book.open([make_explanation(0)], stage="fit", epoch=0, step=0)
        assert book.collect()[0].judged == 0
        time.sleep(0.3)
        book._deadline_s = 60.0
        book.open([make_explanation(0)], stage="fit", epoch=1, step=1)
        assert book.collect()[0].judged == 1
    finally:
        worker.close()


@pytest.mark.parametrize("sizes", [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("lag", [1, 3])
def test_open_rounds_are_closed_by_who_resumes(
    tmp_path: Path, lag: int, sizes: tuple[int, int]
) -> None:
    """A book goes on from a saved state, on any number of ranks, as one never interrupted."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(6, 3, 8, 8, generator=generator)
    scores = torch.randint(0, 6, (6, 3), generator=generator).tolist()
    pixels = torch.rand(3, 3, 8, 8, generator=generator)
    probes = [make_probe(i, p) for i, p in enumerate(pixels)]

    def show(book: RoundBook, numbers: range) -> list[Round]:
        closed = []
        for n in numbers:
            explanations = [
                replace(make_explanation(i, mask=masks[n][i], is_blank=n == i), pixels=pixels[i])
                for i in range(3)
            ]
            book.open(explanations, stage="fit", epoch=n, step=10 * n)
            closed += book.collect()
        return closed

    def first(ranks: Ranks) -> tuple[list[Round], Any]:
        return whole(ranks, range(3), None)

    def whole(ranks: Ranks, numbers: range, state: Any) -> tuple[list[Round], Any]:
        def script(request: JudgeRequest) -> Verdict:
            assert torch.equal(request.pixels, pixels[request.probe_index])
            assert torch.equal(request.mask, masks[request.round_number][request.probe_index])
            return Verdict.scored(scores[request.round_number][request.probe_index])

        worker = JudgeWorker(ScriptedJudge(script))
        book = make_book(worker, lag=lag, ranks=ranks, number=numbers.start)
        if state is not None:
            book.resume(state, probes)
        closed = show(book, numbers)
        state = book.state_dict()
        if numbers.stop == 6:
            closed += book.drain()
        worker.close()
        return closed, state

    (unbroken, _), *_ = on_ranks(1, lambda ranks: whole(ranks, range(6), None))
    (before, state), *_ = on_ranks(sizes[0], first)
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert loaded["next_number"] == 3
    (after, _), *_ = on_ranks(sizes[1], lambda ranks: whole(ranks, range(3, 6), loaded))
    rounds = before + after
    assert [r.number for r in rounds] == list(range(6))
    assert [(r.epoch, r.step) for r in rounds] == [(r.epoch, r.step) for r in unbroken]
    assert [r.metrics for r in rounds] == [r.metrics for r in unbroken]
    assert "score_drift" in rounds[-1].metrics


def test_what_one_rank_raises_all_raise() -> None:
    """The same error with who found it; another's kind of error is told by its name."""

    def work(ranks: Ranks, error: Exception) -> Exception | None:
        try:
            with ranks.together():
                if ranks.rank == 1:
                    raise error
        except Exception as caught:
            return caught
        return None

    ours = on_ranks(3, lambda ranks: work(ranks, ConfigurationError("Expected a key.")))
    assert [type(error) for error in ours] == 3 * [ConfigurationError]
    assert str(ours[0]) == "Expected a key. (Rank 1 found this; all end with it.)"
    assert str(ours[1]) == "Expected a key."
    theirs = on_ranks(2, lambda ranks: work(ranks, KeyError("x")))
    assert [type(error) for error in theirs] == [VLMExplainError, KeyError]
    assert "KeyError: 'x'" in str(theirs[0])

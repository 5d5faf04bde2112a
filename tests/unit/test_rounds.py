"""Rounds: lag, deadlines, what is sent and what is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lightning_vlmxai.records import UnscoredReason, Verdict
from lightning_vlmxai.rounds import RoundBook
from lightning_vlmxai.testing import ScriptedJudge
from lightning_vlmxai.worker import JudgeWorker
from samples import make_explanation


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
    """Each sample carries the score that the judge gave to its index, in probe order."""
    book = make_book(worker, lag=0)
    book.open([make_explanation(i) for i in (3, 1, 5)], stage="fit", epoch=0, step=0)
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


def test_figures_are_of_what_all_ranks_gathered(worker: JudgeWorker) -> None:
    """The parts that the gather function gives are what is counted, what is missing as well."""
    book = make_book(worker, lag=0, gather=lambda own: [own, own, own])
    book.open([make_explanation(4)], stage="fit", epoch=0, step=0, missing=1, failure="no memory")
    (closed,) = book.collect()
    assert closed.judged == 3
    assert (closed.missing, closed.failure) == (3, "no memory")
    assert closed.metrics["coverage"] == 0.5
    assert closed.metrics["unscored"] == 3
    assert closed.metrics["average_score"] == 4

"""The end of a run that is interrupted: what is in is kept, what is not stays open in the state."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import torch

from lightning_vlmxai.judges import worker as worker_module
from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import JudgeRequest, Round, UnscoredReason, Verdict
from lightning_vlmxai.rounds import book
from lightning_vlmxai.rounds.book import RoundBook
from lightning_vlmxai.rounds.ranks import Ranks
from samples import make_explanation, make_probe

CLOSED = UnscoredReason.CLOSED.value


class Halting:
    """Scores probes below 2 with their index; any other hangs. One at a time."""

    name = "halting"
    concurrency = 1

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.hangs, self.goes_on = threading.Event(), threading.Event()

    def check(self) -> None:
        """Lack nothing."""

    async def open(self) -> None:
        """Hold nothing."""

    async def close(self) -> None:
        """Hold nothing."""

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Return the index, or never."""
        self.asked.append(request.probe_index)
        if request.probe_index >= 2:
            self.hangs.set()
            while not self.goes_on.is_set():
                await asyncio.sleep(0.005)
        return Verdict.scored(request.probe_index)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "INTERRUPTED_S", 0.05)
    monkeypatch.setattr(worker_module, "INTERRUPTED_S", 0.05)


@pytest.fixture
def worker() -> Iterator[JudgeWorker]:
    """Yield a worker of such a judge and end it."""
    worker = JudgeWorker(Halting())
    yield worker
    worker.close()


def told(closed: Round) -> list[object]:
    """Return each sample's score, or else its reason."""
    verdicts = [sample.verdict for sample in closed.samples]
    return [v.score if v.reason is None else v.reason.value for v in verdicts]


def two_rounds(worker: JudgeWorker, **settings: object) -> RoundBook:
    """Return a book with two open rounds of four probes, the third of which hangs."""
    kept = RoundBook(worker, **{"lag": 2, "deadline_s": 900.0, "threshold": 2.5, **settings})
    for epoch in range(2):
        kept.open([make_explanation(i) for i in range(4)], stage="fit", epoch=epoch, step=epoch)
    assert worker._judge.hangs.wait(60)
    return kept


def test_what_is_in_is_kept_and_nothing_more_is_sent(worker: JudgeWorker) -> None:
    """Probe 3 and the second round wait behind the one that hangs, and are never asked."""
    first, second = two_rounds(worker).conclude()
    assert told(first) == [0, 1, CLOSED, CLOSED]
    assert told(second) == [CLOSED] * 4
    assert first.judged == 2
    assert first.metrics["unscored"] == 2
    assert worker._judge.asked == [0, 1, 2]


def test_a_wait_that_is_cut_short_sends_nothing_more(worker: JudgeWorker) -> None:
    """`is_over` turns true while the first round is waited for; the second is given up as well."""
    kept = two_rounds(worker, is_over=lambda: True)
    assert [told(closed) for closed in kept.drain()] == [[0, 1, CLOSED, CLOSED], [CLOSED] * 4]
    assert worker._judge.asked == [0, 1, 2]


def test_what_was_given_up_is_not_asked_when_there_is_room(
    worker: JudgeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that hangs answers in the last moments; probe 3, next in line, is not sent."""
    monkeypatch.setattr(worker_module, "INTERRUPTED_S", 60.0)

    def is_over() -> bool:
        # Requests that wait are given up at once, long before this one is answered.
        threading.Timer(0.5, worker._judge.goes_on.set).start()
        return True

    kept = two_rounds(worker, is_over=is_over)
    first, second = kept.drain()
    assert told(first) == [0, 1, 2, CLOSED]
    assert told(second) == [CLOSED] * 4
    assert worker._judge.asked == [0, 1, 2]


def test_the_state_keeps_them_open(worker: JudgeWorker) -> None:
    """A resumed run has all of them judged, as if it had never closed them."""
    kept = two_rounds(worker)
    before = kept.state_dict()
    kept.conclude()
    state = kept.state_dict()
    assert [o["start"]["number"] for o in state["open"]] == [0, 1]
    assert state["drift"]["scores"] == before["drift"]["scores"] == {}
    again = JudgeWorker(Halting())
    try:
        resumed = RoundBook(again, lag=2, deadline_s=900.0, threshold=2.5)
        resumed.resume(state, [make_probe(i, torch.rand(3, 8, 8)) for i in range(4)])
        assert resumed.open_requests == 8
    finally:
        again.close()


def test_another_rank_is_not_asked(worker: JudgeWorker) -> None:
    """Rank 0 of 2 has probes 0 and 2; a gathering would fail here, for there is no group."""
    kept = RoundBook(worker, lag=2, deadline_s=900.0, threshold=2.5, ranks=Ranks(rank=0, size=2))
    kept.open([make_explanation(i) for i in (0, 5, 1, 5)], stage="fit", epoch=0, step=0)
    assert kept._open[0].ticket.collect(60) == [Verdict.scored(0), Verdict.scored(1)]
    (closed,) = kept.conclude()
    assert told(closed) == [0, CLOSED, 1, CLOSED]
    assert "another rank" in closed.samples[1].verdict.detail

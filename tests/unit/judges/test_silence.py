"""A server that answers nothing, or is not there yet, and one that comes back."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from helpers_judge import make_judge, make_request
from lightning_vlmxai.judges import asking, session
from lightning_vlmxai.judges.flow import Fault
from lightning_vlmxai.judges.silence import Role, Silence
from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import UnscoredReason
from openai_server import OpenAIServer, error, verdict

FAULT = Fault(reason=UnscoredReason.TIMEOUT, detail="silent")


def requests_of(number: int, count: int = 6):
    """Return a round's requests, each with a picture of its own."""
    return [make_request(i, lit=(i + 1) / 16, round_number=number) for i in range(count)]


def test_a_silent_server_costs_a_round_one_request_until_it_is_back(monkeypatch):
    """It hangs from round 2 on; rounds 3 and 4 send one request each; round 5 is judged."""
    monkeypatch.setattr(asking, "GRACE_S", 0.2)
    leave = threading.Event()
    hangs = threading.Event()
    with OpenAIServer(lambda _: (hangs.is_set() and leave.wait(60)) or verdict(3)) as server:
        worker = JudgeWorker(
            make_judge(server.base_url, timeout_s=2.0, max_retries=0, concurrency=4)
        )

        def judge(number):
            before = len(server.requests)
            verdicts = worker.submit(requests_of(number)).collect(60)
            return [v.score for v in verdicts], len(server.requests) - before, verdicts

        assert judge(1)[:2] == ([3.0] * 6, 6)
        hangs.set()
        scores, sent, _ = judge(2)
        assert (scores, sent) == ([None] * 6, 4)  # those that were under way together
        for number in (3, 4):
            scores, sent, verdicts = judge(number)
            assert (scores, sent) == ([None] * 6, 1)
            assert {v.reason for v in verdicts} == {UnscoredReason.TIMEOUT}
            assert sum(v.usage.calls for v in verdicts) == 1
            assert all("one call a round asks whether it is back" in v.detail for v in verdicts)
        hangs.clear()
        monkeypatch.setattr(asking, "GRACE_S", 30.0)
        leave.set()
        assert judge(5)[:2] == ([3.0] * 6, 6)
        worker.close()


def test_silence_is_that_of_all():
    """A call without an answer is no silence while others were answered since it was sent."""
    now = 0.0

    async def run() -> None:
        nonlocal now
        silence = Silence(lambda: now)
        now = 2.0
        silence.hear()
        assert not silence.miss("a", 1.0, FAULT)
        assert await silence.admit("a") is Role.OPEN
        assert silence.miss("a", 3.0, FAULT)
        assert not silence.miss("a", 3.0, FAULT)  # the first is the scout
        assert await silence.admit("b") is Role.SCOUT
        waiting = asyncio.ensure_future(silence.admit("b"))
        await asyncio.sleep(0)
        assert not waiting.done()
        silence.scouted("b")
        assert await waiting is Role.CLOSED
        waiting = asyncio.ensure_future(silence.admit("a"))
        await asyncio.sleep(0)
        silence.hear()
        assert await waiting is Role.OPEN

    asyncio.run(run())


def test_what_was_sent_and_not_answered_is_counted():
    """At the deadline a verdict tells of the requests that it took so far, at an unknown cost."""
    with OpenAIServer(lambda _: server.closing.wait(60) or verdict(3)) as server:
        worker = JudgeWorker(make_judge(server.base_url, timeout_s=60.0, call_timeout_s=60.0))
        ticket = worker.submit(requests_of(0, 3))
        while not server.requests:
            pass
        verdicts = ticket.collect(0)
        worker.close()
    assert sum(v.usage.calls for v in verdicts) == len(server.requests) == 1
    (sent,) = [v for v in verdicts if v.usage.calls]
    assert (sent.usage.cost_usd, sent.reason) == (None, UnscoredReason.DEADLINE)
    assert sent.detail == "no verdict within 0 s, after 1 request"


@pytest.mark.parametrize("away", ["503", "nobody listens"])
def test_a_server_that_loads_is_waited_for(away, monkeypatch):
    """With `wait_s` the first answer may be late; what it takes is no retry."""
    monkeypatch.setattr(session, "_LOADING_WAIT_S", 0.05)
    loading = error(503, "unavailable_error", "Loading model")
    with OpenAIServer(lambda seen: loading if seen.number < 5 else verdict(4)) as server:
        base_url = server.base_url
        if away == "nobody listens":
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                base_url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        wait_s = 60.0 if away == "503" else 0.5
        worker = JudgeWorker(make_judge(base_url, wait_s=wait_s, max_retries=0))
        (judged,) = worker.submit(requests_of(0, 1)).collect(120)
        worker.close()
    if away == "503":
        assert (judged.score, len(server.requests)) == (4.0, 6)
    else:
        assert judged.reason is UnscoredReason.CONNECTION
        assert judged.usage.calls > 1


def test_a_503_of_a_full_server_is_no_failure():
    """Soon after a good reply it is waited out, whatever the number of retries."""
    replies = iter([verdict(4), error(503), error(503), verdict(3)])
    with OpenAIServer(lambda _: next(replies)) as server:
        worker = JudgeWorker(make_judge(server.base_url, max_retries=0))
        verdicts = worker.submit(requests_of(0, 2)).collect(120)
        worker.close()
    assert [v.score for v in verdicts] == [4.0, 3.0]


def test_a_server_that_once_answered_is_not_loading(monkeypatch):
    """A 503 in mid-run costs its retries, not `wait_s`."""
    monkeypatch.setattr(session, "_ALIVE_S", 0.0)
    replies = iter([verdict(4), error(503), error(503)])
    with OpenAIServer(lambda _: next(replies)) as server:
        worker = JudgeWorker(make_judge(server.base_url, wait_s=600.0, max_retries=1))
        verdicts = worker.submit(requests_of(0, 2)).collect(120)
        worker.close()
    assert [v.reason for v in verdicts] == [None, UnscoredReason.SERVER_ERROR]
    assert len(server.requests) == 3


def test_a_server_that_fails_always_is_soon_tried_once():
    """Eight requests that failed in a row, and each judgement takes one; a good one ends that."""
    good = threading.Event()
    with OpenAIServer(lambda _: verdict(3) if good.is_set() else error(502)) as server:
        worker = JudgeWorker(make_judge(server.base_url, max_retries=2, concurrency=1))
        worker.submit(requests_of(0, 3)).collect(60)
        assert len(server.requests) == 3 + 3 + 2  # the third finds out
        worker.submit(requests_of(1, 5)).collect(60)
        assert len(server.requests) == 8 + 5
        good.set()
        verdicts = worker.submit(requests_of(2, 3)).collect(60)
        worker.close()
    assert [v.score for v in verdicts] == [3.0] * 3

"""What is paid for is kept, whatever else fails; a round's troubles are that round's."""

from __future__ import annotations

import json
import shutil

import pytest

from helpers_judge import judge_all, make_judge, make_request
from lightning_vlmxai.judges import Budget
from lightning_vlmxai.judges.asking import Asker
from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import UnscoredReason, Verdict
from lightning_vlmxai.testing import ScriptedJudge
from openai_server import OpenAIServer, error, verdict


def work(judge, requests):
    """Return the verdicts that a worker brings."""
    worker = JudgeWorker(judge)
    try:
        return worker.submit(requests).collect(60)
    finally:
        worker.close()


def test_a_log_that_cant_be_written_loses_no_answer(tmp_path, caplog):
    """Each verdict comes and is cached; one warning says what is missing."""
    (tmp_path / "judge_calls.jsonl").mkdir()
    with OpenAIServer(lambda _: verdict(3)) as server:
        judge = make_judge(server.base_url)
        judge.bind(tmp_path)
        requests = [make_request(i, lit=i / 4) for i in range(4)]
        first, again = judge_all(judge, requests), judge_all(judge, requests)
    assert [v.score for v in first + again] == [3.0] * 8
    assert len(server.requests) == 4
    assert all(v.is_cached for v in again)
    assert sum("log of the judge's calls" in r.message for r in caplog.records) == 2  # one a judge


def raises(*args, **kwargs):
    """Fail as nobody expects."""
    raise ZeroDivisionError


def test_an_answer_is_cached_before_anything_else_is_written(tmp_path, monkeypatch):
    """Even where the log raises what nobody expects."""
    with OpenAIServer(lambda _: verdict(3)) as server:
        judge = make_judge(server.base_url)
        judge.bind(tmp_path)
        with monkeypatch.context() as broken:
            broken.setattr(Asker, "_log", raises)
            (lost,) = work(judge, [make_request(1)])
        (found,) = judge_all(judge, [make_request(1)])
    assert lost.reason is UnscoredReason.JUDGE_ERROR
    assert (found.score, found.is_cached, len(server.requests)) == (3.0, True, 1)


def test_a_folder_that_vanishes_is_made_again(tmp_path):
    """Answers, and lines of the log, that come later are there."""
    folder = tmp_path / "run"
    with OpenAIServer(lambda _: verdict(3)) as server:
        judge = make_judge(server.base_url)
        judge.bind(folder)
        worker = JudgeWorker(judge)
        worker.submit([make_request(1)]).collect(60)
        shutil.rmtree(folder)
        worker.submit([make_request(2, lit=0.25)]).collect(60)
        worker.close()
        (again,) = judge_all(judge, [make_request(2, lit=0.25)])
    assert again.is_cached
    assert len(server.requests) == 2
    lines = [json.loads(line) for line in (folder / "judge_calls.jsonl").read_text().splitlines()]
    assert [(line["probe"], line["cached"]) for line in lines] == [(2, False), (2, True)]


def test_a_rounds_budget_is_that_of_its_stage():
    """`test()` in between takes nothing from the fit's round 0."""
    with OpenAIServer(lambda _: verdict(3)) as server:
        judge = make_judge(server.base_url, budget=Budget(max_calls=2, per="round"))
        requests = [make_request(i, stage=stage) for stage in ("test", "fit") for i in range(3)]
        verdicts = judge_all(judge, requests)
    assert [v.score for v in verdicts] == [3.0, 3.0, None] * 2


def test_a_mended_key_is_asked_again_in_the_next_fit():
    """What stopped round 0 of one fit does not stop that of the next."""
    replies = iter([error(401), *[verdict(3)] * 9])
    with OpenAIServer(lambda _: next(replies)) as server:
        judge = make_judge(server.base_url, concurrency=1)
        first = judge_all(judge, [make_request(i) for i in range(3)])
        second = judge_all(judge, [make_request(i) for i in range(3)])
    assert [v.reason for v in first] == [UnscoredReason.AUTHENTICATION] * 3
    assert [v.score for v in second] == [3.0] * 3


@pytest.mark.parametrize("answer", [None, 4, "4"])
def test_a_judge_that_returns_no_verdict_is_an_unscored_sample(answer):
    """And a sentence says what it should return."""

    class Careless(ScriptedJudge):
        async def judge(self, request):
            return answer

    (got,) = work(Careless([Verdict.scored(1)]), [make_request(1)])
    assert got.reason is UnscoredReason.JUDGE_ERROR
    assert "Verdict" in got.detail
    assert type(answer).__name__ in got.detail

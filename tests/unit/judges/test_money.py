"""What is spent: budgets, prices, the cache, and what a killed run has to pay again."""

from __future__ import annotations

import json
import logging
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from helpers_judge import SCRIPT_START, judge_all, make_judge, make_request
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.judges import Budget, Judge, PaidJudge, VLMJudge
from lightning_vlmxai.judges.budget import Ledger
from lightning_vlmxai.judges.cache import VerdictCache, cache_key
from lightning_vlmxai.judges.prices import price_of
from lightning_vlmxai.records import UnscoredReason, Usage, Verdict
from openai_server import OpenAIServer, Reply, Seen, completion, error, judge_by_light, verdict


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_calls_stop_at_the_limit_exactly(concurrency):
    """With any number of calls under way the server gets as many requests as were allowed."""
    with OpenAIServer(lambda _: verdict(3), latency_s=0.02) as server:
        judge = make_judge(server.base_url, budget=Budget(max_calls=7), concurrency=concurrency)
        verdicts = judge_all(judge, [make_request(i) for i in range(20)])
    assert len(server.requests) == 7
    assert sum(v.score is not None for v in verdicts) == 7
    assert [v.reason for v in verdicts if v.score is None] == [UnscoredReason.OVER_BUDGET] * 13
    assert "7 calls" in next(v.detail for v in verdicts if v.score is None)


def test_retries_are_calls_too():
    """A budget counts what the server is sent, so a retry takes from it as well."""
    with OpenAIServer(lambda _: error(503)) as server:
        judge = make_judge(server.base_url, budget=Budget(max_calls=3), max_retries=1)
        verdicts = judge_all(judge, [make_request(i) for i in range(4)])
    assert len(server.requests) == 3
    assert sum(v.usage.calls for v in verdicts) == 3


def test_budget_per_round_begins_anew_with_each_round():
    """What one round used up does not touch the next one."""
    with OpenAIServer(lambda _: verdict(3)) as server:
        judge = make_judge(server.base_url, budget=Budget(max_calls=2, per="round"))
        requests = [make_request(i, round_number=number) for number in (0, 1) for i in range(3)]
        verdicts = judge_all(judge, requests)
    assert len(server.requests) == 4
    assert [v.reason for v in verdicts].count(UnscoredReason.OVER_BUDGET) == 2


def test_dollars_stop_the_calls():
    """Beyond max_usd by the price of the server's own token counts no call is made."""
    # 1,000 prompt and 200 answer tokens at [10, 50] dollars per million: 2 cents a call.
    with OpenAIServer(lambda _: verdict(3)) as server:
        judge = make_judge(
            server.base_url,
            concurrency=1,
            prices={"loopback": [10.0, 50.0]},
            budget=Budget(max_usd=0.10),
        )
        verdicts = judge_all(judge, [make_request(i, lit=i / 16) for i in range(16)])
    spent = sum(v.usage.cost_usd or 0 for v in verdicts)
    assert spent == pytest.approx(0.02 * len(server.requests))
    # The last call held its estimate, some 3 cents, so that none passed the limit.
    assert 0.06 <= spent <= 0.10
    assert verdicts[0].usage == Usage(calls=1, tokens=1200, cost_usd=pytest.approx(0.02))


def test_dollars_need_a_price():
    """A budget in dollars for a model of unknown price is refused, with the way out."""
    judge = VLMJudge("mine", api_key_env=None, budget=Budget(max_usd=1.0))
    with pytest.raises(ConfigurationError, match=r"no price is known for mine.*Pass prices="):
        judge.check()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Expected `budget` to be a limit, got none"),
        ({"max_calls": -1}, "Expected `max_calls` to be 0 or more, got -1"),
        ({"max_usd": float("nan")}, "Expected `max_usd` to be 0 or more, got nan"),
        ({"max_calls": 1, "per": "day"}, "Expected `per` to be one of run, round"),
    ],
)
def test_impossible_budget_is_refused(arguments, message):
    """A budget without a limit, or with an impossible one, is an error."""
    with pytest.raises(ConfigurationError, match=message):
        Budget(**arguments)


def test_wrong_price_is_refused():
    """A price needs two numbers."""
    with pytest.raises(ConfigurationError, match=r"`prices\['m'\]` to be two numbers"):
        VLMJudge("m", prices={"m": [1.0]})


def test_own_price_wins_over_the_table():
    """An override replaces the list price, for that model alone."""
    assert price_of("gpt-4o", {"gpt-4o": [1, 2]}).of(1_000_000, 1_000_000) == 3
    assert price_of("gpt-4o", {"gpt-5": [1, 2]}).of(1_000_000, 1_000_000) == 12.5


def test_ledger_is_shared_by_processes(tmp_path):
    """Two accounts on one file can't take more than one budget together, nor after a restart."""
    budget = Budget(max_calls=10)
    ledgers = [Ledger(budget, tmp_path / "account") for _ in range(2)]
    taken = [0, 0]

    def take(number: int) -> None:
        ledger = Ledger(budget, tmp_path / "account")
        while ledger.take(0, 0.0) is None:
            taken[number] += 1
        ledger.close()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 10
    assert ledgers[0].take(0, 0.0).reason is UnscoredReason.OVER_BUDGET
    for ledger in ledgers:
        ledger.close()


def test_estimate_tells_calls_tokens_and_dollars():
    """The estimate multiplies pictures, rounds and samples, and prices them."""
    judge = VLMJudge("mine", api_key_env=None, samples=2, prices={"mine": [1.0, 2.0]})
    estimate = judge.estimate(pictures=64, rounds=10)
    assert estimate.calls == 1280
    assert estimate.tokens % 1280 == 0
    assert 1280e-6 * 500 < estimate.cost_usd < 1280e-6 * 4000
    assert str(estimate).startswith("up to 1,280 calls, about ")
    unknown = VLMJudge("mine", api_key_env=None).estimate(pictures=1, rounds=1)
    assert str(unknown).endswith("at an unknown price")


def test_limit_on_the_answer_makes_the_estimate_cheaper():
    """A request that bounds the answer's tokens is estimated with that bound."""
    free, bound = (
        VLMJudge("m", api_key_env=None, request=request).estimate(pictures=1, rounds=1).tokens
        for request in ({}, {"max_completion_tokens": 100})
    )
    assert free - bound == 250


def test_unknown_price_is_no_price():
    """Without a price the cost of a call is None, and that of a call never made is 0."""
    with OpenAIServer(lambda _: verdict(3)) as server:
        judge = make_judge(server.base_url, budget=Budget(max_calls=1), concurrency=1)
        paid, refused = judge_all(judge, [make_request(0, lit=0.1), make_request(1, lit=0.9)])
    assert (paid.usage.cost_usd, refused.usage.cost_usd) == (None, 0.0)


def test_tokens_that_were_not_counted_have_no_cost():
    """A server that counts no tokens leaves the cost unknown."""
    body = json.loads(verdict(3).body)
    del body["usage"]
    with OpenAIServer(lambda _: Reply(body=json.dumps(body))) as server:
        judge = make_judge(server.base_url, prices={"loopback": [1.0, 1.0]})
        (judged,) = judge_all(judge, [make_request()])
    assert judged.usage == Usage(calls=1, tokens=0, cost_usd=None)


def test_nothing_is_paid_twice(tmp_path):
    """A second run in the folder asks nothing, and gets the same words marked as cached."""
    requests = [make_request(i, lit=i / 8) for i in range(8)]
    runs = []
    with OpenAIServer() as server:
        for _ in range(2):
            judge = make_judge(server.base_url, samples=2)
            judge.bind(tmp_path)
            runs.append(judge_all(judge, requests))
    assert len(server.requests) == 16
    first, second = runs
    assert [v.score for v in first] == [v.score for v in second]
    assert [v.evaluation for v in first] == [v.evaluation for v in second]
    assert [v.is_cached for v in first + second] == [False] * 8 + [True] * 8
    assert {v.usage for v in second} == {Usage(calls=0, tokens=0, cost_usd=0.0)}


@pytest.mark.parametrize(
    "change",
    [
        {"style": "concise"},
        {"view": "overlay"},
        {"request": {"temperature": 0}},
        {"picture_format": "jpeg"},
        {"min_side": 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changed_question_is_asked_again(change, tmp_path):
    """Whatever changes the question makes another answer."""
    with OpenAIServer() as server:
        for arguments in ({}, change):
            judge = make_judge(server.base_url, **arguments)
            judge.bind(tmp_path)
            judge_all(judge, [make_request()])
    assert len(server.requests) == 2


def test_changed_label_or_picture_is_asked_again(tmp_path):
    """Another prediction or another mask is another question; another probe number is not."""
    with OpenAIServer() as server:
        judge = make_judge(server.base_url, concurrency=1)
        judge.bind(tmp_path)
        requests = [make_request(), make_request(label="dog"), make_request(lit=0.25)]
        judge_all(judge, [*requests, make_request(index=5)])
    assert len(server.requests) == 3


def test_cache_can_be_a_file_of_one_s_own_or_none(tmp_path):
    """A path is used wherever the run is; False keeps nothing."""
    with OpenAIServer() as server:
        for run, cache in enumerate([str(tmp_path / "own.sqlite")] * 2 + [False] * 2):
            judge = make_judge(server.base_url, cache=cache)
            judge.bind(tmp_path / f"run{run}")
            judge_all(judge, [make_request()])
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "is_kept"),
    [
        (completion(None, message={"refusal": "no"}), True),
        (verdict(9), True),
        (completion(None), False),
        (error(500), False),
        (Reply(body="<html>"), False),
    ],
    ids=["refusal", "out of range", "empty", "500", "HTML"],
)
def test_model_s_own_failures_are_kept_and_the_server_s_are_not(reply, is_kept, tmp_path):
    """An answer that can't be used is not paid for again; a fault of the way may pass."""
    with OpenAIServer(lambda _: reply) as server:
        for _ in range(2):
            judge = make_judge(server.base_url, max_retries=0)
            judge.bind(tmp_path)
            (judged,) = judge_all(judge, [make_request()])
            calls = len(server.requests)
            server.requests.clear()
    assert (calls == 0) == is_kept
    assert judged.is_cached == is_kept
    assert judged.score is None


def test_damaged_cache_is_refused_with_a_remedy(tmp_path):
    """A file that is no cache is left alone, and the message says what to do."""
    path = tmp_path / "verdicts.sqlite"
    path.write_text("This is no database, and long enough to look like one. " * 20)
    judge = make_judge("http://127.0.0.1:1/v1")
    judge.bind(tmp_path)
    with pytest.raises(ConfigurationError, match="Delete that file, pass another path, or pass"):
        judge_all(judge, [make_request()])
    assert path.read_text().startswith("This is no database")


def test_full_disk_loses_no_verdict(tmp_path, caplog):
    """A verdict that can't be kept is still a verdict, with a warning."""
    cache = VerdictCache(tmp_path / "verdicts.sqlite")
    cache._database.execute("PRAGMA query_only=ON")  # as a full or read-only disk behaves
    with caplog.at_level(logging.WARNING):
        cache.put("key", Verdict.scored(3))
    cache.close()
    assert "could not be kept" in caplog.text


def test_key_depends_on_every_fact():
    """Two different questions have different keys."""
    facts = {"label": "cat", "sample": 0, "settings": {"seed": 1}}
    others = [{**facts, "label": "dog"}, {**facts, "sample": 1}, {**facts, "settings": {"seed": 2}}]
    assert len({cache_key(each) for each in [facts, *others]}) == 4


SCRIPT = """
import torch
from pathlib import Path
from lightning_vlmxai.judges import VLMJudge
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.worker import JudgeWorker

judge = VLMJudge("m", base_url=sys.argv[1], api_key_env=None, concurrency=4)
judge.bind(Path(sys.argv[2]))
masks = [torch.full((8, 8), 1 - i / 32) for i in range(24)]
requests = [
    JudgeRequest(probe_index=i, label_name="cat", pixels=torch.ones(3, 8, 8), mask=mask)
    for i, mask in enumerate(masks)
]
worker = JudgeWorker(judge)
verdicts = worker.submit(requests).collect(60)
worker.close()
print(sum(v.is_cached for v in verdicts), sum(v.score is not None for v in verdicts))
"""


def test_killed_run_repeats_no_answered_call(tmp_path):
    """After kill -9 in the middle of a round, what had been answered is not asked again."""
    script, run_dir = tmp_path / "train.py", tmp_path / "run"
    script.write_text(SCRIPT_START + SCRIPT)
    command = [sys.executable, str(script)]
    killed = threading.Event()

    def answer(seen: Seen) -> Reply:
        if seen.number >= 10 and not killed.is_set():
            killed.wait(60)  # and then it answers nobody
        return judge_by_light(seen)

    with OpenAIServer(answer) as server:
        arguments = [*command, server.base_url, str(run_dir)]
        process = subprocess.Popen(arguments)  # noqa: S603
        try:
            _wait_for_rows(run_dir / "verdicts.sqlite", 10)
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
        before = [seen.picture_bytes[0] for seen in server.requests]
        killed.set()
        again = subprocess.run(  # noqa: S603
            arguments, check=True, capture_output=True, text=True
        )
        after = [seen.picture_bytes[0] for seen in server.requests[len(before) :]]
    assert again.stdout.split() == ["10", "24"]
    assert len(after) == 14
    assert not set(before[:10]) & set(after)
    assert len(set(before[:10]) | set(after)) == 24


def _wait_for_rows(path: Path, rows: int) -> None:
    for _ in range(6000):
        time.sleep(0.01)
        if path.exists():
            database = sqlite3.connect(path)
            try:
                (count,) = database.execute("SELECT COUNT(*) FROM verdicts").fetchone()
            except sqlite3.OperationalError:
                count = 0  # not made yet
            finally:
                database.close()
            if count == rows:
                return
    raise AssertionError("The rows never came.")


def test_reused_verdict_costs_nothing_and_says_so():
    """With the mask hardly changed and the prediction the same, the verdict stays."""
    with OpenAIServer() as server:
        judge = make_judge(server.base_url, reuse_iou=0.9, cache=False)
        first = judge_all(judge, [make_request(size=100, lit=0.50)])
        second = judge_all(judge, [make_request(size=100, lit=0.53)])
    assert len(server.requests) == 1
    assert [v.score for v in first + second] == [2.5, 2.5]
    assert [v.is_reused for v in first + second] == [False, True]
    assert second[0].usage.calls == 0


@pytest.mark.parametrize(
    "request_",
    [
        make_request(size=100, lit=0.60),
        make_request(size=100, lit=0.50, label="dog"),
        make_request(size=50, lit=0.50),
    ],
    ids=["another mask", "another prediction", "another picture"],
)
def test_changed_probe_is_not_reused(request_):
    """Another mask, prediction or picture is judged anew."""
    with OpenAIServer() as server:
        judge = make_judge(server.base_url, reuse_iou=0.9, cache=False)
        judge_all(judge, [make_request(size=100, lit=0.50)])
        (judged,) = judge_all(judge, [request_])
    assert len(server.requests) == 2
    assert not judged.is_reused


def test_small_steps_do_not_carry_a_verdict_away():
    """A mask is compared with the one that was judged, not with the one last reused."""
    with OpenAIServer() as server:
        judge = make_judge(server.base_url, reuse_iou=0.9, cache=False)
        for lit in (0.50, 0.53, 0.56, 0.59):
            (judged,) = judge_all(judge, [make_request(size=100, lit=lit)])
    assert [round(len(server.requests)), judged.score] == [2, 2.8]


def test_unscored_is_not_reused():
    """A failure is asked about again."""
    with OpenAIServer(lambda _: completion(None)) as server:
        judge = make_judge(server.base_url, reuse_iou=0.9)
        for _ in range(2):
            judge_all(judge, [make_request()])
    assert len(server.requests) == 2


def test_vlm_judge_is_paid_and_the_protocol_says_so():
    """A callback can tell by the protocol which judges take a folder and give an estimate."""
    assert isinstance(VLMJudge("m"), PaidJudge)

    class Free:
        name, concurrency = "free", 1

        def check(self) -> None: ...
        async def open(self) -> None: ...
        async def close(self) -> None: ...
        async def judge(self, request): ...

    assert isinstance(Free(), Judge)
    assert not isinstance(Free(), PaidJudge)


def test_processes_share_the_concurrency(tmp_path):
    """Each of four processes takes a quarter of the calls at a time, and at least one."""
    judge = VLMJudge("m", concurrency=8)
    shares = []
    for world_size in (1, 4, 100):
        judge.bind(tmp_path, world_size=world_size)
        shares.append(judge.concurrency)
    assert shares == [8 + 2, 2 + 1, 1 + 1]  # with those that wait, encoded


def test_pixels_are_not_copied_by_a_request():
    """A waiting request shares its pixels with the explanation."""
    from lightning_vlmxai.explain import make_request as request_of
    from lightning_vlmxai.records import Explanation

    explanation = Explanation(
        probe_index=1,
        label=0,
        label_name="truth",
        prediction=1,
        prediction_name="guess",
        confidence=0.9,
        is_correct=False,
        pixels=torch.ones(3, 4, 4),
        saliency=torch.ones(4, 4),
        mask=torch.ones(4, 4),
    )
    request = request_of(explanation, round_number=3)
    assert request.pixels is explanation.pixels
    assert (request.label_name, request.round_number) == ("guess", 3)
    assert "truth" not in str(request)

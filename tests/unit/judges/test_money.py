"""What is spent: budgets, prices, estimates."""

from __future__ import annotations

import json
import threading

import pytest
import torch

from helpers_judge import judge_all, make_judge, make_request
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.judges import Budget, Judge, PaidJudge, VLMJudge
from lightning_vlmxai.judges.budget import Ledger
from lightning_vlmxai.judges.prices import price_of
from lightning_vlmxai.records import UnscoredReason, Usage
from openai_server import OpenAIServer, Reply, error, verdict


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
    assert free - bound == 300


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

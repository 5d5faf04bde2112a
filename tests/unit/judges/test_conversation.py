"""What the judge learns from a server, how it holds back, and what it writes down."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers_judge import judge_all, make_judge, make_request
from lightning_vlmxai.errors import ConfigurationError, JudgeError
from lightning_vlmxai.judges import Budget, FailureReporter, VLMJudge
from lightning_vlmxai.judges.flow import AdaptiveLimit
from lightning_vlmxai.judges.samples import combine_samples
from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import UnscoredReason, Verdict
from openai_server import OpenAIServer, Seen, completion, error, verdict


def test_re_ask_says_what_was_wrong():
    """The second question repeats the conversation and carries the fault of the first answer."""
    replies = iter([verdict(7), verdict(4)])
    with OpenAIServer(lambda _: next(replies)) as server:
        (judged,) = judge_all(make_judge(server.base_url), [make_request()])
    first, second = server.requests
    roles = [message["role"] for message in second.body["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert second.body["messages"][0] == first.body["messages"][0]
    assert "its score 7 is not from 0 to 5" in second.body["messages"][2]["content"]
    assert judged.score == 4
    assert (judged.usage.calls, judged.usage.tokens) == (2, 2400)


def test_answer_format_is_learnt_once():
    """After one refused format the following questions are asked in the one that worked."""

    def answer(seen: Seen):
        refused = error(400, "", "json_schema is not supported", param="response_format")
        return refused if seen.response_format == "json_schema" else verdict(4)

    with OpenAIServer(answer) as server:
        judge_all(make_judge(server.base_url, concurrency=1), [make_request(i) for i in range(3)])
    asked = [seen.response_format for seen in server.requests]
    assert asked == ["json_schema", "json_object", "json_object", "json_object"]


def test_settled_format_outlives_a_server_error():
    """Once a format has worked, a 500 is the server's fault and not the format's."""
    replies = iter([verdict(4), error(500), error(500), verdict(3)])
    with OpenAIServer(lambda _: next(replies)) as server:
        judge = make_judge(server.base_url, concurrency=1, max_retries=1)
        verdicts = judge_all(judge, [make_request(i, lit=i / 4) for i in range(3)])
    assert [v.score for v in verdicts] == [4, None, 3]
    assert {seen.response_format for seen in server.requests} == {"json_schema"}


def test_refused_setting_is_left_out_from_then_on(caplog):
    """A setting that the server does not take is dropped with a warning, the others stay."""

    def answer(seen: Seen):
        message = "Unrecognized request argument supplied: reasoning_effort"
        return error(400, "", message) if "reasoning_effort" in seen.body else verdict(4)

    settings = {"reasoning_effort": "low", "temperature": 0.2, "seed": 5}
    with OpenAIServer(answer) as server, caplog.at_level(logging.WARNING):
        judge = make_judge(server.base_url, concurrency=1, request=settings)
        verdicts = judge_all(judge, [make_request(0, lit=0.1), make_request(1, lit=0.2)])
    assert [v.score for v in verdicts] == [4, 4]
    sent = [seen.body.keys() & settings.keys() for seen in server.requests]
    assert sent == [set(settings), {"temperature", "seed"}, {"temperature", "seed"}]
    assert server.requests[-1].body["seed"] == 5
    assert caplog.text.count("does not take the setting `reasoning_effort`") == 1


def test_wrong_value_is_not_mended_in_silence():
    """A setting with a wrong value is the user's to correct: it is not dropped."""
    message = "Invalid value: temperature must be at most 2"
    with OpenAIServer(
        lambda _: error(400, "invalid_value", message, param="temperature")
    ) as server:
        judge = make_judge(server.base_url, request={"temperature": 3})
        (judged,) = judge_all(judge, [make_request()])
    assert judged.reason is UnscoredReason.BAD_REQUEST
    assert "at most 2" in judged.detail
    assert all(seen.body["temperature"] == 3 for seen in server.requests)


def test_samples_give_median_and_spread():
    """Three answers make one verdict: the median, the spread, and the nearest one's words."""
    replies = iter([verdict(1, "one"), verdict(4, "four"), verdict(5, "five")])
    with OpenAIServer(lambda _: next(replies)) as server:
        judge = make_judge(server.base_url, samples=3, concurrency=1, request={"seed": 7})
        (judged,) = judge_all(judge, [make_request()])
    assert (judged.score, judged.spread, judged.evaluation) == (4, 4, "four")
    assert judged.usage.calls == 3
    assert sorted(seen.body["seed"] for seen in server.requests) == [7, 8, 9]


def test_single_sample_has_no_spread():
    """Asked once, a verdict has no spread, rather than one of 0."""
    with OpenAIServer(lambda _: verdict(4)) as server:
        (judged,) = judge_all(make_judge(server.base_url), [make_request()])
    assert judged.spread is None


@given(st.lists(st.none() | st.floats(0, 5), min_size=1, max_size=7))
def test_combined_score_needs_a_majority(scores):
    """The score is the median of the scored where they are more than half, else there is none."""
    verdicts = [
        Verdict.unscored(UnscoredReason.REFUSAL) if score is None else Verdict.scored(score)
        for score in scores
    ]
    combined = combine_samples(verdicts, latency_s=0.0)
    known = sorted(score for score in scores if score is not None)
    if len(known) * 2 > len(scores):
        below = sum(score <= combined.score for score in known)
        above = sum(score >= combined.score for score in known)
        assert below * 2 >= len(known)
        assert above * 2 >= len(known)
    else:
        assert combined.reason is UnscoredReason.REFUSAL


def test_broken_set_up_stops_its_round_alone():
    """A wrong key ends a round's calls at the first answer; the next round tries again."""
    with OpenAIServer(lambda _: error(401)) as server:
        judge = make_judge(server.base_url, concurrency=2)
        requests = [make_request(i, round_number=number) for number in (0, 1) for i in range(10)]
        verdicts = judge_all(judge, requests[:10]) + judge_all(judge, requests[10:])
    assert {v.reason for v in verdicts} == {UnscoredReason.AUTHENTICATION}
    assert 2 <= len(server.requests) <= 4  # two a round were under way when it was found out
    assert sum(v.usage.calls for v in verdicts) == len(server.requests)


def test_rate_limits_lower_the_concurrency_and_successes_raise_it():
    """A limit is halved once for the calls under way together, and grows back one by one."""
    limit = AdaptiveLimit(16)
    limit.slow_down(0)
    limit.slow_down(0)
    assert limit.limit == 8
    limit.slow_down(1)
    assert limit.limit == 4
    for _ in range(4):
        limit.speed_up()
    assert 4.8 < limit.limit <= 5
    for _ in range(1000):
        limit.speed_up()
        limit.slow_down(-1)
    assert limit.limit == 16
    for cut in range(2, 10):
        limit.slow_down(cut)
    assert limit.limit == 1


def test_server_under_pressure_gets_fewer_calls():
    """Against a server that takes two at a time, all is judged in the end, with fewer at a time."""
    with OpenAIServer() as server:
        busy: list[int] = []

        def answer(_: Seen):
            busy.append(1)
            try:
                if len(busy) > 2:
                    return error(429, headers={"retry-after-ms": "10"})
                server.closing.wait(0.02)
                return verdict(3)
            finally:
                busy.pop()

        server.answer = answer
        judge = make_judge(server.base_url, concurrency=16, max_retries=0, cache=False)
        verdicts = judge_all(judge, [make_request(i, lit=i / 16) for i in range(16)] * 2)
        reached = judge._session.limit.limit
    assert [v.score for v in verdicts] == [3] * 32
    assert reached < 16


def test_slots_are_never_more_than_the_limit_and_all_come_back():
    """Whatever is cancelled while waiting or under way, no slot is lost and none is doubled."""

    async def run() -> None:
        limit = AdaptiveLimit(3)
        most = active = 0

        async def work() -> None:
            nonlocal most, active
            async with limit.slot():
                active += 1
                most = max(most, active)
                try:
                    await asyncio.sleep(0.001)
                finally:
                    active -= 1

        tasks = [asyncio.create_task(work()) for _ in range(60)]
        for task in tasks[::3]:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (most, active) == (3, 0)
        limit.slow_down(0)  # to one
        await asyncio.gather(work(), work())
        assert (limit._active, len(limit._waiting)) == (0, 0)

    asyncio.run(run())


def _read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_call_has_its_line(tmp_path):
    """The call log tells of each call its place, its cost, its outcome, and whether it was one."""
    replies = iter([verdict(4), completion(None, message={"refusal": "no"})])
    with OpenAIServer(lambda _: next(replies)) as server:
        for _ in range(2):
            judge = make_judge(server.base_url, concurrency=1, prices={"loopback": [1.0, 1.0]})
            judge.bind(tmp_path)
            judge_all(judge, [make_request(i, lit=i / 4, round_number=9) for i in (1, 2)])
    lines = _read_lines(tmp_path / "judge_calls.jsonl")
    asked, refused, cached, cached_refusal = lines
    assert (
        asked.items()
        >= {
            "round": 9,
            "probe": 1,
            "sample": 0,
            "model": "loopback",
            "prompt": VLMJudge("m").prompt_version,
            "answer_format": "json_schema",
            "status": 200,
            "request_id": "req-1",
            "tries": 1,
            "tokens": 1200,
            "cost_usd": 0.0012,
            "score": 4.0,
            "reason": None,
            "cached": False,
        }.items()
    )
    assert asked["latency_s"] > 0
    assert (refused["reason"], refused["detail"]) == ("refusal", "no")
    assert (cached["cached"], cached["score"], cached["tries"]) == (True, 4.0, 0)
    assert (cached_refusal["cached"], cached_refusal["reason"]) == (True, "refusal")


def test_call_given_up_is_logged_with_its_tries(tmp_path):
    """A call that the deadline cut off is in the log, with what it may have cost."""
    with OpenAIServer() as server:
        server.answer = lambda _: server.closing.wait(30) or verdict(3)
        judge = make_judge(server.base_url, timeout_s=30.0, call_timeout_s=30.0)
        judge.bind(tmp_path)
        worker = JudgeWorker(judge)
        ticket = worker.submit([make_request()])
        while not server.requests:
            pass
        ticket.collect(0)
        worker.close()
    (line,) = _read_lines(tmp_path / "judge_calls.jsonl")
    assert (line["reason"], line["detail"], line["tries"]) == ("deadline", "given up", 1)


KEY = "sk-verysecret-0123456789abcdef"


@pytest.mark.parametrize("kind", ["401 message", "answer", "refusal", "request id", "200 HTML"])
def test_key_is_written_nowhere(kind, tmp_path, monkeypatch, caplog):
    """A server that echoes the key can't bring it into a verdict, a file or a log at DEBUG."""
    echo = f"You sent {KEY}, {'x' * 270} {KEY}."
    replies = {
        "401 message": error(401, "invalid_api_key", echo),
        "answer": verdict(4, echo, echo),
        "refusal": completion(None, message={"refusal": echo}),
        "request id": error(500, echo, echo, headers={"x-request-id": KEY}),
        "200 HTML": error(200, echo, echo),
    }
    monkeypatch.setenv("SOME_KEY", KEY)
    with OpenAIServer(lambda _: replies[kind]) as server, caplog.at_level(logging.DEBUG, ""):
        judge = make_judge(
            server.base_url, api_key_env="SOME_KEY", max_retries=0, budget=Budget(max_calls=9)
        )
        judge.bind(tmp_path)
        (judged,) = judge_all(judge, [make_request()])
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"judge" in written or b"loopback" in written
    for trace in (repr(judged), repr(vars(judge)), written.decode(errors="replace")):
        assert KEY not in trace
        assert KEY[:12] not in trace
    # Libraries below print response headers at DEBUG, whatever a server puts there.
    below = ("httpcore", "openai") if kind == "request id" else ()
    logged = [(record.name, record.getMessage()) for record in caplog.records]
    assert len(logged) > 5
    assert not [name for name, text in logged if KEY[:12] in text and not name.startswith(below)]


def test_failures_are_told_once_per_cause():
    """Each cause is warned of once in a run, with count, detail and remedy."""
    reporter = FailureReporter("warn")
    failed = Verdict.unscored(UnscoredReason.AUTHENTICATION, "HTTP 401: no")
    blank = Verdict.unscored(UnscoredReason.BLANK_SALIENCY)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reporter.report([Verdict.scored(3), failed, failed, blank])
        reporter.report([failed, blank])
    told = [str(warning.message) for warning in caught]
    assert len(told) == 2
    assert told[0].startswith(
        "vlmxai: 2 of 4 samples unscored (authentication): HTTP 401: no. Check the key in the"
    )
    assert told[1].startswith("vlmxai: 1 of 4 samples unscored (blank_saliency): If this goes on")


def test_failures_are_raised_for_those_who_ask():
    """With "raise" the first failed round ends in an error; a blank map is no failure."""
    reporter = FailureReporter("raise")
    with pytest.warns(UserWarning, match="blank_saliency"):
        reporter.report([Verdict.scored(3), Verdict.unscored(UnscoredReason.BLANK_SALIENCY)])
    with pytest.raises(JudgeError, match=r"1 of 1 samples unscored \(timeout\)"):
        reporter.report([Verdict.unscored(UnscoredReason.TIMEOUT, "too slow")])
    with pytest.raises(ConfigurationError, match="`on_judge_error` to be one of warn, raise"):
        FailureReporter("ignore")


def test_both_views_go_into_one_request():
    """The view "both" sends two pictures with one question."""
    with OpenAIServer(lambda _: verdict(4)) as server:
        judge = make_judge(server.base_url, view="both", picture_format="jpeg", min_side=32)
        judge_all(judge, [make_request()])
    (seen,) = server.requests
    assert seen.picture_formats == ["JPEG", "JPEG"]
    assert [picture.size for picture in seen.pictures] == [(32, 32), (32, 32)]

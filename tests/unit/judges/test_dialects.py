"""What a server's error means in whatever shape it comes, and what its refusals teach."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers_judge import judge_all, make_judge, make_request
from lightning_vlmxai.judges.answers import Unusable, read_answer
from lightning_vlmxai.judges.interview import Interviewer
from lightning_vlmxai.judges.openai_client import Call
from lightning_vlmxai.judges.prompts import load_prompt
from lightning_vlmxai.judges.replies import Reply as ServerReply
from lightning_vlmxai.judges.replies import read_body
from lightning_vlmxai.judges.server_errors import find_error, read_error, reason_of
from lightning_vlmxai.judges.thoughts import after_thoughts
from lightning_vlmxai.records import UnscoredReason
from openai_server import OpenAIServer, Reply, Seen, completion, error, verdict

WRONG_KEY = {"code": 401, "message": "No such key", "type": "authentication_error"}
SHAPES = {
    "error": {"error": WRONG_KEY},
    "error beside choices": {"choices": [{"error": WRONG_KEY, "message": {"content": "4"}}]},
    "a list": [{"error": WRONG_KEY}],
    "detail beside a status": {"detail": "No such key", "status": 401},
    "an error object": {"object": "error", **WRONG_KEY},
    "type and error": {"type": "error", "error": {"type": "authentication_error", "message": "x"}},
    "JSON in another's words": {
        "error": {"message": "upstream: " + json.dumps({"error": WRONG_KEY})}
    },
}


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_error_is_one_wherever_it_stands(shape, status):
    """A wrong key ends the round after one request, by status 200 as well as 401."""
    body = json.dumps(SHAPES[shape])
    with OpenAIServer(lambda _: Reply(status=status, body=body)) as server:
        verdicts = judge_all(
            make_judge(server.base_url), [make_request(i, lit=i / 4) for i in range(4)]
        )
    assert {v.reason for v in verdicts} == {UnscoredReason.AUTHENTICATION}
    assert len(server.requests) == 1
    assert "401" in verdicts[0].detail


@pytest.mark.parametrize("shape", SHAPES)
def test_a_limit_in_a_200_is_waited_out(shape):
    """The same retries follow, whatever the channel."""
    told = json.dumps(SHAPES[shape]).replace("401", "429").replace("authentication", "rate_limit")
    replies = iter([Reply(body=told), verdict(3)])
    with OpenAIServer(lambda _: next(replies)) as server:
        (judged,) = judge_all(make_judge(server.base_url, max_retries=0), [make_request()])
    assert (judged.score, len(server.requests)) == (3.0, 2)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (403, {"error": {"message": "Your API key has no access"}}, "authentication"),
        (403, {"error": {"message": "Input was flagged", "code": 403}}, "content_filter"),
        (403, {"error": {"message": "x", "metadata": {"reasons": ["violence"]}}}, "content_filter"),
        (403, {"error": {"message": "Forbidden"}}, "forbidden"),
        (400, {"error": {"message": "Your credit balance is too low"}}, "quota_exhausted"),
        (429, {"error": {"message": "You exceeded your current quota"}}, "rate_limit"),
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}, "quota_exhausted"),
        (500, {"error": "this model is missing data required for image input"}, "bad_request"),
        (400, {"error": {"message": "No connected db.", "code": "400"}}, "authentication"),
        (404, "404 page not found", "not_found"),
        (405, {"detail": "Method Not Allowed"}, "not_found"),
        (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, "rate_limit"),
        (422, {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs"}]}, "bad_request"),
    ],
)
def test_reason_follows_from_the_words_as_well(status, body, reason):
    """Each documented complaint has its reason."""
    text = body if isinstance(body, str) else json.dumps(body)
    assert reason_of(read_error(status, text)).value == reason


def test_what_fastapi_says_is_told():
    """The place and the words of each entry are in the message; the last place is the parameter."""
    found = read_error(422, json.dumps({"detail": [{"loc": ["body", "seed"], "msg": "not taken"}]}))
    assert (found.parameter, found.words) == ("seed", "HTTP 422: body.seed: not taken")


@pytest.mark.parametrize(
    ("body", "wait_s"),
    [
        ({"error": {"message": "Please try again in 20s."}}, 20.0),
        ({"error": {"message": "Try again in 500ms"}}, 0.5),
        ([{"error": {"message": "x", "details": [{"retryDelay": "26.5s"}]}}], 26.5),
        ({"error": {"message": "later"}}, None),
    ],
)
def test_the_wait_that_a_body_asks_for_is_read(body, wait_s):
    """From words, and from Google's details."""
    assert read_error(429, json.dumps(body)).wait_s == wait_s


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["error", "detail", "message", "choices", "code", "status", "metadata", "loc"]
                ),
                inner,
            )
        ),
    )
)
def test_no_body_breaks_the_reader(data):
    """Any JSON is an error or none, and never an exception."""
    assert find_error(data) is None or find_error(data).words
    assert reason_of(read_error(400, json.dumps(data)))


def test_a_moderated_picture_stops_nobody_else():
    """The 403 of one picture is that picture's; the others are judged."""
    flagged = error(403, "", "Your input was flagged by moderation")
    with OpenAIServer(lambda seen: flagged if seen.number == 2 else verdict(3)) as server:
        judge = make_judge(server.base_url, concurrency=1)
        verdicts = judge_all(judge, [make_request(i, lit=i / 6) for i in range(6)])
    assert [v.reason for v in verdicts].count(UnscoredReason.CONTENT_FILTER) == 1
    assert [v.score for v in verdicts].count(3.0) == 5


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>Score: 0</think>Score: 4", "Score: 4"),
        ("Score: 0</think>\nScore: 4", "Score: 4"),
        ("<thinking>a</thinking><thought>b</thought> Score: 4", "Score: 4"),
        ("[THINK]Score: 0[/THINK]Score: 4", "Score: 4"),
        ("\u25c1think\u25b7a\u25c1/think\u25b7Score: 4", "Score: 4"),
        ("<think>Score: 0", None),
        ("<think>a</think>Score: 0<think>Score: 1", None),
        ("[THINK]Score: 0", None),
        (
            '{"evaluation": "a </think> b", "score": 4}',
            '{"evaluation": "a </think> b", "score": 4}',
        ),
        ("Score: 4", "Score: 4"),
        ("<think>a</think>", ""),
    ],
)
def test_the_answer_is_what_comes_after_the_last_thought(text, answer):
    """Several blocks, a missing opening mark, no end."""
    assert after_thoughts(text) == answer


def test_a_draft_in_unfinished_thoughts_is_no_score():
    """It is truncated, and not asked for again."""
    draft = '<think>Perhaps {"evaluation": "a", "justification": "b", "score": 0}? No,'
    with OpenAIServer(lambda _: completion(draft)) as server:
        (judged,) = judge_all(make_judge(server.base_url), [make_request()])
    assert (judged.reason, len(server.requests)) == (UnscoredReason.TRUNCATED, 1)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_in_a_field_of_their_own_are_no_answer(field):
    """Without content there is none, and the words say that the model only thought."""
    reply = completion(None, message={field: "Score: 0"})
    assert read_body(reply.body).reason is UnscoredReason.EMPTY_ANSWER
    assert read_body(reply.body).detail == "the model thought and did not answer"


def test_a_re_ask_sends_no_thoughts_back():
    """The conversation repeats what the model answered, without what it thought."""
    replies = iter([completion("<think>secret</think>Score: 9"), verdict(4)])
    with OpenAIServer(lambda _: next(replies)) as server:
        judge_all(make_judge(server.base_url), [make_request()])
    assert server.requests[1].body["messages"][1]["content"] == "Score: 9"


def test_refused_settings_go_one_after_the_other_and_the_format_stays():
    """`max_tokens` is sent under its newer name, `temperature` is left out, JSON schema is kept."""

    def answer(seen: Seen):
        for name in ("max_tokens", "temperature"):
            if name in seen.body:
                words = f"Unsupported parameter: '{name}' is not supported with this model."
                return error(400, "unsupported_parameter", words, param=name)
        return verdict(4)

    settings = {"max_tokens": 300, "temperature": 0.2, "seed": 5}
    with OpenAIServer(answer) as server:
        judge = make_judge(server.base_url, concurrency=1, request=settings)
        verdicts = judge_all(judge, [make_request(i, lit=i / 2) for i in range(2)])
    assert [v.score for v in verdicts] == [4, 4]
    assert len(server.requests) == 4
    last = server.requests[-1]
    assert (last.body["max_completion_tokens"], last.body["seed"]) == (300, 5)
    assert "temperature" not in last.body
    assert {seen.response_format for seen in server.requests} == {"json_schema"}


def test_one_passing_error_lowers_no_format():
    """A 400 without a word, met once: the next judgement is asked for by schema again."""
    replies = iter([error(400, message=""), verdict(4), verdict(3), verdict(2)])
    with OpenAIServer(lambda _: next(replies)) as server:
        judge = make_judge(server.base_url, concurrency=1)
        judge_all(judge, [make_request(i, lit=i / 3) for i in range(3)])
    asked = [seen.response_format for seen in server.requests]
    assert asked == ["json_schema", "json_object", "json_schema", "json_schema"]


def test_one_explores_and_the_others_wait():
    """Of 16 at once one climbs the ladder; every other is asked in the format that it found."""

    def answer(seen: Seen):
        return verdict(4) if seen.response_format == "text" else error(400, "", "response_format?")

    with OpenAIServer(answer) as server:
        judge = make_judge(server.base_url, concurrency=16)
        verdicts = judge_all(judge, [make_request(i, lit=i / 16) for i in range(16)])
    assert [v.score for v in verdicts] == [4] * 16
    assert len(server.requests) == 16 + 2


def test_a_200_without_an_answer_settles_nothing():
    """An empty message by schema, then an error that a format may have caused: one lower."""
    empty = completion(None)
    replies = iter([empty, error(500), verdict(4)])
    with OpenAIServer(lambda _: next(replies)) as server:
        judge = make_judge(server.base_url, concurrency=1, max_retries=0)
        requests = [make_request(i, lit=i / 2, round_number=i) for i in range(2)]
        verdicts = judge_all(judge, requests)
    assert [v.score for v in verdicts] == [None, 4]
    asked = [seen.response_format for seen in server.requests]
    assert asked == ["json_schema", "json_schema", "json_object"]


def test_a_wrong_gemini_key_takes_one_request():
    """A list of errors with a 400 is a wrong key, not a question of formats."""
    body = [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}]
    with OpenAIServer(lambda _: Reply(status=400, body=json.dumps(body))) as server:
        verdicts = judge_all(make_judge(server.base_url), [make_request(i) for i in range(3)])
    assert {v.reason for v in verdicts} == {UnscoredReason.AUTHENTICATION}
    assert len(server.requests) == 1


def _words(**fields: object) -> str:
    return json.dumps({"evaluation": "Here.", "justification": "So.", "score": 4, **fields})


@pytest.mark.parametrize(
    "text",
    [
        '{"Evaluation": "a", "JUSTIFICATION": "b", " Score ": 4}',
        json.dumps({"judgement": json.loads(_words())}),
        json.dumps({"result": [json.loads(_words())]}),
        '{"evaluation": "a, }", "justification": "b", "score": 4,}',
        '{"evaluation": "a", "justification": "b", "score": 4/5}',
        '{"evaluation": "a", "justification": "b", "score": 4 / 5,\n}',
        _words(score="4 (most of it)"),
        _words(score="4/5 (good)"),
        _words(evaluation={"head": "in", "legs": "out"}),
        _words(evaluation=["head", "legs"]),
        "Score (0-5): 4",
        "Score (out of 5): 4",
        "**Rating:** 4/5",
        "Rating (0 to 5) is 4",
    ],
)
def test_what_small_models_write_is_read(text):
    """Where it has one meaning."""
    assert read_answer(text).score == 4


@pytest.mark.parametrize(
    "text",
    [
        '{"Score": 4, "score": 3, "evaluation": "a", "justification": "b"}',
        json.dumps({"first": json.loads(_words()), "second": json.loads(_words(score=2))}),
        '{"evaluation": "a", "justification": "b", "score": 4/10}',
        '{"evaluation": "a", "justification": "b", "score": 4,',
        '{"evaluation": "a", "justification": "b", "score": 4/',
        _words(score="4 (out of 10)"),
        _words(score="4 (or 3)"),
        _words(score="4 (out of ten)"),
        _words(evaluation={}),
        f'{{"draft": {_words(score=0)}, "evaluation": "a", "justification": "b", "score": 4',
        f'{{"score": 4/10, "draft": {_words(score=0)}}}',
        "Score (0-10): 4",
        "Score (out of 10): 4",
        "Rating: 4/10",
        "Score: 4. Rating: 2",
    ],
)
def test_what_has_two_meanings_is_refused(text):
    """Or none, or another scale."""
    assert isinstance(read_answer(text), Unusable)


def test_another_scale_is_found_told_and_not_mixed_in(caplog):
    """A judge of 0 to 10 that keeps to it: after three scores above 5 no lower one counts."""
    scores = iter([8, 8, 9, 9, 7, 7])  # each answer, and the same when re-asked
    with OpenAIServer(lambda _: verdict(next(scores))) as server:
        judge = make_judge(server.base_url, concurrency=1)
        verdicts = judge_all(judge, [make_request(i, lit=i / 8) for i in range(3)])
        assert [v.score for v in verdicts] == [None] * 3
        caplog.clear()  # each opening of the judge begins anew
        scores = iter([8, 8, 9, 9, 7, 7, 3, 3.5, 10, 4.5])
        verdicts = judge_all(judge, [make_request(i, lit=i / 8) for i in range(5)])
    # The fourth and the fifth count as they were given after the scale was told.
    assert [v.score for v in verdicts] == [None, None, None, 3.5, 4.5]
    assert caplog.text.count("seems to score from 0 to 10: 3 of its 3 first answers") == 1
    assert "not clear on which scale" in server.requests[-3].body["messages"][2]["content"]


def test_one_score_out_of_range_is_no_other_scale():
    """A slip stays one: what is in range counts."""
    scores = iter([3, 9, 4, 2, 5, 1])
    with OpenAIServer(lambda _: verdict(next(scores))) as server:
        judge = make_judge(server.base_url, concurrency=1)
        verdicts = judge_all(judge, [make_request(i, lit=i / 8) for i in range(5)])
    assert [v.score for v in verdicts] == [3, 4, 2, 5, 1]


def test_of_calls_under_way_together_one_explores():
    """Asked sixteen at once, in one loop, the ladder is climbed by one alone."""
    sent: list[str] = []

    class Session:
        async def send(self, body, call, *, max_retries=None):
            sent.append(body.get("response_format", {}).get("type", "text"))
            await asyncio.sleep(0)
            if sent[-1] != "text" and "response_format" in body:
                return ServerReply(reason=UnscoredReason.BAD_REQUEST, status=400, detail="format")
            return ServerReply(text="Score: 4", status=200)

    async def ask() -> None:
        interviewer = Interviewer(
            Session(), model="m", prompt=load_prompt("concise", "masked"), settings={}
        )
        call = Call(scope="round", may_try=lambda: None, on_response=lambda: None)
        outcomes = await asyncio.gather(*(interviewer.ask([], call) for _ in range(16)))
        assert [outcome.answer.score for outcome in outcomes] == [4] * 16

    asyncio.run(ask())
    # One error may be a passing one, so that a second judgement meets it too.
    assert sent == ["json_schema", "json_object", "text", "json_schema", *["text"] * 15]

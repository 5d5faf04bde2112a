"""What is told of failures, and of a judge that does not look."""

from __future__ import annotations

import warnings

import pytest

from lightning_vlmxai.judges import FailureReporter, describe_failures
from lightning_vlmxai.records import UnscoredReason, Usage, Verdict

R = UnscoredReason


@pytest.mark.parametrize(
    ("reason", "detail", "remedy"),
    [
        (R.BROKEN_JSON, "the body is cut off (Unterminated string)", "cuts answers off"),
        (R.BROKEN_JSON, "the body is not JSON (x)", "usually ends in /v1"),
        (R.EMPTY_ANSWER, "the server sent no choice", "Look at the server's own log"),
        (R.EMPTY_ANSWER, "the model called a tool instead of answering", "tool_choice"),
        (R.EMPTY_ANSWER, "the model thought and did not answer", "reasoning_effort"),
        (R.TRUNCATED, "the model's thoughts have no end", "reasoning_effort"),
        (R.TRUNCATED, "the answer hit the token limit", "Raise the answer's token limit"),
        (R.QUOTA_EXHAUSTED, "HTTP 400: Your credit balance is too low", "Add credit"),
        (
            R.BAD_REQUEST,
            "HTTP 500: this model is missing data required for image input",
            "Name a `model` that takes pictures",
        ),
        (R.BAD_REQUEST, "HTTP 400: could not process image", "picture_format="),
        (R.AUTHENTICATION, "HTTP 400: No connected db.", "Start LiteLLM with a database"),
        (R.AUTHENTICATION, "HTTP 401: no", "`api_key_env` names"),
        (R.SERVER_ERROR, "HTTP 503: Loading model", "Pass `wait_s=`"),
        (R.OUT_OF_RANGE, "your other scores are above 5, ... on which scale", "Try a style"),
        (R.RATE_LIMIT, "x; the next call may be made in 300 s", "Raise `call_timeout_s`"),
        (R.FORBIDDEN, "HTTP 403", "Ask at the provider why"),
    ],
)
def test_each_failure_has_a_remedy_that_fits_it(reason, detail, remedy):
    """By what was said, where that tells more than the reason."""
    assert remedy in describe_failures([Verdict.unscored(reason, detail)])[reason]


def test_an_address_that_was_found_is_the_remedy():
    """Nothing is added to what the look around found."""
    verdict = Verdict.unscored(R.NOT_FOUND, 'HTTP 404 (pass base_url="http://host/v1")')
    told = describe_failures([verdict])[R.NOT_FOUND]
    assert told.endswith('base_url="http://host/v1").')


def rounds(*scores: list[float], calls: int = 1) -> list[str]:
    """Return what is told of rounds with these scores."""
    reporter = FailureReporter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for own in scores:
            reporter.report([Verdict.scored(s, usage=Usage(calls=calls)) for s in own])
    return [str(warning.message) for warning in caught]


def test_a_judge_with_one_score_is_pointed_out_after_two_rounds():
    """Once, from 95 % of two rounds' pictures on."""
    assert rounds([4.0] * 32) == []
    (told,) = rounds([4.0] * 32, [4.0] * 31 + [1.0], [4.0] * 32)
    assert "gave 63 of 64 different pictures of two rounds the score 4" in told
    assert rounds([4.0] * 32, [4.0] * 28 + [1.0] * 4) == []  # 93.75 %


def test_few_pictures_or_none_that_were_asked_about_say_nothing():
    """Seven pictures a round, or verdicts that no server gave."""
    assert rounds([4.0] * 7, [4.0] * 7) == []
    assert rounds([4.0] * 32, [4.0] * 32, calls=0) == []

"""What came back from a server, sorted into usable words and reasons. Pure functions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..records import UnscoredReason

_MAX_DETAIL = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One server's reply to one request.

    Args:
        text: The model's words; None if there are none to read.
        reason: Why there are none.
        detail: What exactly happened, for a person.
        status: HTTP status; None if no response came.
        code: The server's own name for an error.
        parameter: The parameter that the server objected to.
        prompt_tokens: As counted by the server; None if it did not say.
        answer_tokens: Likewise, hidden reasoning included.
        request_id: The server's name for the request.
    """

    text: str | None = None
    reason: UnscoredReason | None = None
    detail: str = ""
    status: int | None = None
    code: str = ""
    parameter: str = ""
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    request_id: str = ""


def read_body(body: str) -> Reply:
    """Return the reply in the body of a 200, which need not be what was promised.

    Example:
        >>> read_body("<html>Sign in</html>").reason.value
        'html_answer'
        >>> read_body('{"choices": []}').reason.value
        'empty_answer'
    """
    stripped = body.strip()
    if not stripped:
        return _none(UnscoredReason.EMPTY_ANSWER, "the body is empty")
    if stripped.startswith("<"):
        return _none(UnscoredReason.HTML_ANSWER, "a web page came back instead of JSON")
    try:
        data = json.loads(stripped)
    except (ValueError, RecursionError) as error:
        return _none(UnscoredReason.BROKEN_JSON, f"the body is not JSON ({error})")
    if not isinstance(data, dict) or ("choices" not in data and "error" not in data):
        return _none(UnscoredReason.BROKEN_JSON, "the body is JSON, but no chat completion")
    if "choices" not in data:
        code, message = read_error(data)
        return Reply(
            reason=UnscoredReason.SERVER_ERROR,
            detail=message or "an error with status 200",
            code=code,
        )
    prompt_tokens, answer_tokens = _read_usage(data.get("usage"))
    text, reason, detail = _read_choices(data["choices"])
    return Reply(
        text=text,
        reason=reason,
        detail=detail,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
    )


def reason_of_status(status: int, code: str, message: str) -> UnscoredReason:
    """Return the reason that an HTTP error stands for.

    Args:
        status: HTTP status, 300 or above.
        code: The server's name for the error, if it gave one.
        message: The server's words.

    Example:
        >>> reason_of_status(429, "insufficient_quota", "").value
        'quota_exhausted'
        >>> reason_of_status(413, "", "").value
        'too_large'
    """
    if status == 402 or code == "insufficient_quota":
        return UnscoredReason.QUOTA_EXHAUSTED
    if status in (400, 403) and ("content_filter" in code or "content_policy" in code):
        return UnscoredReason.CONTENT_FILTER
    # Google's compatible endpoint answers a wrong key with 400.
    if status in (401, 403) or (status == 400 and "api key not valid" in message.lower()):
        return UnscoredReason.AUTHENTICATION
    known = {
        404: UnscoredReason.NOT_FOUND,
        408: UnscoredReason.TIMEOUT,
        413: UnscoredReason.TOO_LARGE,
        429: UnscoredReason.RATE_LIMIT,
    }
    if status in known:
        return known[status]
    return UnscoredReason.SERVER_ERROR if status >= 500 else UnscoredReason.BAD_REQUEST


def read_error(data: object) -> tuple[str, str]:
    """Return the code and the message of an error body, each empty if it names none.

    Example:
        >>> read_error({"error": {"code": "model_not_found", "message": "No such model"}})
        ('model_not_found', 'No such model')
    """
    error = data.get("error", data) if isinstance(data, dict) else None
    if not isinstance(error, dict):
        return "", shorten(error) if isinstance(error, str) else ""
    code = error.get("code") or error.get("type") or ""
    return str(code), shorten(str(error.get("message") or ""))


def shorten(text: str) -> str:
    """Return a text on one line, writable, and cut to a length that a log can bear."""
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= _MAX_DETAIL else text[: _MAX_DETAIL - 3] + "..."


def _read_choices(choices: Any) -> tuple[str | None, UnscoredReason | None, str]:
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None, UnscoredReason.EMPTY_ANSWER, "the server sent no choice"
    message = choices[0].get("message")
    finish = choices[0].get("finish_reason")
    if not isinstance(message, dict):
        return None, UnscoredReason.EMPTY_ANSWER, "the choice has no message"
    if message.get("refusal"):
        return None, UnscoredReason.REFUSAL, shorten(str(message["refusal"]))
    if finish == "content_filter":
        return None, UnscoredReason.CONTENT_FILTER, "the server's content filter cut the answer"
    if finish == "length":
        return None, UnscoredReason.TRUNCATED, "the answer hit the token limit"
    text = _read_content(message.get("content"))
    if not text:
        return None, UnscoredReason.EMPTY_ANSWER, "the message has no content"
    return text, None, ""


def _read_content(content: Any) -> str:
    if isinstance(content, list):  # some servers send the parts of a message
        content = "".join(
            part["text"]
            for part in content
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return content.encode("utf-8", "replace").decode().strip() if isinstance(content, str) else ""


def _read_usage(usage: Any) -> tuple[int | None, int | None]:
    if not isinstance(usage, dict):
        return None, None
    prompt, answer = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(answer, int):
        return None, None
    total = usage.get("total_tokens")
    if isinstance(total, int):  # some servers count hidden reasoning in the total alone
        answer = max(answer, total - prompt)
    return prompt, answer


def _none(reason: UnscoredReason, detail: str) -> Reply:
    return Reply(reason=reason, detail=detail)

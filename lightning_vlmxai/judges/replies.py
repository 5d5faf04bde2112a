"""What came back from a server, sorted into usable words and reasons. Pure functions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..records import UnscoredReason
from .server_errors import ServerError, find_error, reason_of, shorten
from .thoughts import after_thoughts


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One server's reply to one request.

    Args:
        text: The model's words after its thoughts; None if there are none to read.
        reason: Why there are none.
        detail: What exactly happened, for a person.
        status: HTTP status, or that of an error in a 200; None if no response came.
        code: The server's own names for an error.
        parameter: The parameter that the server objected to.
        prompt_tokens: As counted by the server; None if it did not say.
        answer_tokens: Likewise, hidden reasoning included.
        request_id: The server's name for the request.
        wait_s: Seconds after which the server asks to come again; None if it does not.
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
    wait_s: float | None = None


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
        is_cut = stripped.startswith(("{", "[")) and not stripped.endswith(("}", "]"))
        what = "is cut off" if is_cut else "is not JSON"
        return _none(UnscoredReason.BROKEN_JSON, f"the body {what} ({error})")
    complaint = find_error(data)
    if complaint is not None:
        return error_reply(complaint)
    if not isinstance(data, dict) or "choices" not in data:
        return _none(UnscoredReason.BROKEN_JSON, "the body is JSON, but no chat completion")
    prompt_tokens, answer_tokens = _read_usage(data.get("usage"))
    text, reason, detail = _read_choices(data["choices"])
    return Reply(
        text=text,
        reason=reason,
        detail=detail,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
    )


def error_reply(error: ServerError) -> Reply:
    """Return the reply that an error is."""
    return Reply(
        reason=reason_of(error),
        detail=error.words,
        status=error.status,
        code=error.code,
        parameter=error.parameter,
        wait_s=error.wait_s,
    )


def _read_choices(choices: Any) -> tuple[str | None, UnscoredReason | None, str]:
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None, UnscoredReason.EMPTY_ANSWER, "the server sent no choice"
    message = choices[0].get("message")
    finish = choices[0].get("finish_reason")
    if not isinstance(message, dict):
        return None, UnscoredReason.EMPTY_ANSWER, "the choice has no message"
    if message.get("refusal"):
        return None, UnscoredReason.REFUSAL, shorten(str(message["refusal"]))
    if isinstance(finish, str) and finish.lower().startswith(("content_filter", "safety")):
        return None, UnscoredReason.CONTENT_FILTER, "the server's content filter cut the answer"
    if finish in ("length", "max_tokens", "MAX_TOKENS"):
        return None, UnscoredReason.TRUNCATED, "the answer hit the token limit"
    said = _read_content(message.get("content"))
    text = after_thoughts(said)
    if text is None:
        return None, UnscoredReason.TRUNCATED, "the model's thoughts have no end"
    if not text:
        return None, UnscoredReason.EMPTY_ANSWER, _why_empty(message, has_thoughts=bool(said))
    return text, None, ""


def _why_empty(message: dict[str, Any], *, has_thoughts: bool) -> str:
    if message.get("tool_calls") or message.get("function_call"):
        return "the model called a tool instead of answering"
    if has_thoughts or message.get("reasoning_content") or message.get("reasoning"):
        return "the model thought and did not answer"
    return "the message has no content"


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

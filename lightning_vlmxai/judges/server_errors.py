"""A server's complaint, in whatever shape it comes, sorted into a reason. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..records import UnscoredReason

_MAX_DETAIL = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerError:
    """What a server complained of.

    Args:
        status: Of HTTP, or the one that the body names; None if neither says.
        code: The server's own names for it, in lower case, with spaces between.
        message: Its words.
        parameter: What of the request it objected to.
        wait_s: Seconds that the body asks to wait; None if it does not.
    """

    status: int | None = None
    code: str = ""
    message: str = ""
    parameter: str = ""
    wait_s: float | None = None

    @property
    def words(self) -> str:
        """Status and words, for a person."""
        head = "an error without a status" if self.status is None else f"HTTP {self.status}"
        said = self.message or self.code
        return f"{head}: {said}" if said else head


_STATUS_OF = {
    "authentication_error": 401,
    "unauthenticated": 401,
    "permission_denied": 403,
    "permission_error": 403,
    "invalid_argument": 400,
    "invalid_request_error": 400,
    "failed_precondition": 400,
    "billing_error": 402,
    "model_not_found": 404,
    "not_found": 404,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "api_error": 500,
    "internal": 500,
    "server_error": 500,
    "unavailable": 503,
    "unavailable_error": 503,
    "overloaded_error": 529,
}
"""HTTP statuses of the names that providers give their errors."""

_NO_CREDIT = re.compile(
    r"credit balance|insufficient (balance|credits?|funds)|out of credits?|billing hard limit"
    r"|more credits|payment required|budget has been exceeded|\blimit: 0\b",
    re.IGNORECASE,
)
_QUOTA = re.compile(r"insufficient_quota|billing_(error|hard)|insufficient_balance")
_MODERATED = re.compile(
    r"content[ _-]?(filter|policy|management)|moderat|safety|flagged|responsible ?ai"
    r"|data_inspection_failed|sensitive (content|information|words)|prohibited[ _]content",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"api[ _-]?key|\btoken\b|credential|authenti|authoriz|no connected db|permission"
    r"|access denied|access[ _]is[ _]denied|subscription key",
    re.IGNORECASE,
)
_WRONG_KEY = re.compile(
    r"api[ _-]?key not valid|invalid[ _]api[ _]?key|incorrect api key|api_key_invalid"
    r"|no connected db|malformed api key|missing (api|authentication)",
    re.IGNORECASE,
)
_NO_VISION = re.compile(
    r"image input is not supported|not (a )?multimodal|does(n't| not) support (image|vision)"
    r"|missing data required for image input|support image input|at most 0 image"
    r"|not support image|unknown variant .?image_url|mmproj|vision is not (supported|enabled)"
    r"|image_url is (only|not) supported|content\W{0,3} (must be a|: value must be a) string"
    r"|not take pictures",
    re.IGNORECASE,
)
_NO_PICTURE = re.compile(
    r"(could not|cannot|can't|failed to|unable to) (process|identify|decode|load|read)"
    r"[^.]{0,30}image"
    r"|unsupported image|invalid[_ ](base64 )?image|image_parse_error"
    r"|image[_ ]?url[^.]{0,20}invalid",
    re.IGNORECASE,
)
_NO_ADDRESS = re.compile(
    r"unexpected endpoint|no such route|404 page not found|deploymentnotfound"
    r"|model_not_found|invalid model name|(unknown|no such) model|not a valid model"
    r"|model .{0,80}(not found|does not exist)|no models? loaded",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(
    r"image exceeds|(entity|payload|request|image|file) (is )?too large|request_too_large"
    r"|maximum context length|context (length|size|window)|exceed_context_size|prompt is too long",
    re.IGNORECASE,
)
_TRY_AGAIN_IN = re.compile(
    r"(?:try again|retry) (?:in|after) (\d+(?:\.\d+)?) ?(ms|s|m)(?:illi|ec|in|\b)", re.IGNORECASE
)
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


def find_error(data: Any) -> ServerError | None:
    """Return the error that a body tells of, or None if it tells of none.

    Read are: `{"error": {...}}` and `{"error": "words"}`, a list of these, an error in the first
    choice, `{"detail": ...}`, `{"message": ...}` with `"object": "error"` or a status, and an error
    that is written as JSON inside another's words.

    Example:
        >>> find_error([{"error": {"code": 400, "message": "API key not valid."}}]).words
        'HTTP 400: API key not valid.'
        >>> find_error({"detail": "Not Found"}).message
        'Not Found'
        >>> find_error({"choices": [{"message": {"content": "4"}}]}) is None
        True
    """
    if isinstance(data, list):
        return next((found for found in map(find_error, data[:3]) if found), None)
    if not isinstance(data, dict):
        return None
    choices = data.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        inner = choices[0].get("error")
        return _read(inner) if inner else None
    if data.get("error"):
        return _read(data["error"], beside=data)
    if data.get("detail"):
        return _read(data["detail"], beside=data)
    says_so = "error" in (data.get("object"), data.get("type")) or _status_of(data) is not None
    return _read(data) if says_so and data.get("message") else None


def read_error(status: int, body: str) -> ServerError:
    """Return what an answer of an HTTP status of 300 or above says.

    Args:
        status: Of HTTP, which wins over any that the body names.
        body: JSON of any shape, a web page, or plain words.

    Example:
        >>> read_error(404, "404 page not found").words
        'HTTP 404: 404 page not found'
        >>> read_error(502, "<html><head><title>502 Bad Gateway</title></head></html>").message
        'a web page, "502 Bad Gateway"'
    """
    text = body.strip()
    if text.startswith("<"):
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        message = f'a web page, "{shorten(title[1])}"' if title else "a web page"
        return ServerError(status=status, message=message)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return ServerError(status=status, message=shorten(text), wait_s=_asked_wait(text, {}))
    found = find_error(data) or (_read(data) if isinstance(data, dict) else None)
    return replace(found or ServerError(), status=status)


def reason_of(error: ServerError) -> UnscoredReason:
    """Return the reason that an error stands for, whatever channel it came by.

    Example:
        >>> reason_of(ServerError(status=400, message="API key not valid.")).value
        'authentication'
        >>> reason_of(ServerError(status=403, message="Input was flagged.")).value
        'content_filter'
        >>> reason_of(ServerError(status=413)).value
        'too_large'
    """
    status, said = error.status, f"{error.code} {error.message}"
    if status == 402 or _QUOTA.search(error.code) or _NO_CREDIT.search(error.message):
        return UnscoredReason.QUOTA_EXHAUSTED
    if status in (None, 400, 403, 422) and _MODERATED.search(said):
        return UnscoredReason.CONTENT_FILTER
    if status == 401 or _WRONG_KEY.search(said):
        return UnscoredReason.AUTHENTICATION
    if _NO_VISION.search(said):
        return UnscoredReason.BAD_REQUEST
    if status in (None, 400, 403, 404) and _NO_ADDRESS.search(said):
        return UnscoredReason.NOT_FOUND
    if status == 403 and _KEY.search(said):
        return UnscoredReason.AUTHENTICATION
    if status in (None, 400, 413, 422) and _TOO_LARGE.search(said):
        return UnscoredReason.TOO_LARGE
    known = {
        None: UnscoredReason.SERVER_ERROR,
        403: UnscoredReason.FORBIDDEN,
        404: UnscoredReason.NOT_FOUND,
        405: UnscoredReason.NOT_FOUND,
        408: UnscoredReason.TIMEOUT,
        413: UnscoredReason.TOO_LARGE,
        429: UnscoredReason.RATE_LIMIT,
        529: UnscoredReason.RATE_LIMIT,
    }
    if status in known:
        return known[status]
    if status is not None and status < 400:  # sent on elsewhere
        return UnscoredReason.NOT_FOUND
    return UnscoredReason.SERVER_ERROR if (status or 0) >= 500 else UnscoredReason.BAD_REQUEST


def needs_no_format(words: str) -> bool:
    """Return whether an error is about the model's eyes or a picture, whatever was asked for.

    Example:
        >>> needs_no_format("image input is not supported"), needs_no_format("bad request")
        (True, False)
    """
    return bool(_NO_VISION.search(words) or _NO_PICTURE.search(words))


def is_blind(words: str) -> bool:
    """Return whether an error says that the model takes no pictures."""
    return bool(_NO_VISION.search(words))


def shorten(text: str) -> str:
    """Return a text on one line, writable, and cut to a length that a log can bear."""
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= _MAX_DETAIL else text[: _MAX_DETAIL - 3] + "..."


def _read(error: Any, beside: dict[str, Any] | None = None) -> ServerError:
    """Return an error out of what stands for it, and of what stands beside it."""
    if isinstance(error, list):  # FastAPI: one entry for each thing that is wrong
        entries = [entry for entry in error if isinstance(entry, dict)]
        names = [str(place) for entry in entries for place in _as_list(entry.get("loc"))]
        said = "; ".join(
            f"{'.'.join(map(str, _as_list(e.get('loc'))))}: {e.get('msg')}" for e in entries
        )
        return ServerError(message=shorten(said), parameter=names[-1] if names else "")
    if not isinstance(error, dict):
        return _inside(
            str(error), ServerError(status=_status_of(beside or {}), message=shorten(str(error)))
        )
    if isinstance(error.get("message"), dict):  # one that is packed into another
        packed = find_error(error["message"])
        if packed is not None:
            return replace(packed, status=_status_of(error) or packed.status)
    around = {**(beside or {}), **error}
    names = [str(error[key]) for key in ("code", "type", "status") if _is_name(error.get(key))]
    names += [str(found) for found in _details(error)]
    code = " ".join(names).lower()
    status = _status_of(error) or _status_of(beside or {})
    if status is None:
        status = next((_STATUS_OF[name] for name in code.split() if name in _STATUS_OF), None)
    text = _text_of(error)
    found = ServerError(
        status=status,
        code=code,
        message=shorten(text),
        parameter=str(error.get("param") or ""),
        wait_s=_asked_wait(text, around),
    )
    return _inside(text, found)


def _inside(text: str, outer: ServerError) -> ServerError:
    """Return the error that is written as JSON in another's words, as proxies hand it on."""
    start = text.find("{")
    if start < 0:
        return outer
    try:
        data = json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return outer
    inner = find_error(data)
    if inner is None or not inner.message:
        return outer
    return replace(
        outer,
        status=outer.status or inner.status,
        code=f"{outer.code} {inner.code}".strip(),
        message=shorten(f"{text[:start].strip()} {inner.message}"),
        parameter=outer.parameter or inner.parameter,
        wait_s=outer.wait_s if outer.wait_s is not None else inner.wait_s,
    )


def _text_of(error: dict[str, Any]) -> str:
    for key in ("message", "msg", "detail", "error_description", "title"):
        if isinstance(error.get(key), str) and error[key]:
            text: str = error[key]
            break
    else:
        return ""
    raw = error.get("metadata", {}).get("raw") if isinstance(error.get("metadata"), dict) else None
    return f"{text} {raw}" if isinstance(raw, str) and raw else text


def _details(error: dict[str, Any]) -> Iterator[str]:
    """Yield the further names that some providers give: inner errors, reasons of moderation."""
    for key in ("innererror", "inner_error"):
        if isinstance(error.get(key), dict) and isinstance(error[key].get("code"), str):
            yield error[key]["code"]
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("reasons"):
        yield "moderation"
    for entry in _as_list(error.get("details")):
        if isinstance(entry, dict) and isinstance(entry.get("reason"), str):
            yield entry["reason"]


def _asked_wait(text: str, error: dict[str, Any]) -> float | None:
    for entry in _as_list(error.get("details")):
        delay = entry.get("retryDelay") if isinstance(entry, dict) else None
        match = _SECONDS.fullmatch(delay) if isinstance(delay, str) else None
        if match:
            return float(match[1])
    match = _TRY_AGAIN_IN.search(text)
    unit = {"ms": 0.001, "s": 1.0, "m": 60.0}
    return float(match[1]) * unit[match[2].lower()] if match else None


def _status_of(error: dict[str, Any]) -> int | None:
    for key in ("code", "status", "status_code", "statusCode"):
        value = error.get(key)
        if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value):
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
    return None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and not value.isdigit() and value != "error"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

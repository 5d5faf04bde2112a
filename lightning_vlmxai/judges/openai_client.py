"""The only room that knows the `openai` package: one request in, one reply out, never an error."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from ..records import UnscoredReason
from .addresses import show
from .base import count_sent
from .flow import Fault
from .replies import Reply, error_reply, read_body
from .secrets import scrub
from .server_errors import read_error, shorten

_LOOK_S = 5.0
"""How long a list of models is waited for."""


@dataclass(slots=True, kw_only=True)
class Call:
    """What one judgement takes, counted as it happens: a call given up half-way has cost too.

    Args:
        scope: Round of the request that is judged.
        may_try: Asked before every request to the server; a fault stops the call.
        on_response: Told of every response, of whatever status.
        ends_at: When the judgement has to be there, by the session's clock.
        ticket: Of the slot that it holds.
        is_scout: Whether it is the one of its round that asks whether a silent server is back.
        sent_at: When its last request was sent, by the session's clock.
        tries: Requests sent.
        responses: Of the server, of whatever status.
        prompt_tokens: As counted by the server.
        answer_tokens: Likewise.
        uncounted: Replies for which the server counted nothing.
    """

    scope: str
    may_try: Callable[[], Fault | None]
    on_response: Callable[[], None]
    ends_at: float = math.inf
    ticket: int = -1
    is_scout: bool = False
    sent_at: float = 0.0
    tries: int = 0
    responses: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    uncounted: int = 0

    @property
    def unanswered(self) -> int:
        """Requests that the server may have worked on without an answer reaching us."""
        return self.tries - self.responses

    def count(self, reply: Reply) -> None:
        """Add the tokens of a reply that the server was paid for."""
        if reply.prompt_tokens is not None and reply.answer_tokens is not None:
            self.prompt_tokens += reply.prompt_tokens
            self.answer_tokens += reply.answer_tokens
        elif reply.status is not None and reply.status < 300:
            self.uncounted += 1


class _StoppedError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


_CALL: ContextVar[Call] = ContextVar("vlmxai_call")


class ChatClient:
    """Speaks the chat completions protocol, one try at a time.

    Make it, use it and close it in one event loop.

    Args:
        base_url: Of the server; the environment's or the client's default if None.
        api_key: Removed from whatever a server echoes; None for a server that asks for none.
        timeout_s: Longest silence of the server in one try.
        query: Added to each URL.
        headers: Added to each request.
        secrets: Names of the headers whose values are removed like the key.
    """

    def __init__(
        self,
        *,
        base_url: str | None,
        api_key: str | None,
        timeout_s: float,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        import openai  # here, because it is slow to import and other judges do without

        self._openai = openai
        self._api_key = api_key
        values = [(headers or {})[name] for name in secrets]
        # "Bearer abc" is echoed as "abc" as well.
        self._secrets = [secret for value in values for secret in (value, value.split()[-1])]
        names = {name.lower() for name in headers or {}}
        # The client insists on a key; a server that asks for none may object to a wrong one.
        self._hides_key = api_key is None and "authorization" not in names
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",  # the client insists on one
            timeout=timeout_s,
            max_retries=0,
            default_query=query,
            default_headers=headers,
            http_client=openai.DefaultAsyncHttpxClient(
                event_hooks={"request": [self._before_try], "response": [_after_try]},
                follow_redirects=False,  # headers with secrets are for this host
            ),
        )

    @property
    def base_url(self) -> str:
        """Where the requests go."""
        return str(self._client.base_url)

    async def complete(self, body: Mapping[str, Any], call: Call) -> Reply:
        """Return the server's reply to one request body.

        Args:
            body: All of it, as the protocol has it: model, messages, settings.
            call: Keeps count.
        """
        token = _CALL.set(call)
        try:
            raw = await self._client.chat.completions.with_raw_response.create(
                # The body goes past the client's own treatment of messages, which for pictures
                # costs as much as encoding them.
                model=body["model"],
                messages=[],
                extra_body=body,
            )
            reply = read_body(self._scrub(raw.http_response.text))
            reply = self._with_response(reply, raw.http_response)
            call.count(reply)
            return reply
        except _StoppedError as error:
            return Reply(reason=error.fault.reason, detail=error.fault.detail)
        except self._openai.APITimeoutError:
            return Reply(reason=UnscoredReason.TIMEOUT, detail="the server kept silent too long")
        except self._openai.APIStatusError as error:
            return self._read_status(error)
        except self._openai.APIConnectionError as error:
            stopped = _stopped_in(error)
            if stopped is not None:
                return Reply(reason=stopped.reason, detail=stopped.detail)
            cause = shorten(self._scrub(f"{error.__cause__ or error}"))
            return Reply(reason=UnscoredReason.CONNECTION, detail=cause or "the connection broke")
        finally:
            _CALL.reset(token)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def list_models(self, base_url: str) -> list[str] | None:
        """Return the names of the models that a base URL lists; None if it lists none.

        Args:
            base_url: Of the same host; what is asked costs nothing and counts nowhere.
        """
        free = Call(scope="", may_try=lambda: None, on_response=lambda: None)
        token = _CALL.set(free)
        client = self._client.with_options(base_url=base_url, timeout=_LOOK_S)
        try:
            raw = await client.models.with_raw_response.list()
            entries = json.loads(self._scrub(raw.http_response.text))["data"]
            return [str(entry["id"]) for entry in entries]
        except (self._openai.OpenAIError, ValueError, KeyError, TypeError, RecursionError):
            return None
        finally:
            _CALL.reset(token)

    async def _before_try(self, request: Any) -> None:
        call = _CALL.get()
        fault = call.may_try()
        if fault is not None:
            raise _StoppedError(fault)
        if self._hides_key:
            request.headers.pop("Authorization", None)
        call.tries += 1
        if call.scope:
            count_sent()

    def _read_status(self, error: Any) -> Reply:
        response = error.response
        found = read_error(response.status_code, self._scrub(response.text))
        if response.status_code < 400:
            location = self._scrub(response.headers.get("location", ""))
            found = replace(found, message=f"the server sends on to {show(location)}")
        return self._with_response(error_reply(found), response)

    def _with_response(self, reply: Reply, response: Any) -> Reply:
        request_id = self._scrub(response.headers.get("x-request-id", ""))
        asked_s = _retry_after(response.headers)
        return replace(
            reply,
            status=reply.status or response.status_code,
            request_id=request_id,
            wait_s=reply.wait_s if asked_s is None else asked_s,
        )

    def _scrub(self, text: str) -> str:
        return scrub(text, [self._api_key or "", *self._secrets])


async def _after_try(response: Any) -> None:  # noqa: ARG001 - the client's signature
    call = _CALL.get()
    call.responses += 1
    call.on_response()


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a response asks to wait, from either header, as number or date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            parsed = email.utils.parsedate_tz(value)
            if parsed is None:
                continue
            seconds = email.utils.mktime_tz(parsed) - time.time()
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _stopped_in(error: BaseException) -> Fault | None:
    """Return the fault inside an error: older clients wrap whatever a hook raises."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _StoppedError):
            return cause.fault
        cause = cause.__cause__
    return None

"""Requests to one server, sent at its pace and again where that may help."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..records import UnscoredReason
from .flow import AdaptiveLimit, Fault
from .openai_client import Call, ChatClient
from .pace import Pace
from .replies import Reply
from .silence import Silence

_PASSING = frozenset(
    {UnscoredReason.CONNECTION, UnscoredReason.SERVER_ERROR, UnscoredReason.TIMEOUT}
)
_LOADING_WAIT_S = 2.0
_BUSY_WAIT_S = 2.0
_ALIVE_S = 10.0
"""So long after a good reply a 503 is that of a full server, and no failure."""


class Session:
    """What is known of a server while a judge is open.

    Calls that are refused for their number (429, 529, any error that names a time to wait) are
    sent again for as long as their judgement may take, at the pace of all. Server errors,
    time-outs and broken connections are tried again `max_retries` times, and not at all where
    nothing else came for long; a 503 is not counted for 10 s after a good reply. A server that
    never answered yet may take `wait_s` to be there (503, refused connections).

    Args:
        client: Makes the requests.
        limit: Of requests under way; lowered by refusals.
        max_retries: Further tries after a failure that may pass.
        wait_s: How long the server may take to load, from the first request.
        clock: Seconds, of any origin.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        client: ChatClient,
        *,
        limit: AdaptiveLimit,
        max_retries: int,
        wait_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.limit = limit
        self.pace = Pace(clock, sleep)
        self.silence = Silence(clock)
        self.clock = clock
        self._client = client
        self._max_retries = max_retries
        self._wait_s = wait_s
        self._sleep = sleep
        self._random = random.Random()  # noqa: S311 - of its own: the training's is left alone
        self._loads_until: float | None = None
        self._is_ready = False
        self._good_at = -float("inf")  # when the last good reply came
        self._failures = 0  # since the last reply that was none

    def loading_s(self) -> float:
        """Return how long the server may still take to be there, in seconds."""
        if self._is_ready:
            return 0.0
        if self._loads_until is None:
            self._loads_until = self.clock() + self._wait_s
        return max(0.0, self._loads_until - self.clock())

    async def send(
        self, body: Mapping[str, Any], call: Call, *, max_retries: int | None = None
    ) -> Reply:
        """Return the server's last word on a request body.

        Args:
            body: All of it, as the protocol has it: model, messages, settings.
            call: Keeps count.
            max_retries: Instead of the session's.
        """
        left = self._max_retries if max_retries is None else max_retries
        if call.is_scout:
            left = 0
        tried = 0
        reply = Reply(
            reason=UnscoredReason.RATE_LIMIT, detail="other calls were refused for their number"
        )
        while True:
            late_s = await self.pace.turn(call.ends_at)
            if late_s:
                return _too_late(reply, late_s)
            if self.silence.is_silent and not call.is_scout:
                fault = self.silence.fault
                return Reply(reason=fault.reason, detail=fault.detail)
            sent_at = call.sent_at = self.clock()
            tries, heard = call.tries, call.responses
            reply = await self._client.complete(body, call)
            if call.tries == tries:  # stopped by breaker or budget
                return reply
            if self._is_loading(reply):
                await self._sleep(min(_LOADING_WAIT_S, self.loading_s()))
                continue
            self._is_ready = self._is_ready or reply.status is not None
            self._failures = self._failures + 1 if reply.reason in _PASSING else 0
            if reply.reason is None:
                self._good_at = self.clock()
            if reply.reason is UnscoredReason.RATE_LIMIT or (
                reply.status == 503 and reply.wait_s is not None
            ):
                self.limit.slow_down(call.ticket)
                self.pace.refused(sent_at, reply.wait_s)
                continue  # by time, not by number
            if reply.status == 503 and not self._is_down:  # of a full server, or of a dead one
                self.limit.slow_down(call.ticket)
                self.pace.refused(sent_at, None, longest_s=_BUSY_WAIT_S)
                if self.clock() - self._good_at < _ALIVE_S:  # a full one, then
                    continue
            elif reply.status is not None:
                self.pace.taken(sent_at)
            if call.responses == heard and reply.reason in _PASSING:
                fault = Fault(reason=reply.reason, detail=reply.detail)
                call.is_scout |= self.silence.miss(call.scope, sent_at, fault)
                if self.silence.is_silent and not call.is_scout:
                    return reply
            if reply.reason not in _PASSING or tried >= left or self._is_down:
                return reply
            tried += 1
            await self._sleep(min(8.0, 0.5 * 2 ** (tried - 1)) * self._random.uniform(0.75, 1.0))

    @property
    def _is_down(self) -> bool:
        """Whether so many requests failed in a row that trying again only costs time."""
        return self._failures >= max(8, 3 * self.limit.maximum)

    def _is_loading(self, reply: Reply) -> bool:
        is_away = reply.status == 503 or (
            reply.status is None and reply.reason is UnscoredReason.CONNECTION
        )
        return is_away and self.loading_s() > 0


def _too_late(reply: Reply, late_s: float) -> Reply:
    said = reply.detail.rstrip(".")
    return Reply(
        reason=UnscoredReason.RATE_LIMIT,
        detail=f"{said}; the next call may be made in {late_s:.0f} s, later than a judgement may "
        "take",
        status=reply.status,
        code=reply.code,
        request_id=reply.request_id,
    )

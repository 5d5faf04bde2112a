"""One judgement, asked for in the way that the server understands; what it taught is kept."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..records import UnscoredReason
from .answers import ANSWER_SCHEMA, Answer, Unusable, read_answer
from .openai_client import Call, ChatClient
from .prompts import Prompt
from .replies import Reply

_log = logging.getLogger(__name__)

FORMATS: tuple[tuple[str, dict[str, Any] | None], ...] = (
    (
        "json_schema",
        {
            "type": "json_schema",
            "json_schema": {"name": "judgement", "strict": True, "schema": ANSWER_SCHEMA},
        },
    ),
    ("json_object", {"type": "json_object"}),
    ("text", None),
)
"""How an answer's form is asked for, the strictest first: names and `response_format`s."""

_UNSUPPORTED = re.compile(
    r"unsupported|not support|does(n't| not) support|unknown|unrecogni[sz]ed|unexpected"
    r"|not permitted|not allowed|not accepted|extra (inputs|fields)",
    re.IGNORECASE,
)
_FORMAT_NAMED = re.compile(r"response_format|json_schema|json_object|structured output", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an interview ended: an answer, or a reason and a detail."""

    answer: Answer | None = None
    reason: UnscoredReason | None = None
    detail: str = ""
    reply: Reply
    answer_format: str = ""


class Interviewer:
    """Asks for judgements; remembers the answer format and the settings that a server takes.

    The first format with which an answer comes is kept. Until then, an error that a format may
    have caused (400, 422, 500, 501) has the next one tried, once in a round.

    Args:
        client: To talk through.
        model: To ask.
        prompt: To ask with.
        settings: Further entries of each request body.
    """

    def __init__(
        self, client: ChatClient, *, model: str, prompt: Prompt, settings: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._model = model
        self._prompt = prompt
        self._settings = dict(settings)
        self._format = 0
        self._is_settled = False
        self._explored_in: set[str] = set()

    async def ask(self, content: list[dict[str, Any]], call: Call, **overrides: Any) -> Outcome:
        """Return the judgement on the content of a message; an unusable answer is asked for again.

        Args:
            content: Text and pictures, as the protocol has them.
            call: Keeps count.
            overrides: Settings for this call alone.
        """
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        outcome = await self._ask_once(messages, call, overrides)
        if outcome.reply.text is None or outcome.answer is not None:
            return outcome
        messages.append({"role": "assistant", "content": outcome.reply.text})
        question = self._prompt.with_problem(outcome.detail)
        messages.append({"role": "user", "content": question})
        return await self._ask_once(messages, call, overrides)

    async def _ask_once(
        self, messages: list[dict[str, Any]], call: Call, overrides: Mapping[str, Any]
    ) -> Outcome:
        reply, name = await self._find_format(messages, call, overrides)
        if reply.text is None:
            return Outcome(
                reason=reply.reason, detail=reply.detail, reply=reply, answer_format=name
            )
        answer = read_answer(reply.text)
        if isinstance(answer, Unusable):
            return Outcome(
                reason=answer.reason, detail=answer.problem, reply=reply, answer_format=name
            )
        return Outcome(answer=answer, reply=reply, answer_format=name)

    async def _find_format(
        self, messages: list[dict[str, Any]], call: Call, overrides: Mapping[str, Any]
    ) -> tuple[Reply, str]:
        chosen = self._format
        first = reply = await self._send(messages, chosen, call, overrides)
        while self._blames_format(reply, chosen, call.scope):
            chosen = max(chosen + 1, self._format)
            reply = await self._send(messages, chosen, call, overrides, max_retries=0)
        if reply.status is not None and reply.status < 300:
            if chosen > self._format:
                _log.info("The judge's server takes answers as %s.", FORMATS[chosen][0])
            self._format = max(self._format, chosen)
            self._is_settled = True
            return reply, FORMATS[chosen][0]
        if chosen > self._format:  # no format helped: the first error tells most
            self._explored_in.add(call.scope)
            return first, FORMATS[self._format][0]
        return reply, FORMATS[chosen][0]

    def _blames_format(self, reply: Reply, chosen: int, scope: str) -> bool:
        if chosen + 1 >= len(FORMATS) or reply.status not in (400, 422, 500, 501):
            return False
        if reply.reason not in (UnscoredReason.BAD_REQUEST, UnscoredReason.SERVER_ERROR):
            return False
        if _FORMAT_NAMED.search(f"{reply.parameter} {reply.detail}"):
            return True
        return not self._is_settled and scope not in self._explored_in

    async def _send(
        self,
        messages: list[dict[str, Any]],
        chosen: int,
        call: Call,
        overrides: Mapping[str, Any],
        *,
        max_retries: int | None = None,
    ) -> Reply:
        body = self._make_body(messages, chosen, overrides)
        reply = await self._client.complete(body, call, max_retries=max_retries)
        refused = self._refused_settings(reply, body)
        if not refused:
            return reply
        for name in refused & self._settings.keys():
            del self._settings[name]
            _log.warning(
                "The judge's server does not take the setting `%s` (%s); going on without it. "
                "Remove it from `request` to silence this.",
                name,
                reply.detail,
            )
        body = {key: value for key, value in body.items() if key not in refused}
        return await self._client.complete(body, call, max_retries=max_retries)

    def _make_body(
        self, messages: list[dict[str, Any]], chosen: int, overrides: Mapping[str, Any]
    ) -> dict[str, Any]:
        settings = {key: overrides.get(key, value) for key, value in self._settings.items()}
        body = {**settings, "model": self._model, "messages": messages}
        response_format = FORMATS[chosen][1]
        if response_format is not None:
            body["response_format"] = response_format
        return body

    @staticmethod
    def _refused_settings(reply: Reply, body: Mapping[str, Any]) -> set[str]:
        if reply.status not in (400, 422) or reply.reason is not UnscoredReason.BAD_REQUEST:
            return set()
        if not _UNSUPPORTED.search(f"{reply.code} {reply.detail}"):
            return set()
        ours = body.keys() - {"model", "messages", "response_format"}
        if reply.parameter in ours:
            return {reply.parameter}
        return {name for name in ours if re.search(rf"\b{re.escape(name)}\b", reply.detail)}

"""One judgement, asked for in the way that the server understands; what it taught is kept."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..records import UnscoredReason
from .answers import ANSWER_SCHEMA, Answer, Unusable, read_answer
from .openai_client import Call
from .prompts import Prompt
from .replies import Reply
from .scale import ScaleWatch
from .server_errors import needs_no_format
from .session import Session

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
    """How an interview ended: an answer, or a reason and a detail (and a score out of range).

    `said` is what the model said, an answer that could not be used before the one asked for anew;
    `problem` is what was wrong with that.
    """

    answer: Answer | None = None
    reason: UnscoredReason | None = None
    detail: str = ""
    reply: Reply
    answer_format: str = ""
    score: float | None = None
    said: tuple[str, ...] = ()
    problem: str = ""


_RENAMED = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
"""Two names of one limit: what takes the one refuses the other."""


class Interviewer:
    """Asks for judgements; remembers the answer format and the settings that a server takes.

    Until an answer has come, one judgement at a time explores and the others wait. An error that
    a format may have caused (400, 422, 500, 501) has the next one tried. A format that an error
    named is given up with the first answer in a lower one; one that was only suspected, when the
    next judgement meets the same. A round in which no format brought an answer explores no more.

    Args:
        session: To ask through.
        model: To ask.
        prompt: To ask with.
        settings: Further entries of each request body.
    """

    def __init__(
        self, session: Session, *, model: str, prompt: Prompt, settings: Mapping[str, Any]
    ) -> None:
        self._session = session
        self._model = model
        self._prompt = prompt
        self._settings = dict(settings)
        self._refused: set[str] = set()
        self._scale = ScaleWatch()
        self._format = 0
        self._suspected = 0
        self._is_settled = False
        self._explored_in: set[str] = set()
        self._exploring = asyncio.Lock()

    async def ask(self, content: list[dict[str, Any]], call: Call, **overrides: Any) -> Outcome:
        """Return the judgement on the content of a message; an unusable answer is asked for again.

        Args:
            content: Text and pictures, as the protocol has them.
            call: Keeps count.
            overrides: Settings for this call alone.
        """
        if self._may_explore(call.scope):
            async with self._exploring:
                if self._may_explore(call.scope):
                    outcome = await self._ask(content, call, overrides)
                    if outcome.answer is None:
                        self._explored_in.add(call.scope)
                    return outcome
        return await self._ask(content, call, overrides)

    def _may_explore(self, scope: str) -> bool:
        return not self._is_settled and scope not in self._explored_in

    async def _ask(
        self, content: list[dict[str, Any]], call: Call, overrides: Mapping[str, Any]
    ) -> Outcome:
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        outcome = self._on_scale(await self._ask_once(messages, call, overrides))
        if outcome.reply.text is None or outcome.answer is not None:
            return outcome
        messages.append({"role": "assistant", "content": outcome.reply.text})
        question = self._prompt.with_problem(outcome.detail)
        messages.append({"role": "user", "content": question})
        again = await self._ask_once(messages, call, overrides)
        return replace(again, said=(*outcome.said, *again.said), problem=outcome.detail)

    def _on_scale(self, outcome: Outcome) -> Outcome:
        """Return a first answer, or that its scale is not known."""
        score = outcome.score if outcome.answer is None else outcome.answer.score
        if score is None:
            return outcome
        self._scale.note(score)
        if outcome.answer is None or not self._scale.is_other:
            return outcome
        return replace(
            outcome, answer=None, reason=UnscoredReason.OUT_OF_RANGE, detail=self._scale.PROBLEM
        )

    async def _ask_once(
        self, messages: list[dict[str, Any]], call: Call, overrides: Mapping[str, Any]
    ) -> Outcome:
        chosen = self._format
        first = reply = await self._send(messages, chosen, call, overrides)
        is_named = True
        while self._blames_format(reply, chosen, call.scope):
            is_named = is_named and _names_format(reply)
            chosen = max(chosen + 1, self._suspected, self._format)
            reply = await self._send(messages, chosen, call, overrides, max_retries=0)
        name = FORMATS[chosen][0]
        if reply.text is None:
            # No format helped: the first error tells most.
            last = first if _is_error(reply) else reply
            return Outcome(reason=last.reason, detail=last.detail, reply=last, answer_format=name)
        answer = read_answer(reply.text)
        if isinstance(answer, Unusable):
            return Outcome(
                reason=answer.reason,
                detail=answer.problem,
                reply=reply,
                answer_format=name,
                score=answer.score,
                said=(reply.text,),
            )
        self._settle(chosen, is_named=is_named)
        return Outcome(answer=answer, reply=reply, answer_format=name, said=(reply.text,))

    def _settle(self, chosen: int, *, is_named: bool) -> None:
        """Keep a format with which an answer came."""
        if chosen > self._format and not is_named and self._suspected != chosen:
            self._suspected = chosen  # one error may have been a passing one
            return
        if chosen > self._format:
            _log.info("The judge's server takes answers as %s.", FORMATS[chosen][0])
        self._format = max(self._format, chosen)
        self._is_settled = True

    def _blames_format(self, reply: Reply, chosen: int, scope: str) -> bool:
        if chosen + 1 >= len(FORMATS) or reply.status not in (400, 422, 500, 501):
            return False
        if reply.reason not in (UnscoredReason.BAD_REQUEST, UnscoredReason.SERVER_ERROR):
            return False
        if _names_format(reply):
            return True
        if reply.parameter in self._settings or needs_no_format(reply.detail):
            return False
        return self._may_explore(scope)

    async def _send(
        self,
        messages: list[dict[str, Any]],
        chosen: int,
        call: Call,
        overrides: Mapping[str, Any],
        *,
        max_retries: int | None = None,
    ) -> Reply:
        """Return the reply to a question, after having left out what the server does not take."""
        while True:
            body = self._make_body(messages, chosen, overrides)
            reply = await self._session.send(body, call, max_retries=max_retries)
            refused = self._refused_settings(reply, body)
            if not refused:
                return reply
            for name in refused & self._settings.keys():  # another call may have been faster
                self._leave_out(name, reply.detail)

    def _leave_out(self, name: str, detail: str) -> None:
        value = self._settings.pop(name)
        self._refused.add(name)
        other = _RENAMED.get(name)
        if other is not None and other not in self._refused | self._settings.keys():
            self._settings[other] = value
            _log.info("The judge's server calls `%s` `%s` (%s).", name, other, detail)
            return
        _log.warning(
            "The judge's server does not take the setting `%s` (%s); going on without it. "
            "Remove it from `request` to silence this.",
            name,
            detail,
        )

    def _make_body(
        self, messages: list[dict[str, Any]], chosen: int, overrides: Mapping[str, Any]
    ) -> dict[str, Any]:
        settings = {key: overrides.get(key, value) for key, value in self._settings.items()}
        return make_body(messages, model=self._model, settings=settings, chosen=chosen)

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


def make_body(
    messages: list[dict[str, Any]], *, model: str, settings: Mapping[str, Any], chosen: int = 0
) -> dict[str, Any]:
    """Return the body of a request.

    Args:
        messages: As the protocol has them.
        model: That is asked.
        settings: Further entries.
        chosen: Which of `FORMATS` is asked for.
    """
    body = {**settings, "model": model, "messages": messages}
    response_format = FORMATS[chosen][1]
    if response_format is not None:
        body["response_format"] = response_format
    return body


def _names_format(reply: Reply) -> bool:
    return bool(_FORMAT_NAMED.search(f"{reply.parameter} {reply.detail}"))


def _is_error(reply: Reply) -> bool:
    return reply.status is None or reply.status >= 300

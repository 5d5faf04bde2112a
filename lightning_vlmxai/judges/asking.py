"""One question about one picture: found again or paid for, kept, accounted and written down."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..records import JudgeRequest, UnscoredReason, Usage, Verdict
from .budget import Ledger
from .cache import VerdictCache, cache_key
from .call_log import CallLog
from .flow import CircuitBreaker, Fault
from .interview import Interviewer, Outcome
from .openai_client import Call
from .pictures import make_content
from .prices import Price
from .prompts import Prompt
from .replies import Reply
from .session import Session
from .silence import GRACE_S, Role

_AWAY = frozenset(
    {UnscoredReason.BROKEN_JSON, UnscoredReason.HTML_ANSWER, UnscoredReason.NOT_FOUND}
)


class Asker:
    """Asks about pictures while a judge is open.

    Args:
        session: With the server.
        interviewer: Talks through it.
        call_log: Gets a line for each question.
        cache: Of verdicts; None without one.
        ledger: Of the budget; None without one.
        model: Name of the model.
        base_url: Of the server.
        query: Of each URL.
        look_around: Says in words where the server may be, when it is not where it was asked.
        prompt: That is asked with.
        settings: Of each request.
        price: Of the model, if known.
        held_usd: What a call is taken to cost until it is known.
        call_timeout_s: Longest time for one judgement.
        picture_format: Of the files.
    """

    def __init__(
        self,
        *,
        session: Session,
        interviewer: Interviewer,
        call_log: CallLog,
        cache: VerdictCache | None,
        ledger: Ledger | None,
        model: str,
        base_url: str,
        query: Mapping[str, str],
        look_around: Callable[[], Awaitable[str]],
        prompt: Prompt,
        settings: Mapping[str, Any],
        price: Price | None,
        held_usd: float,
        call_timeout_s: float,
        picture_format: str,
    ) -> None:
        self._session = session
        self._interviewer = interviewer
        self._call_log = call_log
        self._cache = cache
        self._ledger = ledger
        self._model = model
        self._base_url = base_url
        self._query = query
        self._look_around = look_around
        self._hint: asyncio.Task[str] | None = None
        self._has_answered = False
        self._prompt = prompt
        self._settings = settings
        self._price = price
        self._held_usd = held_usd
        self._call_timeout_s = call_timeout_s
        self._picture_format = picture_format
        self._breaker = CircuitBreaker()
        self._scouts: set[asyncio.Task[Verdict]] = set()

    async def close(self) -> None:
        """Give up what goes on in the background, and close the files."""
        pending: list[asyncio.Task[Any]] = [*self._scouts, *([self._hint] if self._hint else [])]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if self._cache is not None:
            self._cache.close()
        if self._ledger is not None:
            self._ledger.close()

    async def ask(self, request: JudgeRequest, files: list[bytes], number: int) -> Verdict:
        """Return the verdict on a picture, from the cache or the server.

        Args:
            request: What is judged.
            files: Its encoded views.
            number: Of the sample, from 0.
        """
        key = self._key_of(request, files, number)
        silence = self._session.silence
        while (known := self._recall(request, key, number)) is None:
            role = await silence.admit(request.scope)
            if role is Role.CLOSED:
                return Verdict.unscored(silence.fault.reason, silence.fault.detail)
            if role is Role.SCOUT:
                return await self._scout(request, files, number)
            async with self._session.limit.slot() as ticket:
                # Its twin may have been answered while this one waited, or the server gone.
                if not silence.is_silent and (known := self._recall(request, key, number)) is None:
                    return await self._pay(request, files, number, self._make_call(request, ticket))
        return known

    async def _scout(self, request: JudgeRequest, files: list[bytes], number: int) -> Verdict:
        """Ask whether a silent server is back; its round waits for a moment, the call goes on."""
        call = self._make_call(request, -1, is_scout=True)
        task = asyncio.ensure_future(self._pay(request, files, number, call))
        self._scouts.add(task)
        task.add_done_callback(self._scouts.discard)
        done, _ = await asyncio.wait({task}, timeout=GRACE_S)
        self._session.silence.scouted(request.scope)
        if done:
            return task.result()
        fault, usage = self._session.silence.fault, Usage(calls=call.tries, cost_usd=None)
        return Verdict.unscored(fault.reason, fault.detail, usage=usage)

    def _make_call(self, request: JudgeRequest, ticket: int, *, is_scout: bool = False) -> Call:
        def may_try() -> Fault | None:
            fault = self._breaker.fault_of(request.scope)
            if fault is None and self._ledger is not None:
                fault = self._ledger.take(request.scope, self._held_usd)
            return fault

        seconds = self._call_timeout_s + self._session.loading_s()
        return Call(
            scope=request.scope,
            may_try=may_try,
            on_response=self._session.silence.hear,
            ends_at=self._session.clock() + seconds,
            ticket=ticket,
            is_scout=is_scout,
        )

    async def _pay(
        self, request: JudgeRequest, files: list[bytes], number: int, call: Call
    ) -> Verdict:
        started = time.monotonic()
        text = self._prompt.with_label(request.label_name)
        content = make_content(text, files, self._picture_format)
        outcome = Outcome(reply=Reply(), detail="given up")
        try:
            outcome = await self._interview(content, call, number)
            self._has_answered |= outcome.answer is not None
            if not self._has_answered and _is_about_the_address(outcome):
                outcome = replace(outcome, detail=await self._with_hint(outcome.detail))
        finally:
            verdict = self._to_verdict(outcome, call, latency_s=time.monotonic() - started)
            # What was paid for is kept before anything else can fail.
            if self._cache is not None:
                self._cache.put(self._key_of(request, files, number), verdict)
            if self._ledger is not None:
                held = self._held_usd
                cost = self._spent_on(call) + held * (call.unanswered + call.uncounted)
                self._ledger.correct(request.scope, cost - held * call.tries)
            if call.is_scout:
                self._session.silence.scouted(request.scope)
            key = self._key_of(request, files, number)
            verdict = self._log(request, verdict, key, sample=number, outcome=outcome)
        if outcome.answer is not None:
            self._session.limit.speed_up()
        elif outcome.reason is not None:
            self._breaker.report(request.scope, outcome.reason, outcome.detail)
        return verdict

    async def _with_hint(self, detail: str) -> str:
        """Return what happened, and what a look around found: once for all that wait for it."""
        if self._hint is None:
            self._hint = asyncio.ensure_future(self._look_around())
        hint = await asyncio.shield(self._hint)
        return detail if hint in detail else f"{detail} ({hint})"

    def _recall(self, request: JudgeRequest, key: str, number: int) -> Verdict | None:
        known = None if self._cache is None else self._cache.get(key)
        if known is not None:
            return self._log(request, known, key, sample=number)
        return None

    async def _interview(self, content: list[dict[str, Any]], call: Call, number: int) -> Outcome:
        seed = self._settings.get("seed")
        overrides = {"seed": seed + number} if isinstance(seed, int) else {}
        left_s = call.ends_at - self._session.clock()
        try:
            return await asyncio.wait_for(
                self._interviewer.ask(content, call, **overrides), max(0.0, left_s)
            )
        except asyncio.TimeoutError:
            detail = f"no judgement within {self._call_timeout_s:g} s"
            self._miss(call, detail)
            return Outcome(reason=UnscoredReason.TIMEOUT, detail=detail, reply=Reply())
        except asyncio.CancelledError:  # its round's deadline is past
            self._miss(call, "the server kept silent past a round's deadline")
            raise

    def _miss(self, call: Call, detail: str) -> None:
        if call.unanswered:
            fault = Fault(reason=UnscoredReason.TIMEOUT, detail=detail)
            call.is_scout |= self._session.silence.miss(call.scope, call.sent_at, fault)

    def _key_of(self, request: JudgeRequest, files: list[bytes], number: int) -> str:
        return question_key(
            files,
            request.label_name,
            number,
            prompt=self._prompt,
            model=self._model,
            base_url=self._base_url,
            query=self._query,
            settings=self._settings,
        )

    def _spent_on(self, call: Call) -> float:
        if self._price is None:
            return 0.0
        return self._price.of(call.prompt_tokens, call.answer_tokens)

    def _to_verdict(self, outcome: Outcome, call: Call, *, latency_s: float) -> Verdict:
        is_known = call.tries == 0 or (self._price is not None and not call.uncounted)
        usage = Usage(
            calls=call.tries,
            tokens=call.prompt_tokens + call.answer_tokens,
            cost_usd=self._spent_on(call) if is_known else None,
        )
        if outcome.answer is None:
            reason = outcome.reason or UnscoredReason.DEADLINE
            return Verdict.unscored(reason, outcome.detail, usage=usage, latency_s=latency_s)
        return Verdict.scored(
            outcome.answer.score,
            evaluation=outcome.answer.evaluation,
            justification=outcome.answer.justification,
            usage=usage,
            latency_s=latency_s,
            attends_to=outcome.answer.attends_to,
        )

    def _log(
        self,
        request: JudgeRequest,
        verdict: Verdict,
        key: str,
        *,
        sample: int = 0,
        outcome: Outcome | None = None,
    ) -> Verdict:
        """Write a line down, and return the verdict with its id."""
        asked = self._call_log.add(
            request,
            verdict,
            prompt=self._prompt,
            answers=outcome.said if outcome else (),
            model=self._model,
            key=key[:32],  # a cached answer has that of the call which it was paid with
            label=self._prompt.neutralize(request.label_name),
            problem=outcome.problem if outcome else "",
            sample=sample,
            answer_format=outcome.answer_format if outcome else "",
            status=outcome.reply.status if outcome else None,
            request_id=outcome.reply.request_id if outcome else "",
        )
        return replace(verdict, asked=asked)


def question_key(
    files: Sequence[bytes],
    label: str,
    number: int,
    *,
    prompt: Prompt,
    model: str,
    base_url: str,
    query: Mapping[str, str],
    settings: Mapping[str, Any],
) -> str:
    """Return the name of the answer to a question: 64 hexadecimal digits.

    Args:
        files: Encoded views of the picture.
        label: Name of the predicted class.
        number: Of the sample, from 0.
        prompt: That is asked with.
        model: That is asked.
        base_url: Of its server.
        query: Of each URL.
        settings: Of each request.
    """
    return cache_key(
        {
            "pictures": [hashlib.sha256(data).hexdigest() for data in files],
            "label": prompt.neutralize(label),
            "prompt": prompt.version,
            "model": model,
            "base_url": base_url,
            **({"query": dict(query)} if query else {}),
            "settings": settings,
            "sample": number,
        }
    )


def _is_about_the_address(outcome: Outcome) -> bool:
    return outcome.reason in _AWAY

"""The judge of the paper: a vision-language model behind an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigurationError, expected
from ..records import JudgeRequest, UnscoredReason, Usage, Verdict
from .flow import AdaptiveLimit, CircuitBreaker
from .interview import Interviewer, Outcome
from .openai_client import Call, ChatClient
from .pictures import FORMATS, draw_views, encode_picture, to_data_url
from .prompts import STYLES, VIEWS, load_prompt, neutralize_label
from .replies import Reply

_OURS = frozenset({"model", "messages", "response_format", "stream", "n", "extra_headers"})


class VLMJudge:
    """Has a vision-language model score masked pictures, over the chat completions protocol.

    Works with any server that speaks it (OpenAI, Gemini's compatible endpoint, vLLM, Ollama, ...).
    The model is told the *predicted* label, never the true one. Whatever goes wrong with one
    picture is that picture's unscored verdict.

    Args:
        model: Name by which the server knows the model.
        base_url: Where the server is; OPENAI_BASE_URL or the client's default if None.
        api_key_env: Name of the environment variable that holds the key, which is itself never
            an argument, so that it reaches no checkpoint, config or log; None for a server that
            asks for none.
        style: Wording of the prompt: "original", "concise" or "extended".
        view: What the model is shown: the "masked" picture, an "overlay", or "both".
        samples: How often the model is asked about a picture; the median counts.
        request: Further entries of the request body, such as `temperature`, `seed`,
            `reasoning_effort` or `max_completion_tokens`. With several samples, a `seed` is
            raised by one for each.
        timeout_s: Longest silence of the server in one try, in seconds.
        call_timeout_s: Longest time for one judgement with all its tries, in seconds.
        max_retries: Further tries after a failure that may pass; 0 for none.
        concurrency: Most requests under way at a time; rate limits lower it for a while.
        picture_format: "png" or "jpeg".
        min_side: Smaller pictures are enlarged until their longer side has this many pixels;
            0 leaves them as they are.

    Raises:
        ConfigurationError: If an argument is not as described.

    Example:
        >>> judge = VLMJudge("gemini-2.5-flash-lite", api_key_env="GEMINI_API_KEY")
        >>> judge.name
        'gemini-2.5-flash-lite (original prompt, masked view)'

    Source: Nguyen, Pham, Ngo and Hy, 2025, arXiv 2508.20227.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str | None = "OPENAI_API_KEY",
        style: str = "original",
        view: str = "masked",
        samples: int = 1,
        request: dict[str, Any] | None = None,
        timeout_s: float = 60.0,
        call_timeout_s: float = 180.0,
        max_retries: int = 2,
        concurrency: int = 8,
        picture_format: str = "png",
        min_side: int = 0,
    ) -> None:
        _require("model", "the name of a model", bool(model.strip()), repr(model), "Pass one")
        _check_base_url(base_url)
        _check_key_name(api_key_env)
        _one_of("style", style, STYLES)
        _one_of("view", view, VIEWS)
        _one_of("picture_format", picture_format, FORMATS)
        _at_least("samples", samples, 1)
        _at_least("max_retries", max_retries, 0)
        _at_least("concurrency", concurrency, 1)
        _at_least("min_side", min_side, 0)
        for name, seconds in (("timeout_s", timeout_s), ("call_timeout_s", call_timeout_s)):
            _require(name, "above 0 seconds", seconds > 0, seconds, "Pass a longer time")
        self.model = model
        self._base_url = base_url
        self._api_key_env = api_key_env
        self._style = style
        self._view = view
        self._samples = samples
        self._settings = _check_settings(request or {})
        self._timeout_s = timeout_s
        self._call_timeout_s = call_timeout_s
        self._max_retries = max_retries
        self._concurrency = concurrency
        self._picture_format = picture_format
        self._min_side = min_side
        self._prompt = load_prompt(style, view)
        self._client: ChatClient | None = None
        self._interviewer: Interviewer
        self._limit: AdaptiveLimit
        self._breaker: CircuitBreaker

    @property
    def name(self) -> str:
        """The model, and how it is asked."""
        return f"{self.model} ({self._style} prompt, {self._view} view)"

    @property
    def prompt_version(self) -> str:
        """Version of the prompt's wording, 12 hexadecimal digits."""
        return self._prompt.version

    @property
    def concurrency(self) -> int:
        """How many requests to hand over at a time: as many again as are sent wait, encoded."""
        return 2 * self._concurrency

    def check(self) -> None:
        """Raise `ConfigurationError` if the key's environment variable is missing."""
        self._read_key()

    async def open(self) -> None:
        """Make the client, in the loop where it is used."""
        self._client = ChatClient(
            base_url=self._base_url,
            api_key=self._read_key(),
            timeout_s=self._timeout_s,
            max_retries=self._max_retries,
        )
        self._interviewer = Interviewer(
            self._client, model=self.model, prompt=self._prompt, settings=self._settings
        )
        self._limit = AdaptiveLimit(self._concurrency)
        self._breaker = CircuitBreaker()

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Return the model's verdict, or why there is none."""
        started = time.monotonic()
        if not neutralize_label(request.label_name):
            return Verdict.unscored(
                UnscoredReason.BAD_REQUEST,
                expected("label_name", "a readable name", repr(request.label_name), "Rename it"),
            )
        content = self._make_content(request)
        verdicts = await asyncio.gather(
            *(self._judge_once(request, content, number) for number in range(self._samples))
        )
        return combine_samples(verdicts, latency_s=time.monotonic() - started)

    async def _judge_once(
        self, request: JudgeRequest, content: list[dict[str, Any]], number: int
    ) -> Verdict:
        async with self._limit.slot() as ticket:
            started = time.monotonic()

            def on_status(status: int) -> None:
                if status == 429:
                    self._limit.slow_down(ticket)

            call = Call(
                round_number=request.round_number,
                may_try=lambda: self._breaker.fault_of(request.round_number),
                on_status=on_status,
            )
            outcome = await self._interview(content, call, number)
            if outcome.answer is not None:
                self._limit.speed_up()
            elif outcome.reason is not None:
                self._breaker.report(request.round_number, outcome.reason, outcome.detail)
            return _to_verdict(outcome, call, latency_s=time.monotonic() - started)

    async def _interview(self, content: list[dict[str, Any]], call: Call, number: int) -> Outcome:
        seed = self._settings.get("seed")
        overrides = {"seed": seed + number} if isinstance(seed, int) else {}
        try:
            return await asyncio.wait_for(
                self._interviewer.ask(content, call, **overrides), self._call_timeout_s
            )
        except asyncio.TimeoutError:
            detail = f"no judgement within {self._call_timeout_s:g} s"
            return Outcome(reason=UnscoredReason.TIMEOUT, detail=detail, reply=Reply())

    def _make_content(self, request: JudgeRequest) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = [
            {"type": "text", "text": self._prompt.with_label(request.label_name)}
        ]
        for picture in draw_views(request, self._view):
            data = encode_picture(
                picture, picture_format=self._picture_format, min_side=self._min_side
            )
            url = to_data_url(data, self._picture_format)
            content.append({"type": "image_url", "image_url": {"url": url}})
        return content

    def _read_key(self) -> str | None:
        if self._api_key_env is None:
            return None
        key = os.environ.get(self._api_key_env, "").strip()
        _require(
            "api_key_env",
            "the name of an environment variable that holds the key",
            bool(key),
            f"{self._api_key_env}, which is not set",
            f"Run `export {self._api_key_env}=...`, name another variable, or pass "
            "api_key_env=None for a server that asks for no key",
        )
        _require(
            "api_key_env",
            "the name of a variable that holds a key of printable ASCII characters",
            key.isascii() and key.isprintable(),
            f"{self._api_key_env}, whose value has others",
            "Copy the key again",
        )
        return key


def combine_samples(verdicts: Sequence[Verdict], *, latency_s: float) -> Verdict:
    """Return the median of several verdicts on one picture, with their spread.

    The words are those of the sample nearest to the median. Where no more than half of the
    samples have a score there is none, for the most frequent reason.

    Args:
        verdicts: At least one.
        latency_s: Of all together, in seconds.

    Example:
        >>> combined = combine_samples([Verdict.scored(s) for s in (1, 4, 5)], latency_s=0.0)
        >>> combined.score, combined.spread
        (4.0, 4.0)
    """
    costs = [verdict.usage.cost_usd for verdict in verdicts]
    known = [cost for cost in costs if cost is not None]
    usage = Usage(
        calls=sum(verdict.usage.calls for verdict in verdicts),
        tokens=sum(verdict.usage.tokens for verdict in verdicts),
        cost_usd=sum(known) if len(known) == len(costs) else None,
    )
    scored = {i: verdict.score for i, verdict in enumerate(verdicts) if verdict.score is not None}
    if 2 * len(scored) <= len(verdicts):
        reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason is not None)
        reason, _ = reasons.most_common(1)[0]
        detail = next(verdict.detail for verdict in verdicts if verdict.reason is reason)
        return Verdict.unscored(reason, detail, usage=usage, latency_s=latency_s)
    median = statistics.median(scored.values())
    nearest = verdicts[min(scored, key=lambda i: abs(scored[i] - median))]
    return Verdict(
        score=median,
        evaluation=nearest.evaluation,
        justification=nearest.justification,
        usage=usage,
        latency_s=latency_s,
        spread=max(scored.values()) - min(scored.values()) if len(verdicts) > 1 else None,
    )


def _to_verdict(outcome: Outcome, call: Call, *, latency_s: float) -> Verdict:
    usage = Usage(calls=call.tries, tokens=call.prompt_tokens + call.answer_tokens, cost_usd=None)
    if outcome.answer is None:
        reason = outcome.reason or UnscoredReason.JUDGE_ERROR
        return Verdict.unscored(reason, outcome.detail, usage=usage, latency_s=latency_s)
    return Verdict.scored(
        outcome.answer.score,
        evaluation=outcome.answer.evaluation,
        justification=outcome.answer.justification,
        usage=usage,
        latency_s=latency_s,
    )


def _require(argument: str, rule: str, holds: bool, got: object, remedy: str) -> None:
    if not holds:
        raise ConfigurationError(expected(argument, rule, got, remedy))


def _one_of(argument: str, value: str, allowed: Sequence[str]) -> None:
    _require(argument, f"one of {', '.join(allowed)}", value in allowed, repr(value), "Pass one")


def _at_least(argument: str, value: int, least: int) -> None:
    _require(argument, f"at least {least}", value >= least, value, f"Pass {argument}={least}")


def _check_base_url(base_url: str | None) -> None:
    if base_url is None:
        return
    is_web = base_url.startswith(("http://", "https://"))
    _require("base_url", "a URL", is_web, repr(base_url), "Begin it with http:// or https://")
    _require(
        "base_url",
        "free of user names and passwords",
        "@" not in base_url.split("://", 1)[1].split("/", 1)[0],
        "one with them",
        "Put the key into an environment variable and name that as `api_key_env`",
    )


def _check_key_name(api_key_env: str | None) -> None:
    # The value is not shown: it may be the key itself.
    _require(
        "api_key_env",
        "the name of an environment variable, in capitals",
        api_key_env is None or re.fullmatch(r"[A-Z_][A-Z0-9_]*", api_key_env) is not None,
        "something else",
        "Put the key into the environment and pass the variable's name, such as OPENAI_API_KEY",
    )


def _check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    taken = sorted(_OURS & settings.keys())
    _require(
        "request",
        "free of what the judge itself sets",
        not taken,
        ", ".join(taken),
        "Leave these out",
    )
    try:
        json.dumps(settings)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            expected("request", "writable as JSON", error, "Pass plain values")
        ) from None
    return dict(settings)

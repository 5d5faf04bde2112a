"""What models cost, and what a run may therefore cost. List prices change: pass your own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import ConfigurationError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of a model, in US dollars per million tokens."""

    prompt_usd: float
    answer_usd: float

    def of(self, prompt_tokens: int, answer_tokens: int) -> float:
        """Return the cost of a call in US dollars.

        Example:
            >>> Price(prompt_usd=0.1, answer_usd=0.4).of(1_000_000, 500_000)
            0.3
        """
        return (prompt_tokens * self.prompt_usd + answer_tokens * self.answer_usd) / 1e6


PRICES: Mapping[str, Price] = {
    "gemini-2.5-flash": Price(prompt_usd=0.30, answer_usd=2.50),
    "gemini-2.5-flash-lite": Price(prompt_usd=0.10, answer_usd=0.40),
    "gemini-2.5-pro": Price(prompt_usd=1.25, answer_usd=10.00),
    "gpt-4.1": Price(prompt_usd=2.00, answer_usd=8.00),
    "gpt-4.1-mini": Price(prompt_usd=0.40, answer_usd=1.60),
    "gpt-4.1-nano": Price(prompt_usd=0.10, answer_usd=0.40),
    "gpt-4o": Price(prompt_usd=2.50, answer_usd=10.00),
    "gpt-4o-mini": Price(prompt_usd=0.15, answer_usd=0.60),
    "gpt-5": Price(prompt_usd=1.25, answer_usd=10.00),
    "gpt-5-mini": Price(prompt_usd=0.25, answer_usd=2.00),
    "gpt-5-nano": Price(prompt_usd=0.05, answer_usd=0.40),
}
"""List prices of OpenAI and Google as third parties quoted them in spring 2026, without discounts
for caching or batches. Not checked at the source: pass `prices` where money matters."""

_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def price_of(model: str, overrides: Mapping[str, Sequence[float]]) -> Price | None:
    """Return the price of a model, or None where nobody said.

    Args:
        model: As the server knows it; a trailing date ("-2024-07-18") is looked past.
        overrides: Name to dollars per million tokens, [prompt, answer]; they win.

    Raises:
        ConfigurationError: If an override is not two numbers from 0 up.

    Example:
        >>> price_of("gpt-4o-mini-2024-07-18", {}).answer_usd
        0.6
        >>> price_of("my-model", {}) is None
        True
    """
    for name, pair in overrides.items():
        if len(pair) != 2 or not all(value >= 0 for value in pair):
            raise ConfigurationError(
                expected(
                    f"prices[{name!r}]",
                    "two numbers from 0 up, dollars per million tokens of prompt and of answer",
                    pair,
                    "Pass for example [0.1, 0.4]",
                )
            )
    own = overrides.get(model)
    if own is not None:
        return Price(prompt_usd=own[0], answer_usd=own[1])
    return PRICES.get(model) or PRICES.get(_DATED.sub("", model))


PROMPT_PICTURE_TOKENS = 500
"""Tokens that a picture is taken to cost beforehand: servers count some 250 to 800."""

ANSWER_TOKENS = 400
"""Tokens that an answer is taken to cost beforehand: six to eight sentences and three phrases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run will probably take, retries and repeated questions not counted.

    Args:
        calls: To the server.
        tokens: Prompt and answer together.
        cost_usd: In US dollars; None where the price is unknown.
    """

    calls: int
    tokens: int
    cost_usd: float | None

    def __str__(self) -> str:
        cost = "at an unknown price" if self.cost_usd is None else f"about ${self.cost_usd:.2f}"
        return f"up to {self.calls:,} calls, about {self.tokens:,} tokens, {cost}"


def estimate(
    *,
    calls: int,
    prompt_characters: int,
    pictures: int,
    answer_tokens: int | None,
    price: Price | None,
) -> Estimate:
    """Return what a number of calls will probably take.

    Args:
        calls: At least 0.
        prompt_characters: Of the text of one call; four make a token.
        pictures: In one call.
        answer_tokens: The most that an answer may have, where the request limits it.
        price: Of the model, if known.

    Example:
        >>> print(estimate(calls=10, prompt_characters=2000, pictures=1, answer_tokens=None,
        ...                price=Price(prompt_usd=0.1, answer_usd=0.4)))
        up to 10 calls, about 14,000 tokens, about $0.00
    """
    prompt = prompt_characters // 4 + pictures * PROMPT_PICTURE_TOKENS
    answer = ANSWER_TOKENS if answer_tokens is None else answer_tokens
    cost = None if price is None else price.of(calls * prompt, calls * answer)
    return Estimate(calls=calls, tokens=calls * (prompt + answer), cost_usd=cost)

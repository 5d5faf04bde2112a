"""Sums of calls, and of prices, some of which nobody knows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .values import number, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTotals:
    """What `judge_calls.jsonl` adds up to, rehearsal and retries among it."""

    requests: int = 0
    tries: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0
    failed: int = 0


def total_calls(lines: Iterable[Mapping[str, Any]]) -> CallTotals:
    """Return what the lines of a judge's log add up to."""
    requests = tries = tokens = failed = 0
    costs = []
    for line in lines:
        requests += 1
        tries += whole(line.get("tries")) or 0
        tokens += whole(line.get("tokens")) or 0
        failed += number(line.get("score")) is None
        costs.append(number(line.get("cost_usd")))
    return CallTotals(
        requests=requests, tries=tries, tokens=tokens, cost_usd=add_known(costs), failed=failed
    )


def add_known(costs: Iterable[float | None]) -> float | None:
    """Return the sum of the known prices; None where some are unknown and no other costs anything.

    Example:
        >>> add_known([0.0, None]), add_known([0.5, None]), add_known([])
        (None, 0.5, 0.0)
    """
    told = list(costs)
    total = math.fsum(cost for cost in told if cost is not None)
    return None if None in told and not total else total

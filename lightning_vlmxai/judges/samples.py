"""Several verdicts on one picture, made one."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from ..records import Usage, Verdict


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
    usage = _add_usage(verdicts)
    asked = tuple(name for verdict in verdicts for name in verdict.asked)
    is_cached = all(verdict.is_cached for verdict in verdicts)
    scored = {i: verdict.score for i, verdict in enumerate(verdicts) if verdict.score is not None}
    if 2 * len(scored) <= len(verdicts):
        reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason is not None)
        reason, _ = reasons.most_common(1)[0]
        detail = next(verdict.detail for verdict in verdicts if verdict.reason is reason)
        return Verdict(
            score=None,
            reason=reason,
            detail=detail,
            usage=usage,
            latency_s=latency_s,
            is_cached=is_cached,
            asked=asked,
        )
    median = statistics.median(scored.values())
    nearest = verdicts[min(scored, key=lambda i: abs(scored[i] - median))]
    return Verdict(
        score=median,
        evaluation=nearest.evaluation,
        justification=nearest.justification,
        attends_to=nearest.attends_to,
        usage=usage,
        latency_s=latency_s,
        spread=max(scored.values()) - min(scored.values()) if len(verdicts) > 1 else None,
        is_cached=is_cached,
        asked=asked,
    )


def _add_usage(verdicts: Sequence[Verdict]) -> Usage:
    costs = [verdict.usage.cost_usd for verdict in verdicts]
    known = [cost for cost in costs if cost is not None]
    return Usage(
        calls=sum(verdict.usage.calls for verdict in verdicts),
        tokens=sum(verdict.usage.tokens for verdict in verdicts),
        cost_usd=sum(known) if len(known) == len(costs) else None,
    )

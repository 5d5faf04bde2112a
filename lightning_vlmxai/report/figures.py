"""The figures of a report: counted from the samples that a page shows beside them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..records import Quadrant
from ..rounds import (
    Answer,
    Interval,
    estimate,
    estimated_metrics,
    estimated_rates,
    response_of,
    widened_interval,
    wilson_interval,
)
from .costs import add_known
from .run import RunRound, RunSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a round, or a class in it, comes to.

    Args:
        probes: Samples, judged or not.
        counts: Of the judged samples in each quadrant.
        average_score: Of the judged samples, in [0, 5]; None if there are none.
        attention_drift: Mean over the samples that have one.
        accuracy: Right over all samples of which it is known, the unscored among them.
        asked_again: Judged samples that the judge was asked about more than once.
        borderline: Of these, whose score is within the judge's own spread of the threshold.
        partly: Of the Correct-Low ones, whose kept region lies on the object and covers little.
        scored: Samples with a score; more than `judged` where some have no label.
        high: Of these, whose score is High.
        kept: Of these, whose last verdict stands: rates are estimates, which `rates` and
            `intervals` hold, and counts are of the verdicts as they stand.
        answered: Samples that judging all would score, as estimated; None where that is `scored`.
        low_rate: Rate of the Low among these, as estimated; None where it is counted.
        low: Its interval, likewise.
    """

    probes: int
    counts: Mapping[Quadrant, int]
    average_score: float | None
    attention_drift: float | None = None
    accuracy: float | None = None
    asked_again: int = 0
    borderline: int = 0
    partly: int = 0
    scored: int = 0
    high: int = 0
    kept: int = 0
    rates: Mapping[Quadrant, float] = field(default_factory=dict)
    intervals: Mapping[Quadrant, Interval] = field(default_factory=dict)
    answered: float | None = None
    low_rate: float | None = None
    low: Interval | None = None

    @property
    def borderline_rate(self) -> float | None:
        """Borderline samples over those asked about more than once; None if there are none."""
        return self.borderline / self.asked_again if self.asked_again else None

    @property
    def wrong_reasons(self) -> int:
        """Correct-Low samples that are not partly attended."""
        return self.counts.get(Quadrant.CORRECT_LOW, 0) - self.partly

    @property
    def judged(self) -> int:
        """The denominator of all rates."""
        return sum(self.counts.values())

    @property
    def coverage(self) -> float | None:
        """Samples with a score over all."""
        scored = self.scored if self.answered is None else self.answered
        return scored / self.probes if self.probes else None

    @property
    def is_told(self) -> bool:
        """Whether the judge told anything: verdicts of earlier rounds alone say nothing."""
        return self.judged > 0 and bool(self.coverage)

    @property
    def low_interval(self) -> Interval | None:
        """Wilson's interval of the Low among the scored, 95 %; None if there are none."""
        if self.answered is not None:
            return self.low
        return wilson_interval(self.scored - self.high, self.scored) if self.scored else None

    def rate(self, quadrant: Quadrant) -> float | None:
        """Return a quadrant's rate over the judged samples; None if there are none."""
        if self.answered is not None:
            return self.rates.get(quadrant)
        return self.counts.get(quadrant, 0) / self.judged if self.judged else None

    def interval(self, quadrant: Quadrant) -> Interval | None:
        """Return Wilson's interval of `rate`, 95 %."""
        if self.answered is not None:
            return self.intervals.get(quadrant)
        judged = self.judged
        return wilson_interval(self.counts.get(quadrant, 0), judged) if judged else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the verdicts of some samples cost.

    Args:
        cost_usd: Sum of the known prices; None where none is known.
        unpriced: Samples whose price is not known.
        median_latency_s: Over the answers that were asked for, in seconds; None without any.
        slow_latency_s: 95th percentile of the same.
        reasons: Count of each reason for having no score.
    """

    calls: int
    tokens: int
    cost_usd: float | None
    unpriced: int
    cached: int
    reused: int
    median_latency_s: float | None
    slow_latency_s: float | None
    reasons: Mapping[str, int]


def count_samples(
    samples: Sequence[RunSample],
    threshold: float = 2.5,
    *,
    missing: int = 0,
    response: float = 1.0,
) -> Figures:
    """Return the figures of samples; a score of at least `threshold` is High.

    Args:
        samples: To count.
        threshold: High from this score on.
        missing: How many more could not be explained: they are not judged.
        response: Share of the round's drawn probes that were answered, where these are a class.

    Example:
        >>> count_samples([]).rate(Quadrant.CORRECT_LOW) is None
        True
    """
    figures = Figures(
        probes=len(samples) + missing,
        counts=Counter(s.quadrant for s in samples if s.quadrant is not None),
        average_score=_mean(s.score for s in samples if s.score is not None),
        attention_drift=_mean(s.attention_drift for s in samples if s.attention_drift is not None),
        accuracy=_mean(float(s.is_correct) for s in samples if s.is_correct is not None),
        asked_again=sum(s.is_borderline is not None for s in samples),
        borderline=sum(s.is_borderline is True for s in samples),
        partly=sum(bool(s.partly) for s in samples),
        scored=sum(s.score is not None for s in samples),
        high=sum(s.score is not None and s.score >= threshold for s in samples),
    )
    if all(s.inclusion >= 1 for s in samples):
        return figures
    answers = [_answer(s) for s in samples]
    rates = estimated_rates(answers, threshold, response)
    number, low, ends = estimate_low(answers, threshold, response)
    return replace(
        figures,
        average_score=estimated_metrics(answers, threshold, response).get("average_score"),
        kept=sum(s.stands for s in samples),
        rates={quadrant: rate for quadrant, (rate, _) in rates.items()},
        intervals={quadrant: ends for quadrant, (_, ends) in rates.items()},
        answered=number,
        low_rate=low,
        low=ends,
    )


def estimate_low(
    answers: Sequence[Answer], threshold: float, response: float = 1.0
) -> tuple[float, float | None, Interval | None]:
    """Return over how many samples the rate of the Low is estimated, that rate and its interval.

    Args:
        answers: Of a round in which not all were judged, whatever is known of labels.
        threshold: High from this score on.
        response: See `estimate`.
    """
    found = estimate(answers, lambda _, score: float(score < threshold), response)
    if found.mean is None:
        return found.number, None, None
    rate = min(max(found.mean, 0.0), 1.0)
    return found.number, rate, widened_interval(rate, found.number, found.variance)


def _answer(s: RunSample) -> Answer:
    score = None if s.stands else s.score
    return Answer(s.is_correct, score, s.inclusion, s.expected_score, not s.stands)


def count_round(of: RunRound, threshold: float = 2.5) -> Figures:
    """Return the figures of a round; from its own line where its samples are lost."""
    if of.samples:
        missing = int(of.metrics.get("missing", 0))
        return count_samples(of.samples, threshold, missing=missing)
    judged = of.metrics["judged"]
    return Figures(
        probes=of.probes,
        counts={q: round(of.metrics.get(f"{q.value}_rate", 0.0) * judged) for q in Quadrant},
        average_score=of.metrics.get("average_score"),
        attention_drift=of.metrics.get("attention_drift"),
        accuracy=of.metrics.get("accuracy"),
        scored=int(judged),
        **_told(of),
    )


def _told(of: RunRound) -> dict[str, Any]:
    """Return the estimates of a round that not all were judged in, as it was told."""
    metrics = of.metrics
    if metrics.get("judged_share", 1.0) >= 1:
        return {}
    name = Quadrant.CORRECT_LOW.value
    lower, upper = (metrics.get(f"{name}_rate_{end}") for end in ("lower", "upper"))
    return {
        "kept": int(metrics.get("reused", 0.0)),
        "rates": {q: metrics[key] for q in Quadrant if (key := f"{q.value}_rate") in metrics},
        "intervals": {}
        if lower is None or upper is None
        else {Quadrant.CORRECT_LOW: Interval(lower, upper)},
        "answered": metrics.get("coverage", 0.0) * of.probes,
    }


def count_classes(samples: Sequence[RunSample], threshold: float = 2.5) -> dict[str, Figures]:
    """Return the figures of each true class, highest Correct-Low rate first."""
    response = response_of(map(_answer, samples))
    members: dict[str, list[RunSample]] = {}
    for sample in samples:
        members.setdefault(sample.label_name, []).append(sample)
    figures = {
        name: count_samples(own, threshold, response=response) for name, own in members.items()
    }
    low = Quadrant.CORRECT_LOW
    return dict(
        sorted(
            figures.items(),
            key=lambda item: (-(item[1].rate(low) or 0.0), -item[1].counts[low], item[0]),
        )
    )


def add_costs(samples: Sequence[RunSample]) -> Cost:
    """Return what the verdicts of samples cost."""
    latencies = sorted(
        s.latency_s
        for s in samples
        if s.latency_s is not None and s.calls and not s.is_cached and not s.is_reused
    )
    return Cost(
        calls=sum(s.calls for s in samples),
        tokens=sum(s.tokens for s in samples),
        cost_usd=add_known(s.cost_usd for s in samples),
        unpriced=sum(s.cost_usd is None for s in samples),
        cached=sum(s.is_cached for s in samples),
        reused=sum(s.is_reused for s in samples),
        median_latency_s=_quantile(latencies, 0.5),
        slow_latency_s=_quantile(latencies, 0.95),
        reasons=Counter(s.reason or "unknown" for s in samples if s.score is None),
    )


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return math.fsum(known) / len(known) if known else None


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank quantile of ordered values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None

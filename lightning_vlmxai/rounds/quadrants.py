"""Score crossed with correctness: quadrants, their rates and intervals. Pure functions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..records import Quadrant, Sample
from .estimates import Answer, estimate, estimate_quadrants, response_of

QUADRANT_METRICS = (
    *(f"{quadrant.value}_rate" for quadrant in Quadrant),
    "correct_low_rate_lower",
    "correct_low_rate_upper",
    "low_given_correct",
    "low_given_correct_lower",
    "low_given_correct_upper",
    "average_score",
    "average_score_stderr",
)
"""Names of the figures of `quadrant_metrics`."""

BOUNDED_METRICS = tuple(name for name in QUADRANT_METRICS if f"{name}_lower" in QUADRANT_METRICS)
"""Those that come with the two ends of an interval, `<name>_lower` and `<name>_upper`."""

DRIFTS = ("attention_drift", "centre_shift", "score_drift")
"""What of a `Sample` tells how far a probe is from what it was last."""

ROUND_METRICS = (
    *QUADRANT_METRICS,
    "accuracy",
    "coverage",
    "unscored",
    "reused",
    *DRIFTS,
    "calls",
    "tokens",
    "cost",
)
"""Names of the figures of `round_metrics`, without those of the watched classes."""


class Interval(NamedTuple):
    """The two ends of a confidence interval."""

    lower: float
    upper: float


def assign_quadrant(score: float, *, is_correct: bool, threshold: float = 2.5) -> Quadrant:
    """Return the quadrant of a judged sample; High means `score >= threshold`.

    Example:
        >>> assign_quadrant(2.5, is_correct=True).value
        'correct_high'
        >>> assign_quadrant(2.4, is_correct=True).value
        'correct_low'

    Source: Nguyen, Pham, Ngo and Hy, 2025, arXiv 2508.20227; the paper names no threshold,
        2.5 is the one in its authors' published code.
    """
    if score >= threshold:
        return Quadrant.CORRECT_HIGH if is_correct else Quadrant.WRONG_HIGH
    return Quadrant.CORRECT_LOW if is_correct else Quadrant.WRONG_LOW


Z95 = 1.959963984540054
"""Normal quantile of 95 %, two-sided."""


def wilson_interval(successes: float, total: float, *, z: float = Z95) -> Interval:
    """Return Wilson's score interval of a proportion (95 % by default).

    Args:
        successes: In [0, total].
        total: At least 1; of weighted ratings it is an effective number, and need not be whole.
        z: Normal quantile of the confidence.

    Raises:
        ValueError: For an empty denominator, or more successes than trials.

    Example:
        >>> lower, upper = wilson_interval(0, 10)
        >>> round(lower, 4), round(upper, 4)
        (0.0, 0.2775)

    Source: Wilson, 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if total < 1 or not 0 <= successes <= total:
        raise ValueError(f"Expected 0 <= successes <= total >= 1, got {successes} of {total}.")
    rate, z2 = successes / total, z * z
    centre = (rate + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * math.sqrt(rate * (1 - rate) / total + z2 / (4 * total * total))
    # At the ends the exact bound is 0 or 1; rounding would leave it a hair off.
    lower = 0.0 if successes == 0 else centre - half
    upper = 1.0 if successes == total else centre + half
    return Interval(lower, upper)


def quadrant_metrics(samples: Sequence[Sample], response: float = 1.0) -> dict[str, float]:
    """Return the rates of the four quadrants and the scores, over the *judged* samples.

    Args:
        samples: Of one round, or of one class in it; unscored ones count in no denominator.
        response: Share of the round's drawn probes that were answered; see `estimate`.

    Returns:
        `correct_high_rate`, `correct_low_rate`, `wrong_high_rate`, `wrong_low_rate` and
        `low_given_correct` = P(Low | correct), each in [0, 1]; the ends of the 95 % Wilson
        intervals of `correct_low_rate` and `low_given_correct` as `<name>_lower` and
        `<name>_upper`; `average_score` in [0, 5] and its standard error `average_score_stderr`
        (sample standard deviation over the root of their number, from two scores on). A figure
        whose denominator is empty is absent: it is neither 0 nor NaN. Where some samples need not
        have been judged (`Sample.inclusion`) they are estimates: see `estimated_metrics`.

    Example:
        >>> quadrant_metrics([])
        {}
    """
    if any(sample.inclusion < 1 for sample in samples):
        answers = [Answer.of(s) for s in samples]
        return estimated_metrics(answers, samples[0].threshold, response)
    return figures_of(
        Counter(sample.quadrant for sample in samples if sample.quadrant is not None),
        [s.verdict.score for s in samples if s.verdict.score is not None],
    )


def figures_of(count: Mapping[Quadrant, int], scores: Sequence[float]) -> dict[str, float]:
    """Return `quadrant_metrics` of what was counted.

    Args:
        count: Samples in each quadrant; more may have a score, where nothing is known of a label.
        scores: Of all judged samples.
    """
    return _rates(Counter(count)) | (_scores(scores) if scores else {})


def _rates(count: Counter[Quadrant]) -> dict[str, float]:
    judged = count.total()
    if not judged:
        return {}
    metrics = {f"{quadrant.value}_rate": count[quadrant] / judged for quadrant in Quadrant}
    low = count[Quadrant.CORRECT_LOW]
    correct = low + count[Quadrant.CORRECT_HIGH]
    metrics |= _with_interval("correct_low_rate", low, judged)
    return metrics | _with_interval("low_given_correct", low, correct)


def _scores(scores: Sequence[float]) -> dict[str, float]:
    judged = len(scores)
    average = math.fsum(scores) / judged
    metrics = {"average_score": average}
    if judged > 1:
        # Exactly rounded sums: the order of the samples changes nothing.
        variance = math.fsum((score - average) ** 2 for score in scores) / (judged - 1)
        metrics["average_score_stderr"] = math.sqrt(variance / judged)
    return metrics


def _with_interval(name: str, successes: int, total: int) -> dict[str, float]:
    """Return a rate and the ends of its interval by their names; nothing of nothing."""
    if not total:
        return {}
    lower, upper = wilson_interval(successes, total)
    return {name: successes / total, f"{name}_lower": lower, f"{name}_upper": upper}


def estimated_metrics(
    answers: Sequence[Answer], threshold: float, response: float = 1.0
) -> dict[str, float]:
    """Return `quadrant_metrics` of a round in which not all were judged.

    Each is right on average over the draws, but for what is cut off at the ends of its range.

    Args:
        answers: Of the round, or of a class in it.
        threshold: High from this score on.
        response: See `estimate`.
    """
    rates = estimated_rates(answers, threshold, response)
    metrics = {f"{q.value}_rate": rate for q, (rate, _) in rates.items()}
    right = [a for a in answers if a.is_correct]
    of_right = response_of(answers, response)  # where none of these was drawn
    for name, found in (
        ("correct_low_rate", rates),
        ("low_given_correct", estimated_rates(right, threshold, of_right)),
    ):
        if found:
            rate, ends = found[Quadrant.CORRECT_LOW]
            metrics |= {name: rate, f"{name}_lower": ends.lower, f"{name}_upper": ends.upper}
    scores = estimate(answers, lambda _, score: score, response)
    if scores.mean is None:
        return metrics
    metrics["average_score"] = min(max(scores.mean, 0.0), 5.0)
    told = [s for a in answers if (s := a.score if a.was_asked else a.expected) is not None]
    if len(told) > 1:
        average = math.fsum(told) / len(told)
        spread = math.fsum((score - average) ** 2 for score in told) / (len(told) - 1)
        metrics["average_score_stderr"] = math.sqrt(spread / scores.number + scores.variance)
    return metrics


def estimated_rates(
    answers: Sequence[Answer], threshold: float, response: float = 1.0
) -> dict[Quadrant, tuple[float, Interval]]:
    """Return the rate of each quadrant with its 95 % interval; none over nothing.

    Rates are brought into [0, 1] where an estimate lies outside, and add up to 1 all the same. The
    interval is Wilson's of as many judged samples as would leave an estimate as uncertain.

    Args:
        answers: Of a round in which not all were judged.
        threshold: High from this score on.
        response: See `estimate`.
    """
    found = estimate_quadrants(answers, threshold, response)
    number = found[Quadrant.CORRECT_LOW].number
    if not number:
        return {}
    totals: dict[Quadrant, float] = {}
    for low, high in (
        (Quadrant.CORRECT_LOW, Quadrant.CORRECT_HIGH),
        (Quadrant.WRONG_LOW, Quadrant.WRONG_HIGH),
    ):
        both = found[low].total + found[high].total  # no draw is in it: who is right is known
        totals[low] = min(max(found[low].total, 0.0), both)
        totals[high] = both - totals[low]
    return {
        q: (
            min(totals[q] / number, 1.0),
            widened_interval(min(totals[q] / number, 1.0), number, found[q].variance),
        )
        for q in Quadrant
    }


def widened_interval(rate: float, number: float, variance: float) -> Interval:
    """Return Wilson's 95 % interval of an estimated rate; never narrower than of a counted one.

    Args:
        rate: In [0, 1].
        number: How many samples it is over, above 0.
        variance: That it has beyond that of a rate counted over them.
    """
    z2 = Z95 * Z95
    centre = (rate * number + z2 / 2) / (number + z2)
    effective = max(1.0, number / (1 + number * variance / (centre * (1 - centre))))
    return wilson_interval(rate * effective, effective)


def round_metrics(
    samples: Sequence[Sample], *, missing: int = 0, watch_classes: Sequence[str] = ()
) -> dict[str, float]:
    """Return every figure of a round that its samples determine.

    Args:
        samples: Of one round.
        missing: Number of probes that could not be explained; they are unscored.
        watch_classes: Names of (true) classes whose own figures are wanted as well.

    Returns:
        `quadrant_metrics`, `accuracy` = right / explained samples, the unscored among them,
        `coverage` = judged / probes (verdicts that stand count by the share of the drawn that were
        answered), `unscored`, `reused` = verdicts kept from
        an earlier round, the means of the probes' `attention_drift`, `centre_shift` and
        `score_drift` (see `Sample`; over those that have one), `calls`, `tokens`, `cost` (US
        dollars; absent where a price is unknown), the figures of `faithfulness_names` where they
        were measured, and for each watched class its
        `quadrant_metrics` as `class/<name>/<metric>`.
    """
    probes = len(samples) + missing
    if not probes:
        return {}
    metrics = quadrant_metrics(samples)
    answers = [Answer.of(sample) for sample in samples]
    judged = sum(sample.verdict.score is not None for sample in samples)
    told = [s.explanation.is_correct for s in samples if s.explanation.is_correct is not None]
    if told:
        metrics["accuracy"] = sum(told) / len(told)
    metrics["reused"] = float(sum(sample.verdict.is_reused for sample in samples))
    for name in DRIFTS:
        drifts = [
            (getattr(s, name), s.inclusion if name == "score_drift" else 1.0) for s in samples
        ]
        known = [(drift, 1 / share) for drift, share in drifts if drift is not None]
        if known:
            weight = math.fsum(w for _, w in known)
            metrics[name] = math.fsum(drift * w for drift, w in known) / weight
    usages = [sample.verdict.usage for sample in samples]
    metrics["coverage"] = estimate(answers, lambda *_: 1.0).number / probes
    metrics["unscored"] = float(probes - judged)
    metrics["calls"] = float(sum(usage.calls for usage in usages))
    metrics["tokens"] = float(sum(usage.tokens for usage in usages))
    costs = [usage.cost_usd for usage in usages]
    prices = [cost for cost in costs if cost is not None]
    if len(prices) == len(costs):
        metrics["cost"] = math.fsum(prices)
    metrics |= _faithfulness(samples)
    for row in class_table(samples):
        if row.label_name in watch_classes:
            metrics |= {f"class/{row.label_name}/{k}": v for k, v in row.metrics.items()}
    return metrics


def faithfulness_names(figures: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a round's faithfulness figures, and of how many samples lack one.

    Example:
        >>> faithfulness_names(["deletion"]), faithfulness_names([])
        (('faithfulness/deletion', 'faithfulness/undefined'), ())
    """
    names = (*figures, "undefined") if figures else ()
    return tuple(f"faithfulness/{name}" for name in names)


def _faithfulness(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the means over the samples for which a figure is defined."""
    told = [s.explanation.faithfulness for s in samples if s.explanation.faithfulness]
    if not told:
        return {}
    metrics = {}
    for name in dict.fromkeys(name for of in told for name in of):
        known = [value for of in told if (value := of.get(name)) is not None]
        if known:
            metrics[f"faithfulness/{name}"] = math.fsum(known) / len(known)
    undefined = sum(any(value is None for value in of.values()) for of in told)
    return metrics | {"faithfulness/undefined": float(undefined)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """The figures of one true class.

    Args:
        label_name: Of the class.
        explained: Number of its samples.
        judged: Number of those that have a score.
        metrics: `quadrant_metrics` of its samples.
    """

    label_name: str
    explained: int
    judged: int
    metrics: Mapping[str, float]


def class_table(samples: Sequence[Sample]) -> list[ClassRow]:
    """Return a row for each true class that occurs, by name.

    Args:
        samples: Of one round.

    Example:
        >>> class_table([])
        []
    """
    response = response_of(map(Answer.of, samples))
    of_class: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        of_class[sample.explanation.label_name].append(sample)
    return [
        ClassRow(
            label_name=name,
            explained=len(members),
            judged=sum(member.verdict.score is not None for member in members),
            metrics=quadrant_metrics(members, response),
        )
        for name, members in sorted(of_class.items())
    ]

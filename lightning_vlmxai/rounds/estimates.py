"""Figures of a round in which not all were judged: what is expected, corrected by a sample.

Each probe has a probability of being judged (`Sample.inclusion`). Where it is below 1 its past
verdicts *predict* the one that judging it would give (`Sample.expected_score`); how wrong
predictions are is known of those that were drawn, each of which stands for 1 / inclusion of its
like. So an estimate is right on average whatever the predictions are worth: these only make it
narrow.

Source: Särndal, Swensson and Wretman, 1992, "Model Assisted Survey Sampling", 6.3 (the difference
    estimator).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ..records import Quadrant, Sample

UNSEEN = 0.5
"""Changes that a sample is credited with beyond those it has: none in a few is not none in all."""


class Answer(NamedTuple):
    """What is known of one probe of a round.

    Args:
        is_correct: Whether it was predicted right; None where that is not known.
        score: Of this round's own verdict; None where it failed, or was not asked for.
        inclusion: Probability with which it was asked for, in (0, 1].
        expected: Score that its past verdicts make one expect, where `inclusion` is below 1.
        was_asked: Whether it was.
    """

    is_correct: bool | None
    score: float | None
    inclusion: float = 1.0
    expected: float | None = None
    was_asked: bool = True

    @classmethod
    def of(cls, sample: Sample) -> Answer:
        """Return what is known of a sample."""
        verdict, is_certain = sample.verdict, sample.inclusion >= 1
        return cls(
            is_correct=sample.explanation.is_correct,
            score=verdict.score if is_certain or not verdict.is_reused else None,
            inclusion=sample.inclusion,
            expected=None if is_certain else sample.expected_score,
            was_asked=is_certain or not verdict.is_reused,
        )


class Estimate(NamedTuple):
    """A mean over the probes that judging all would score.

    Args:
        total: Sum of what it is the mean of. Of a rate it may be below 0 or above `number`: that
            is what makes it right on average.
        number: How many probes that is, in [0, their number].
        variance: Of `mean`, by the draw alone: how far it is from the one that judging all gives.
    """

    total: float
    number: float
    variance: float

    @property
    def mean(self) -> float | None:
        """The mean; None over nothing."""
        return self.total / self.number if self.number > 0 else None

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of a 95 % interval of what judging all would give: by the draw alone."""
        mean, half = self.mean or 0.0, 1.959963984540054 * math.sqrt(self.variance)
        return mean - half, mean + half


def response_of(answers: Iterable[Answer], otherwise: float = 1.0) -> float:
    """Return the share of the drawn probes that were answered.

    Args:
        answers: Of a round, or of a class in it.
        otherwise: What it is where none was drawn.
    """
    return _response([a for a in answers if a.expected is not None and a.was_asked], otherwise)


def _response(drawn: Sequence[Answer], otherwise: float) -> float:
    if not drawn:
        return otherwise
    weight = math.fsum(1 / a.inclusion for a in drawn)
    return math.fsum(1 / a.inclusion for a in drawn if a.score is not None) / weight


def estimate(
    answers: Iterable[Answer], value: Callable[[Answer, float], float], response: float = 1.0
) -> Estimate:
    """Return the mean of a value over the probes that judging all would score.

    What is expected counts by the share of the drawn that were answered: where a judge fails it
    counts for less, where it is out for nothing. The variance is that of the drawn, as if each were
    drawn by itself: right on average or a little too large, and 0 where by chance none of them
    changed. So it is at least half-way to what it would be if changes were as frequent as the
    inclusion probabilities took them to be.

    Args:
        answers: Of the probes that it is the mean over.
        value: Of an answer with a score.
        response: Share of the round's drawn probes that were answered, in [0, 1], for answers of
            which none was drawn.
    """
    every = list(answers)
    standing = [a for a in every if a.expected is not None]
    certain = [value(a, a.score) for a in every if a.expected is None and a.score is not None]
    if not standing:
        return Estimate(math.fsum(certain), len(certain), 0.0)
    before = [value(a, a.expected) for a in standing if a.expected is not None]
    drawn = [a for a in standing if a.was_asked]
    answered = _response(drawn, response)
    number = len(certain) + answered * len(standing)
    if number <= 0:
        return Estimate(0.0, 0.0, 0.0)
    changes = [
        0.0 if a.score is None or a.expected is None else value(a, a.score) - value(a, a.expected)
        for a in drawn
    ]
    weighted = (change / a.inclusion for a, change in zip(drawn, changes, strict=True))
    total = math.fsum([*certain, answered * math.fsum(before), *weighted])
    aside = math.fsum(before) / len(before) - total / number
    errors = [  # with what a failure takes out
        (a.inclusion, change + ((a.score is not None) - answered) * aside)
        for a, change in zip(drawn, changes, strict=True)
    ]
    seen = math.fsum((1 - p) / p**2 * error**2 for p, error in errors)
    frequency = (math.fsum(error**2 for _, error in errors) + UNSEEN) / (
        math.fsum(p**2 for p, _ in errors) + 1
    )
    usual = frequency * math.fsum(a.inclusion * (1 - a.inclusion) for a in standing)
    return Estimate(total, number, max(seen, (seen + usual) / 2) / number**2)


def count_answered(samples: Sequence[Sample], response: float = 1.0) -> int:
    """Return how many of these samples judging all would score, as estimated, rounded down.

    Without a draw that is the number of those that have a score. For `response` see `estimate`.
    """
    found = estimate(map(Answer.of, samples), lambda *_: 1.0, response)
    return math.floor(found.number + 1e-9)


def estimate_quadrants(
    answers: Sequence[Answer], threshold: float, response: float = 1.0
) -> dict[Quadrant, Estimate]:
    """Return the rate of each quadrant; their totals add up to the number.

    Args:
        answers: Of a round, or of a class in it.
        threshold: High from this score on.
        response: See `estimate`.
    """
    told = [a for a in answers if a.is_correct is not None]

    def is_in(quadrant: Quadrant) -> Callable[[Answer, float], float]:
        is_right, is_high = quadrant in _CORRECT, quadrant in _HIGH
        return lambda a, score: float(a.is_correct is is_right and (score >= threshold) is is_high)

    return {quadrant: estimate(told, is_in(quadrant), response) for quadrant in Quadrant}


_CORRECT = (Quadrant.CORRECT_HIGH, Quadrant.CORRECT_LOW)
_HIGH = (Quadrant.CORRECT_HIGH, Quadrant.WRONG_HIGH)

"""What past verdicts make one expect of a probe, and who is drawn to be judged. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FLOOR = 0.05
"""Inclusion probability of any probe, at least: a change that is seen counts twenty at most."""
FEW = 4
"""Of the probes whose verdict could stand, so many are judged anew at least (in expectation)."""
JUDGE_SPREAD = 0.25
"""Standard deviation of a score that a judge gives again to the same mask: a prior."""
MOVED_SPREAD = 1.5
"""Standard deviation that a mask adds which has nothing in common with the one judged: a prior."""


class Expected(NamedTuple):
    """What past verdicts make one expect of a score.

    Args:
        score: In [0, 5].
        spread: Standard deviation of what it may be instead, above 0.
    """

    score: float
    spread: float

    def chance_of_change(self, threshold: float) -> float:
        """Return how likely it is to be on the other side of the threshold, in [0, 0.5]."""
        return 0.5 * math.erfc(abs(self.score - threshold) / self.spread / math.sqrt(2))


def expect(scores: Sequence[float], ious: Sequence[float]) -> Expected:
    """Return what past verdicts make one expect: their mean, those of nearer masks before others.

    A rough guess. It decides who is asked and how narrow an estimate is, never whether it is right.

    Args:
        scores: In [0, 5], at least one.
        ious: Agreement of each one's mask with the mask of now, in [0, 1].

    Example:
        >>> near = expect([4.0, 1.0], [1.0, 0.0])
        >>> round(near.score, 2), round(near.spread, 2)
        (3.92, 0.35)
    """
    weights = [1 / (JUDGE_SPREAD**2 + (MOVED_SPREAD * (1 - iou)) ** 2) for iou in ious]
    total = math.fsum(weights)
    mean = math.fsum(w * score for w, score in zip(weights, scores, strict=True)) / total
    return Expected(mean, math.hypot(JUDGE_SPREAD, 1 / math.sqrt(total)))


def inclusion_probabilities(
    weights: Sequence[float], total: float, floors: Sequence[float]
) -> list[float]:
    """Return probabilities that grow with the weights, none below its floor, none above 1.

    Args:
        weights: At least 0.
        total: What they add up to, where the floors allow it; at least 0.
        floors: In (0, 1].

    Example:
        >>> [round(p, 2) for p in inclusion_probabilities([0, 1, 1, 8], 2.0, [0.1] * 4)]
        [0.1, 0.45, 0.45, 1.0]

    Source: Särndal, Swensson and Wretman, 1992, "Model Assisted Survey Sampling", 3.6.1: in
        proportion to size, certain where that is above 1; the floors are ours.
    """
    weight, floor = np.asarray(weights, float), np.asarray(floors, float)
    if total >= len(weight):
        return [1.0] * len(weight)
    if total <= floor.sum():
        return [float(p) for p in floor]
    # The sum grows with the factor, in a line between the weights' own corners.
    corners = np.unique(
        np.concatenate([floor[weight > 0] / weight[weight > 0], 1 / weight[weight > 0]])
    )
    sums = np.clip(corners[:, None] * weight, floor, 1.0).sum(axis=1)
    factor = np.interp(total, sums, corners) if len(corners) else 0.0
    return [float(p) for p in np.clip(factor * weight, floor, 1.0)]


def draw_systematic(inclusion: Sequence[float], generator: np.random.Generator) -> list[bool]:
    """Return a sample in which each is with its own probability, of nearly the same size always.

    Args:
        inclusion: In (0, 1].
        generator: Of the draw.

    Source: Madow, 1949, "On the theory of systematic sampling, II", in a random order.
    """
    order = generator.permutation(len(inclusion))
    ends = np.cumsum(np.asarray(inclusion, float)[order]) + generator.random()
    starts = np.concatenate([ends[:1] - np.asarray(inclusion, float)[order][:1], ends[:-1]])
    drawn = np.zeros(len(inclusion), bool)
    drawn[order] = np.floor(ends) > np.floor(starts)
    # Sums are rounded: what is certain is certain.
    return [bool(is_in) or p >= 1 for is_in, p in zip(drawn, inclusion, strict=True)]


def plan(
    chances: Sequence[float],
    watched: Sequence[bool],
    *,
    share: float,
    probes: int,
    watched_share: float,
) -> list[float]:
    """Return the inclusion probabilities of the probes whose last verdict could stand.

    The others are certain, and are paid first; at least `FEW` of these are asked in expectation.
    Probabilities grow with the root of the chance of a change, which is what makes an estimate of
    a given size as narrow as it may be.

    Args:
        chances: How likely each verdict is to have changed sides, in [0, 0.5].
        watched: Whether each is of a watched class, which have a floor of their own.
        share: Of all probes that is to be judged, in (0, 1].
        probes: Of the round that are judged or stand.
        watched_share: The floor of the watched classes, in (0, 1].
    """
    certain = probes - len(chances)
    total = probes if share >= 1 else max(share * probes - certain, FEW)
    floors = [max(FLOOR, watched_share) if is_watched else FLOOR for is_watched in watched]
    return inclusion_probabilities([math.sqrt(p) for p in chances], total, floors)

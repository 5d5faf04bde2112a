"""Which probes of a round are judged: those that may have changed, and a sample of the rest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from ..explain import mask_iou
from ..records import Explanation, Usage, Verdict
from .quadrants import wilson_interval

FLOOR = 0.1
"""Inclusion probability of any probe, at least: a change that wasn't seen counts ten at most."""
FEW = 4
"""Of the probes whose verdict could stand, so many are judged anew at least (in expectation)."""
JUDGE_SPREAD = 0.5
"""Standard deviation of a score that a judge gives again to the same mask: a prior."""
MOVED_SPREAD = 2.5
"""Standard deviation that a mask adds which has nothing in common with the one judged: a prior."""
MANY = 0.1
"""Share of verdicts that change sides in a round, beyond which more are asked."""
SURE_Z = 1.2815515655446004
"""Normal quantile of the bound that has to be beyond it: one-sided, 90 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What was drawn for a probe of a round.

    Args:
        inclusion: Probability that it is judged, in (0, 1].
        is_asked: Whether it is.
        kept: Its last verdict, marked as reused; None where there is none for this prediction.
    """

    inclusion: float = 1.0
    is_asked: bool = True
    kept: Verdict | None = None

    @property
    def known(self) -> Verdict | None:
        """The verdict that stands; None where it is asked for."""
        return None if self.is_asked else self.kept

    def to_state(self) -> dict[str, Any]:
        """Return it in plain values."""
        kept = self.kept and _to_state(self.kept)
        return {"inclusion": self.inclusion, "is_asked": self.is_asked, "kept": kept}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Chance:
        """Return what `to_state` told."""
        kept = state["kept"] and _from_state(state["kept"])
        return cls(inclusion=state["inclusion"], is_asked=state["is_asked"], kept=kept)


def change_chances(scores: Sequence[float], ious: Sequence[float], threshold: float) -> list[float]:
    """Return how likely each score is to be on the other side of the threshold by now.

    A rough guess that decides who is asked: no figure rests on it.

    Args:
        scores: Of the last verdicts, in [0, 5].
        ious: Agreement of each mask with the one that was judged, in [0, 1].
        threshold: High from this score on.

    Example:
        >>> [round(p, 3) for p in change_chances([2.5, 3.5, 5.0], [1.0, 1.0, 1.0], 2.5)]
        [0.5, 0.023, 0.0]
    """
    return [
        0.5
        * math.erfc(
            abs(score - threshold)
            / math.hypot(JUDGE_SPREAD, MOVED_SPREAD * (1 - iou))
            / math.sqrt(2)
        )
        for score, iou in zip(scores, ious, strict=True)
    ]


def inclusion_probabilities(
    weights: Sequence[float], total: float, floors: Sequence[float]
) -> list[float]:
    """Return probabilities that grow with the weights, none below its floor, none above 1.

    Args:
        weights: At least 0.
        total: What they add up to, where the floors allow it; at least 0.
        floors: In (0, 1].

    Example:
        >>> inclusion_probabilities([0, 1, 1, 8], 2.0, [0.1] * 4)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    picture: str
    label_name: str
    attended: Tensor
    verdict: Verdict


class Panel:
    """Draws who is judged in each round, and keeps the last verdict that was asked for of each.

    It is told of closed rounds alone: what it draws does not depend on how fast a judge is. A mask
    is compared with the one that was judged. Drawing takes no number from anyone's generator.

    Args:
        share: Of a round's probes that is judged, in (0, 1]; 1 judges all.
        seed: Of the draws.
        threshold: High from this score on.
        watch_classes: Names of true classes whose probes are judged with at least this share.
    """

    def __init__(
        self, share: float, *, seed: int, threshold: float, watch_classes: Sequence[str] = ()
    ) -> None:
        self._base = self.share = share
        self._seed = seed
        self._threshold = threshold
        self._watch_classes = frozenset(watch_classes)
        self._judged: dict[int | tuple[int, int], _Judged] = {}

    @property
    def rotates(self) -> bool:
        """Whether there is anything to draw."""
        return self._base < 1

    def draw(self, explanations: Sequence[Explanation], number: int) -> list[Chance]:
        """Return who is judged, and with which probability: the same on every rank.

        Args:
            explanations: Of all ranks, without the blank saliency maps.
            number: Of the round.
        """
        if not self.rotates:
            return [Chance() for _ in explanations]
        held = [self._find(explanation) for explanation in explanations]
        places = [place for place, judged in enumerate(held) if judged is not None]
        known = [judged for judged in held if judged is not None]
        ious = [
            float(mask_iou(judged.attended, explanations[place].mask))
            for place, judged in zip(places, known, strict=True)
        ]
        inclusion = plan(
            [judged.verdict.score or 0.0 for judged in known],
            ious,
            [explanations[place].label_name in self._watch_classes for place in places],
            share=self.share,
            probes=len(explanations),
            threshold=self._threshold,
            watched_share=self._base,
        )
        drawn = draw_systematic(inclusion, np.random.default_rng([self._seed, max(number, 0)]))
        chances = [Chance() for _ in explanations]
        for place, judged, p, is_in in zip(places, known, inclusion, drawn, strict=True):
            kept = _from_state(_to_state(judged.verdict))
            chances[place] = Chance(inclusion=p, is_asked=is_in, kept=kept)
        return chances

    def hear(
        self, judged: Sequence[tuple[Explanation, Verdict]], chances: Sequence[Chance]
    ) -> None:
        """Learn what a closed round came to.

        A verdict that failed leaves none: its probe is asked again. Where verdicts changed more
        than a few, more are asked from the next draw on.

        Args:
            judged: What could be judged, with the verdicts.
            chances: What was drawn for each.
        """
        if not self.rotates:
            return
        for (explanation, verdict), chance in zip(judged, chances, strict=True):
            if not chance.is_asked:
                continue
            self._judged.pop(explanation.key, None)
            if verdict.score is not None:
                self._judged[explanation.key] = _Judged(
                    picture=_digest(explanation.pixels),
                    label_name=explanation.prediction_name,
                    attended=explanation.mask >= 0.5,
                    verdict=verdict,
                )
        verdicts = [verdict for _, verdict in judged]
        self.share = next_share(self.share, self._base, chances, verdicts, self._threshold)

    def state_dict(self) -> dict[str, Any]:
        """Return all of it in plain values and tensors."""
        return {
            "share": self.share,
            "judged": [
                {
                    "key": key,
                    "picture": judged.picture,
                    "label_name": judged.label_name,
                    "attended": judged.attended,
                    "verdict": _to_state(judged.verdict),
                }
                for key, judged in self._judged.items()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what was saved; another share begins anew from what was asked for."""
        self.share = max(self._base, state["share"]) if self.rotates else 1.0
        self._judged = {
            saved["key"]: _Judged(
                picture=saved["picture"],
                label_name=saved["label_name"],
                attended=saved["attended"],
                verdict=_from_state(saved["verdict"]),
            )
            for saved in state["judged"]
        }

    def _find(self, explanation: Explanation) -> _Judged | None:
        """Return what was judged of a probe, where only a mask may differ by now."""
        last = self._judged.get(explanation.key)
        if (
            last is None
            or last.label_name != explanation.prediction_name
            or last.attended.shape != explanation.mask.shape
            or last.picture != _digest(explanation.pixels)
        ):
            return None
        return last


def plan(
    scores: Sequence[float],
    ious: Sequence[float],
    watched: Sequence[bool],
    *,
    share: float,
    probes: int,
    threshold: float,
    watched_share: float,
) -> list[float]:
    """Return the inclusion probabilities of the probes whose last verdict could stand.

    The others are certain, and are paid first; at least `FEW` of these are asked in expectation.
    Probabilities grow with the root of the chance of a change, which is what makes an estimate of
    a given size as narrow as it may be.

    Args:
        scores: Of the last verdicts, in [0, 5].
        ious: Agreement of each mask with the one that was judged, in [0, 1].
        watched: Whether each is of a watched class, which have a floor of their own.
        share: Of all probes that is to be judged, in (0, 1].
        probes: Of the round that are judged or stand.
        threshold: High from this score on.
        watched_share: The floor of the watched classes, in (0, 1].
    """
    certain = probes - len(scores)
    total = probes if share >= 1 else max(share * probes - certain, FEW)
    chances = change_chances(scores, ious, threshold)
    floors = [max(FLOOR, watched_share) if is_watched else FLOOR for is_watched in watched]
    return inclusion_probabilities([math.sqrt(p) for p in chances], total, floors)


def next_share(
    share: float,
    base: float,
    chances: Sequence[Chance],
    verdicts: Sequence[Verdict],
    threshold: float,
) -> float:
    """Return the share of the next round: doubled after a change, half-way back without.

    Verdicts changed more than a few where the lower end of what is estimated of the share of them
    that changed sides (one-sided, 90 %) is above `MANY`.

    Args:
        share: Of the round.
        base: What was asked for.
        chances: Of the round.
        verdicts: That it came to, beside them.
        threshold: High from this score on.
    """
    weights, changed = [], []
    for chance, verdict in zip(chances, verdicts, strict=True):
        kept = None if chance.kept is None else chance.kept.score
        if chance.is_asked and kept is not None and verdict.score is not None:
            weights.append(1 / chance.inclusion)
            changed.append((kept >= threshold) != (verdict.score >= threshold))
    if weights:
        total = math.fsum(weights)
        rate = math.fsum(w for w, has in zip(weights, changed, strict=True) if has) / total
        effective = max(1.0, total**2 / math.fsum(w * w for w in weights))
        if wilson_interval(min(rate, 1.0) * effective, effective, z=SURE_Z).lower > MANY:
            return min(1.0, 2 * share)
    back = (share + base) / 2
    return base if back - base < 0.02 else back


def _to_state(verdict: Verdict) -> dict[str, Any]:
    """Return what is kept of a verdict, in plain values."""
    return {
        "score": verdict.score,
        "evaluation": verdict.evaluation,
        "justification": verdict.justification,
        "asked": verdict.asked,
        "attends_to": verdict.attends_to,
    }


def _from_state(state: Mapping[str, Any]) -> Verdict:
    """Return a kept verdict, marked as reused and free of cost."""
    return replace(Verdict.scored(state["score"]), **state, is_reused=True, usage=Usage())


def _digest(pixels: Tensor) -> str:
    array: np.ndarray[Any, np.dtype[np.float32]] = np.ascontiguousarray(pixels.detach().numpy())
    return hashlib.blake2b(array.data, digest_size=16).hexdigest()

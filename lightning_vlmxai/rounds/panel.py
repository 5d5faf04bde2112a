"""Which probes of a round are judged: those that may have changed, and a sample of the rest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..explain import mask_iou
from ..records import Explanation, Usage, Verdict
from .drawing import draw_systematic, expect, plan
from .quadrants import wilson_interval

REMEMBERED = 4
"""Verdicts of a probe that are remembered: of its last masks under the same prediction."""
MANY = 0.1
"""Share of verdicts on the other side than expected, beyond which more are asked."""
SURE_Z = 1.2815515655446004
"""Normal quantile of the bound that has to be beyond it: one-sided, 90 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What was drawn for a probe of a round.

    Args:
        inclusion: Probability that it is judged, in (0, 1].
        is_asked: Whether it is.
        expected: Score that its past verdicts make one expect, in [0, 5]; None where it has none
            for this prediction.
        kept: The one of these whose mask is nearest, marked as reused: it stands if none is asked.
    """

    inclusion: float = 1.0
    is_asked: bool = True
    expected: float | None = None
    kept: Verdict | None = None

    @property
    def known(self) -> Verdict | None:
        """The verdict that stands; None where one is asked for."""
        return None if self.is_asked else self.kept

    def to_state(self) -> dict[str, Any]:
        """Return it in plain values."""
        kept = self.kept and _to_state(self.kept)
        return {
            "inclusion": self.inclusion,
            "is_asked": self.is_asked,
            "expected": self.expected,
            "kept": kept,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Chance:
        """Return what `to_state` told."""
        return cls(**{**state, "kept": state["kept"] and _from_state(state["kept"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    picture: str
    label_name: str
    attended: Tensor
    verdict: Verdict


class Panel:
    """Draws who is judged in each round, and remembers the last verdicts that were asked for.

    It is told of closed rounds alone: what it draws does not depend on how fast a judge is. Masks
    are compared with those that were judged. Drawing takes no number from anyone's generator.

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
        self._judged: dict[int | tuple[int, int], tuple[_Judged, ...]] = {}

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
        places, found = [], []
        for place, explanation in enumerate(explanations):
            past = self._find(explanation)
            if past:
                ious = [float(mask_iou(one.attended, explanation.mask)) for one in past]
                scores = [one.verdict.score or 0.0 for one in past]
                nearest = len(past) - 1 - ious[::-1].index(max(ious))
                places.append(place)
                found.append((expect(scores, ious), _from_state(_to_state(past[nearest].verdict))))
        inclusion = plan(
            [expected.chance_of_change(self._threshold) for expected, _ in found],
            [explanations[place].label_name in self._watch_classes for place in places],
            share=self.share,
            probes=len(explanations),
            watched_share=self._base,
        )
        drawn = draw_systematic(inclusion, np.random.default_rng([self._seed, max(number, 0)]))
        chances = [Chance() for _ in explanations]
        for place, (expected, kept), p, is_in in zip(places, found, inclusion, drawn, strict=True):
            chances[place] = Chance(inclusion=p, is_asked=is_in, expected=expected.score, kept=kept)
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
            past = self._judged.pop(explanation.key, ())
            if verdict.score is not None:
                now = _Judged(
                    picture=_digest(explanation.pixels),
                    label_name=explanation.prediction_name,
                    attended=explanation.mask >= 0.5,
                    verdict=verdict,
                )
                same = [one for one in past if _is_same(one, now)]
                self._judged[explanation.key] = (*same, now)[-REMEMBERED:]
        verdicts = [verdict for _, verdict in judged]
        self.share = next_share(self.share, self._base, chances, verdicts, self._threshold)

    def state_dict(self) -> dict[str, Any]:
        """Return all of it in plain values and tensors."""
        return {
            "share": self.share,
            "judged": [
                {
                    "key": key,
                    "picture": one.picture,
                    "label_name": one.label_name,
                    "attended": _pack(one.attended),
                    "shape": tuple(one.attended.shape),
                    "verdict": _to_state(one.verdict),
                }
                for key, past in self._judged.items()
                for one in past
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what was saved; the share is at least what is asked for now."""
        self.share = max(self._base, state["share"]) if self.rotates else 1.0
        self._judged = {}
        for saved in state["judged"]:
            one = _Judged(
                picture=saved["picture"],
                label_name=saved["label_name"],
                attended=_unpack(saved["attended"], saved["shape"]),
                verdict=_from_state(saved["verdict"]),
            )
            self._judged[saved["key"]] = (*self._judged.get(saved["key"], ()), one)

    def _find(self, explanation: Explanation) -> tuple[_Judged, ...]:
        """Return what was judged of a probe, where only the mask may differ by now."""
        past = self._judged.get(explanation.key, ())
        if past and (
            past[-1].label_name != explanation.prediction_name
            or past[-1].attended.shape != explanation.mask.shape
            or past[-1].picture != _digest(explanation.pixels)
        ):
            return ()
        return past


def next_share(
    share: float,
    base: float,
    chances: Sequence[Chance],
    verdicts: Sequence[Verdict],
    threshold: float,
) -> float:
    """Return the share of the next round: doubled after a change, half-way back without.

    Verdicts changed more than a few where the lower end of what is estimated of the share of them
    that are on the other side than expected (one-sided, 90 %) is above `MANY`.

    Args:
        share: Of the round.
        base: What was asked for.
        chances: Of the round.
        verdicts: That it came to, beside them.
        threshold: High from this score on.
    """
    told = [
        (1 / chance.inclusion, (chance.expected >= threshold) != (verdict.score >= threshold))
        for chance, verdict in zip(chances, verdicts, strict=True)
        if chance.is_asked and chance.expected is not None and verdict.score is not None
    ]
    if told:
        total = math.fsum(w for w, _ in told)
        rate = math.fsum(w for w, has_changed in told if has_changed) / total
        effective = max(1.0, total**2 / math.fsum(w * w for w, _ in told))
        if wilson_interval(min(rate, 1.0) * effective, effective, z=SURE_Z).lower > MANY:
            return min(1.0, 2 * share)
    back = (share + base) / 2
    return base if back - base < 0.02 else back


def _is_same(one: _Judged, other: _Judged) -> bool:
    """Return whether two were asked the same question but for the mask."""
    return (one.picture, one.label_name, one.attended.shape) == (
        other.picture,
        other.label_name,
        other.attended.shape,
    )


def _pack(mask: Tensor) -> Tensor:
    """Return a mask as bits, uint8: there are several of each probe in a checkpoint."""
    return torch.from_numpy(np.packbits(mask.numpy()))


def _unpack(bits: Tensor, shape: Sequence[int]) -> Tensor:
    flat = np.unpackbits(bits.numpy(), count=math.prod(shape))
    return torch.from_numpy(flat.astype(bool)).reshape(*shape)


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

"""Verdicts that still hold: the same picture, the same prediction, hardly another mask."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from ..explain import mask_iou
from ..records import JudgeRequest, Usage, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    label_name: str
    attended: Tensor
    verdict: Verdict


class VerdictReuse:
    """Keeps the last verdict that was really asked for of each picture.

    It is told of closed rounds alone: what it decides does not depend on how fast a judge is. A
    mask is compared with the one that was judged, not with the one whose verdict was last
    reused: small steps can't carry a verdict far away from what it was given for.

    Args:
        min_iou: Agreement of the masks, in [0, 1], from which a verdict still holds; None if none
            does.
    """

    def __init__(self, min_iou: float | None) -> None:
        self._min_iou = min_iou
        self._judged: dict[str, _Judged] = {}

    def find(self, request: JudgeRequest) -> Verdict | None:
        """Return the verdict that still holds for a request, marked as reused, or None."""
        if self._min_iou is None:
            return None
        last = self._judged.get(_digest(request.pixels))
        if last is None or last.label_name != request.label_name:
            return None
        if last.attended.shape != request.mask.shape:
            return None
        if float(mask_iou(last.attended, request.mask)) < self._min_iou:
            return None
        return from_state(to_state(last.verdict))

    def remember(self, request: JudgeRequest, verdict: Verdict) -> None:
        """Keep a scored verdict for later rounds, unless it is itself a reused one."""
        if self._min_iou is not None and verdict.score is not None and not verdict.is_reused:
            self._judged[_digest(request.pixels)] = _Judged(
                label_name=request.label_name, attended=request.mask >= 0.5, verdict=verdict
            )

    def state_dict(self) -> list[dict[str, Any]]:
        """Return all of it in plain values and tensors."""
        return [
            {
                "picture": picture,
                "label_name": judged.label_name,
                "attended": judged.attended,
                "verdict": to_state(judged.verdict),
            }
            for picture, judged in self._judged.items()
        ]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Remember what was saved."""
        self._judged = {
            saved["picture"]: _Judged(
                label_name=saved["label_name"],
                attended=saved["attended"],
                verdict=from_state(saved["verdict"]),
            )
            for saved in state
        }


def to_state(verdict: Verdict) -> dict[str, Any]:
    """Return what is kept of a verdict, in plain values."""
    return {
        "score": verdict.score,
        "evaluation": verdict.evaluation,
        "justification": verdict.justification,
        "asked": verdict.asked,
        "attends_to": verdict.attends_to,
    }


def from_state(state: Mapping[str, Any]) -> Verdict:
    """Return a kept verdict, marked as reused and free of cost."""
    return replace(Verdict.scored(state["score"]), **state, is_reused=True, usage=Usage())


def _digest(pixels: Tensor) -> str:
    array: np.ndarray[Any, np.dtype[np.float32]] = np.ascontiguousarray(pixels.detach().numpy())
    return hashlib.blake2b(array.data, digest_size=16).hexdigest()

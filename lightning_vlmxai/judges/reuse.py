"""Verdicts that still hold: the same picture, the same prediction, hardly another mask."""

from __future__ import annotations

import hashlib
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

    A mask is compared with the one that was judged, not with the one whose verdict was last
    reused: small steps can't carry a verdict far away from what it was given for.

    Args:
        min_iou: Agreement of the masks, in [0, 1], from which a verdict still holds.
    """

    def __init__(self, min_iou: float) -> None:
        self._min_iou = min_iou
        self._judged: dict[bytes, _Judged] = {}

    def find(self, request: JudgeRequest) -> Verdict | None:
        """Return the verdict that still holds for a request, marked as reused, or None."""
        last = self._judged.get(_digest(request.pixels))
        if last is None or last.label_name != request.label_name:
            return None
        if last.attended.shape != request.mask.shape:
            return None
        if float(mask_iou(last.attended, request.mask)) < self._min_iou:
            return None
        return replace(last.verdict, is_reused=True, usage=Usage(), latency_s=0.0)

    def remember(self, request: JudgeRequest, verdict: Verdict) -> None:
        """Keep a scored verdict for later rounds."""
        if verdict.score is not None:
            self._judged[_digest(request.pixels)] = _Judged(
                label_name=request.label_name, attended=request.mask >= 0.5, verdict=verdict
            )


def _digest(pixels: Tensor) -> bytes:
    array: np.ndarray[Any, np.dtype[np.float32]] = np.ascontiguousarray(pixels.detach().numpy())
    return hashlib.blake2b(array.data, digest_size=16).digest()

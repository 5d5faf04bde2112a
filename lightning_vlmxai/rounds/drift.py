"""How far each probe is from its last round: where the model looks, and what that scored."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..explain import mask_iou
from ..records import Explanation


class Centre(NamedTuple):
    """A place in a picture, in pixels from its upper left corner."""

    y: float
    x: float


class Shift(NamedTuple):
    """How far a mask is from the probe's last one; see `Sample` for both."""

    attention_drift: float
    centre_shift: float | None


Key = int | tuple[int, int]
"""`Explanation.key`."""


class DriftMemory:
    """What is remembered of each probe: its last mask that was not blank, and its last score."""

    def __init__(self) -> None:
        self._attended: dict[Key, Tensor] = {}
        self._centres: dict[Key, Centre | None] = {}
        self._scores: dict[Key, float] = {}

    def look(self, explanation: Explanation) -> Shift | None:
        """Return how far a mask is from the probe's last one, and remember it instead.

        A blank map is passed over: there is no place that the model looks at.
        """
        if explanation.is_blank:
            return None
        key, mask = explanation.key, explanation.mask
        last, last_centre = self._attended.get(key), self._centres.get(key)
        self._attended[key] = mask >= 0.5
        self._centres[key] = centre = find_centre(mask)
        if last is None:
            return None
        shift = None
        if last_centre is not None and centre is not None:
            distance = math.hypot(centre.y - last_centre.y, centre.x - last_centre.x)
            shift = distance / math.hypot(*mask.shape)
        return Shift(1 - float(mask_iou(mask, last)), shift)

    def rescore(self, key: Key, score: float | None) -> float | None:
        """Return how far a score is from the probe's last one, and remember it instead."""
        if score is None:
            return None
        last = self._scores.get(key)
        self._scores[key] = score
        return None if last is None else abs(score - last)

    def state_dict(self) -> dict[str, Any]:
        """Return all of it in plain values and tensors."""
        centres = {index: centre and tuple(centre) for index, centre in self._centres.items()}
        return {
            "attended": dict(self._attended),
            "centres": centres,
            "scores": dict(self._scores),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember what was saved."""
        self._attended = dict(state["attended"])
        self._centres = {i: centre and Centre(*centre) for i, centre in state["centres"].items()}
        self._scores = dict(state["scores"])


def find_centre(mask: Tensor) -> Centre | None:
    """Return the centre of mass of a mask `[H, W]` in [0, 1]; None if all of it is 0.

    Example:
        >>> find_centre(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
        Centre(y=0.5, x=2.0)
    """
    weights = mask.double()
    total = float(weights.sum())
    if total == 0:
        return None
    rows, columns = (torch.arange(size, dtype=torch.float64) for size in mask.shape)
    return Centre(
        float(weights.sum(dim=1) @ rows) / total, float(weights.sum(dim=0) @ columns) / total
    )

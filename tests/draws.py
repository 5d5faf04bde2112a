"""Every sample that a systematic draw can give, with its exact probability."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_vlmxai.rounds.drawing import draw_systematic


class Fixed:
    """A generator whose permutation and number are given."""

    def __init__(self, order: Sequence[int], number: float) -> None:
        self.order, self.number = order, number

    def permutation(self, count: int) -> np.ndarray:
        assert count == len(self.order)
        return np.array(self.order)

    def random(self) -> float:
        return self.number


def every_draw(inclusion: Sequence[float]) -> list[tuple[float, tuple[bool, ...]]]:
    """Return every sample that can be drawn with its exact probability, order by order."""
    found = []
    orders = list(itertools.permutations(range(len(inclusion))))
    for order in orders:
        corners = {0.0, 1.0}
        for end in itertools.accumulate(inclusion[i] for i in order):
            corners.add((1 - end) % 1)
        places = sorted(corners)
        for low, high in itertools.pairwise(places):
            if high - low > 1e-12:
                generator: Any = Fixed(order, (low + high) / 2)
                drawn = tuple(draw_systematic(inclusion, generator))
                found.append(((high - low) / len(orders), drawn))
    assert math.isclose(math.fsum(p for p, _ in found), 1)
    return found

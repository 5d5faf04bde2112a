"""Sums of prices, some of which nobody knows."""

from __future__ import annotations

import math
from collections.abc import Iterable


def add_known(costs: Iterable[float | None]) -> float | None:
    """Return the sum of the known prices; None where some are unknown and no other costs anything.

    Example:
        >>> add_known([0.0, None]), add_known([0.5, None]), add_known([])
        (None, 0.5, 0.0)
    """
    told = list(costs)
    total = math.fsum(cost for cost in told if cost is not None)
    return None if None in told and not total else total

"""Plain values out of JSON, whatever stands there."""

from __future__ import annotations

import math
from collections.abc import Mapping


def text(value: object) -> str:
    """Return a value as text; None is empty."""
    return "" if value is None else value if isinstance(value, str) else str(value)


def number(value: object) -> float | None:
    """Return a finite number, or None.

    Example:
        >>> number(3), number(True), number("3"), number(float("nan"))
        (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def whole(value: object) -> int | None:
    """Return a number without what is behind its point, or None.

    Example:
        >>> whole(2.9), whole(2**53 + 1) - 2**53, whole("3")
        (2, 1, None)
    """
    found = number(value)
    if found is None:
        return None
    return value if isinstance(value, int) else int(found)


def measures(line: Mapping[str, object]) -> dict[str, float]:
    """Return what a line of `samples.jsonl` measured beside the judge, as "reference/iou"."""
    told = {kind: line.get(kind) for kind in ("reference", "faithfulness")}
    return {
        f"{kind}/{name}": value
        for kind, of in told.items()
        if isinstance(of, dict)
        for name in of
        if (value := number(of[name])) is not None
    }

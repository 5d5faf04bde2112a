"""What is done where memory does not suffice."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from ..calls import Call
from ..errors import AttributionError, expected

T = TypeVar("T")


def halve(size: int, error: RuntimeError) -> int:
    """Return half the batch size after an out-of-memory error; raise any other.

    Raises:
        AttributionError: If one sample alone was too much.
    """
    # The CPU's allocator has no exception of its own.
    if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
        raise error
    if size == 1:
        raise AttributionError(
            expected(
                "memory",
                "enough to explain one probe",
                error,
                "Free some, or pass `perturbation=Perturbation(batch_size=1)` if the method asks "
                "for many forwards",
            )
        ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    warnings.warn(
        f"vlmxai: out of memory while explaining {size} probes at a time; going on with "
        f"{size // 2}. Nothing is left out.",
        stacklevel=2,
    )
    return size // 2


def in_batches(
    calls: Sequence[Call], run: Callable[[list[int]], Iterable[T]], size: int
) -> list[T]:
    """Return what is made of each call, those of one shape in batches together.

    Args:
        calls: To be joined.
        run: From places of calls that can be joined to what is made of each.
        size: How many at a time; half where memory does not suffice.
    """
    of_shape: defaultdict[str, list[int]] = defaultdict(list)
    for place, call in enumerate(calls):
        of_shape[str(call.shapes)].append(place)
    found: dict[int, T] = {}
    for places in of_shape.values():
        start = 0
        while start < len(places):
            batch = places[start : start + size]
            try:
                made = run(batch)
            except RuntimeError as error:
                size = halve(len(batch), error)
                continue
            found.update(zip(batch, made, strict=True))
            start += len(batch)
    return [found[place] for place in range(len(calls))]

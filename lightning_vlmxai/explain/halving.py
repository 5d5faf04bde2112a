"""What is done where memory does not suffice."""

from __future__ import annotations

import warnings

import torch

from ..errors import AttributionError, expected


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

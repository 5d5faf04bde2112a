"""What a data set tells about itself: labels, the order of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, SequentialSampler


def find_labels(dataset: Any) -> list[int] | None:
    """Return the label of every sample from `targets` or `labels`, or None; reads no sample."""
    if isinstance(dataset, torch.utils.data.Subset):
        labels = find_labels(dataset.dataset)
        return None if labels is None else [labels[i] for i in dataset.indices]
    if isinstance(dataset, torch.utils.data.ConcatDataset):
        parts = [find_labels(part) for part in dataset.datasets]
        return (
            None
            if any(part is None for part in parts)
            else [label for part in parts if part is not None for label in part]
        )
    for name in ("targets", "labels"):
        values = getattr(dataset, name, None)
        if isinstance(values, (Sequence, np.ndarray, Tensor)) and len(values) == len(dataset):
            array = np.asarray(values)
            if array.ndim == 1 and array.dtype.kind in "iub":
                return [int(value) for value in array]
    return None


def index_of_position(
    sampler: Any, *, rank: int = 0, ranks: int = 1
) -> Callable[[int], int] | None:
    """Return how a row's index follows from its place in the loader's order, if it can be said.

    Known are torch's `SequentialSampler`, and samplers that deal indices out to the ranks in order:
    torch's `DistributedSampler` without shuffling, and Lightning's like it.

    Args:
        sampler: Of the loader; None for a stream.
        rank: Of this process.
        ranks: Number of processes.
    """
    if type(sampler) is SequentialSampler:
        return lambda position: position
    if isinstance(sampler, DistributedSampler) and not sampler.shuffle:
        count = len(sampler.dataset)  # type: ignore[arg-type]
        # Lightning's wrapper deals out places in another sampler's order.
        if type(sampler).__name__ == "DistributedSamplerWrapper":
            return None
        return lambda position: (rank + position * ranks) % count
    return None

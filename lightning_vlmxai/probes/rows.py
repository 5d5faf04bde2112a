"""Rows of a batch: which of its tensors they are made of, copies of them, what they count as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..calls import plain


def same_tensor(batch: Any, image: Tensor | None, size: int) -> Tensor | None:
    """Return the batch's tensor whose first row an image is."""
    if image is None:
        return None
    stack = [batch]
    while stack:
        part = stack.pop()
        if isinstance(part, Tensor):
            if (
                part.ndim == image.ndim + 1
                and len(part) == size
                and (part.data_ptr() == image.data_ptr())
            ):
                return part
        elif isinstance(part, Mapping):
            stack += part.values()
        elif isinstance(part, (list, tuple)):
            stack += part
    return None


def copy_row(sample: Any, copies: Mapping[Any, Tensor]) -> Any:
    """Return a row copied to the CPU, so that it holds no batch.

    Args:
        sample: The row.
        copies: Of tensors, by their place in memory, that need not be copied again.
    """
    if isinstance(sample, Tensor):
        with torch.inference_mode(False), torch.no_grad():
            copy = copies.get(place_of(sample))
            return plain(sample).clone().cpu() if copy is None else copy
    if isinstance(sample, dict):
        return {key: copy_row(value, copies) for key, value in sample.items()}
    if isinstance(sample, list):
        return [copy_row(part, copies) for part in sample]
    return sample


def place_of(tensor: Tensor) -> Any:
    """Return where in memory a tensor lies, and how."""
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device


def stratum_of(target: Any) -> int:
    """Return a label to stratify by: the class, or for a map of classes its most frequent one."""
    array = target.detach().cpu().numpy() if isinstance(target, Tensor) else np.asarray(target)
    if array.size == 1:
        return int(array.reshape(()))
    # A grid of pixels will do to tell the most frequent class.
    values, counts = np.unique(array.ravel()[:: 1 + array.size // 4096], return_counts=True)
    return int(values[counts.argmax()])

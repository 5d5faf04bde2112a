"""What a data set's sample or a row of a loader's batch holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import ProbeError, expected

IMAGES = ("image", "pixel_values", "img", "input", "inputs", "x")
LABELS = ("label", "labels", "target", "targets", "y", "class")
MASKS = ("reference_mask", "mask", "masks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One sample of a data set, or one row of a batch, taken apart.

    Args:
        image: The picture, `[C, H, W]`; None if the row holds none.
        target: Ground truth, anything that `torch.as_tensor` takes.
        reference_mask: Where the object is, `[H, W]` or `[1, H, W]`, non-zero on it; or None.
    """

    image: Tensor | None
    target: Any
    reference_mask: Any = None


def unpack_item(sample: Any, *, dense: bool = False) -> Item:
    """Return a sample or row taken apart, for the common shapes of one.

    Args:
        sample: `(image, target)`, `(image, target, reference_mask)`, where what follows and is
            no mask (a name, an id) is passed over; or a mapping, dataclass or named tuple with
            fields that are customary: `image`, `pixel_values`, `img`, `input` or `x`; `label`,
            `target`, `y` or `class`; `reference_mask` or `mask`.
        dense: The task has one label a pixel: `mask` is the target, unless the label is a map.

    Raises:
        ProbeError: For anything else.

    Example:
        >>> import torch
        >>> unpack_item((torch.zeros(3, 4, 4), 7, "cat_7.jpg")).target
        7
    """
    fields = _fields_of(sample)
    if fields is not None:

        def first(*keys: str) -> Any:
            return next((fields[key] for key in keys if key in fields), None)

        image, target, mask = first(*IMAGES), first(*LABELS), first(*MASKS)
        if dense and not _is_mask(target):
            target, mask = first("mask", "masks"), fields.get("reference_mask")
    elif isinstance(sample, Sequence) and not isinstance(sample, str) and len(sample) >= 2:
        image, target = sample[:2]
        mask = next((part for part in sample[2:] if _is_mask(part)), None)
    else:
        image = target = mask = None
    is_image = isinstance(image, Tensor) and image.ndim >= 2
    if target is None or not (is_image or (image is None and fields is not None)):
        keys = sorted(map(str, fields)) if fields is not None else []
        line = f'Item(image=row["{keys[0]}"], target=row["{keys[-1]}"])' if keys else "Item(...)"
        raise ProbeError(
            expected(
                "data set sample",
                "(image, label) or (image, label, reference_mask) with a tensor image [C, H, W]",
                _describe(sample),
                "Convert pictures in the data set's transform, or pass `unpack`, a function from "
                f"your sample to lightning_vlmxai.Item, such as `unpack=lambda row: {line}`",
            )
        )
    return Item(image=image, target=target, reference_mask=mask)


unpack_dense = partial(unpack_item, dense=True)


def batch_size(batch: Any) -> int | None:
    """Return how many samples a batch has: the length of its first tensor; None without one.

    Example:
        >>> import torch
        >>> batch_size({"name": ["a", "b"], "image": torch.zeros(2, 3, 4, 4)})
        2
    """
    tensors = [leaf for leaf in _leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim > 0]
    return len(tensors[0]) if tensors else None


def take_row(batch: Any, row: int, size: int) -> Any:
    """Return one sample of a collated batch: what the usual collating made, undone.

    Tensors as long as the batch are indexed, and so are lists of as many texts or numbers;
    mappings, tuples, lists and dataclasses keep their fields; the rest stays as it is.

    Args:
        batch: Of `size` samples.
        row: Which one.
        size: How many there are.

    Example:
        >>> import torch
        >>> take_row([torch.zeros(2, 3), torch.tensor([5, 6]), ("a", "b")], 1, 2)[1:]
        [tensor(6), 'b']
    """
    if isinstance(batch, Tensor):
        return batch[row] if batch.ndim > 0 and len(batch) == size else batch
    fields = _fields_of(batch)
    if fields is not None:
        return {key: take_row(value, row, size) for key, value in fields.items()}
    if isinstance(batch, (list, tuple)):
        if len(batch) == size and not any(isinstance(part, Tensor) for part in batch):
            return batch[row]
        return [take_row(part, row, size) for part in batch]
    return batch


def _fields_of(sample: Any) -> Mapping[Any, Any] | None:
    if isinstance(sample, Mapping):
        return sample
    if isinstance(sample, tuple) and hasattr(sample, "_asdict"):
        found: Mapping[Any, Any] = sample._asdict()
        return found
    if dataclasses.is_dataclass(sample) and not isinstance(sample, type):
        return {f.name: getattr(sample, f.name) for f in dataclasses.fields(sample)}
    # Hugging Face's BatchEncoding and the like: a mapping in all but its class.
    data = getattr(sample, "data", None)
    return data if isinstance(data, Mapping) else None


def _leaves(batch: Any) -> list[Any]:
    fields = _fields_of(batch)
    if fields is not None:
        return [leaf for value in fields.values() for leaf in _leaves(value)]
    if isinstance(batch, (list, tuple)):
        return [leaf for part in batch for leaf in _leaves(part)]
    return [batch]


def _is_mask(part: Any) -> bool:
    if isinstance(part, (str, bytes, Mapping)) or part is None:
        return False
    try:
        return np.asarray(part).ndim >= 2
    except (TypeError, ValueError):
        return False


def _describe(sample: Any) -> str:
    if isinstance(sample, Mapping):
        return f"a mapping with the keys {sorted(map(str, sample))}"
    if isinstance(sample, Sequence) and not isinstance(sample, str):
        return "(" + ", ".join(_describe(part) for part in sample) + ")"
    if isinstance(sample, Tensor):
        return f"tensor {list(sample.shape)}"
    return type(sample).__name__

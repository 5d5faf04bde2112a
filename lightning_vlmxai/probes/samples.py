"""What a data set's sample or a loader's batch holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import ProbeError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One sample of a data set, taken apart.

    Args:
        image: What the model is given, `[C, H, W]`.
        target: Ground truth, anything that `torch.as_tensor` takes.
        reference_mask: Where the object is, `[H, W]` or `[1, H, W]`, non-zero on it; or None.
    """

    image: Tensor
    target: Any
    reference_mask: Any = None


def unpack_item(sample: Any) -> Item:
    """Return a data set's sample taken apart, for the common shapes of one.

    Args:
        sample: `(image, target)`, `(image, target, reference_mask)`, or a mapping with the keys
            `image` or `pixel_values`, `label` or `labels` or `target`, and perhaps
            `reference_mask` or `mask`.

    Raises:
        ProbeError: For anything else.
    """
    if isinstance(sample, Mapping):

        def first(*keys: str) -> Any:
            return next((sample[key] for key in keys if key in sample), None)

        image, target = first("image", "pixel_values"), first("label", "labels", "target")
        reference_mask = first("reference_mask", "mask")
    elif isinstance(sample, Sequence) and not isinstance(sample, str) and len(sample) in (2, 3):
        image, target, reference_mask = (*sample, None)[:3]
    else:
        image = target = reference_mask = None
    if not isinstance(image, Tensor) or image.ndim != 3 or target is None:
        raise ProbeError(
            expected(
                "data set sample",
                "(image, label) or (image, label, reference_mask) with a tensor image [C, H, W]",
                _describe(sample),
                "Convert pictures in the data set's transform, or pass `unpack`, a function from "
                "your sample to lightning_vlmxai.Item",
            )
        )
    return Item(image=image, target=target, reference_mask=reference_mask)


def split_batch(batch: Any) -> list[Any]:
    """Return the samples of a collated batch, for a data set that can't be read by index.

    Args:
        batch: A tuple or list of equally long tensors, such as `(images, labels)`.

    Raises:
        ProbeError: For anything else.

    Example:
        >>> import torch
        >>> batch = torch.zeros(2, 3, 4, 4), torch.tensor([5, 6])
        >>> [int(label) for _, label in split_batch(batch)]
        [5, 6]
    """
    if not isinstance(batch, (list, tuple)) or not all(isinstance(p, Tensor) for p in batch):
        raise ProbeError(
            expected(
                "batch of an iterable data set",
                "(images, labels) or (images, labels, reference_masks)",
                _describe(batch),
                "Collate to a tuple of tensors, or use a map-style validation data set",
            )
        )
    return list(zip(*batch, strict=True))


def _describe(sample: Any) -> str:
    if isinstance(sample, Mapping):
        return f"a mapping with the keys {sorted(map(str, sample))}"
    if isinstance(sample, Sequence) and not isinstance(sample, str):
        return "(" + ", ".join(_describe(part) for part in sample) + ")"
    if isinstance(sample, Tensor):
        return f"tensor {list(sample.shape)}"
    return type(sample).__name__

"""A user's samples, as what controls are made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigurationError, ProbeError, VLMExplainError, expected
from ..probes import (
    Item,
    choose_names,
    find_names,
    mask_values,
    read_picture,
    understand,
    unpack_item,
)
from .controls import Subject

_LABELS = ("label", "target", "labels", "targets", "y", "class")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    index: int
    item: Item
    name: str | None


def read_subjects(data: Any, count: int, *, seed: int = 0) -> tuple[list[Subject], tuple[str, ...]]:
    """Return what controls can be made of in a data set, and the names of its classes.

    Args:
        data: A data set or an iterable of `(picture, label)` or `(picture, label, reference_mask)`,
            or of mappings with customary keys. Pictures are as on disk: uint8, PIL, or floats in
            [0, 1]. Labels are names, or numbers with the data set's `classes`.
        count: How many samples are read at most: drawn at random where there is a length, else the
            first.
        seed: Of the choice.

    Raises:
        ConfigurationError: If samples, pictures, labels or masks can't be read; the message says
            what to return.
    """
    read = [_read(index, sample) for index, sample in _take(data, count, seed)]
    if not read:
        raise _bad("a data set with samples", "none", "Return one that has some")
    names = _names_of(data, read)
    masks = _masks_of([one.item for one in read])
    subjects = []
    for one, mask in zip(read, masks, strict=True):
        name = one.name if one.name is not None else names[int(one.item.target)]
        pixels = _pixels_of(one)
        if mask is not None and mask.shape != pixels.shape[1:]:
            raise _bad(
                f"with masks of the pictures' size {list(pixels.shape[1:])}",
                f"one of {list(mask.shape)}",
                "Give picture and mask the same geometric transforms",
            )
        subjects.append(
            Subject(index=one.index, pixels=pixels, label_name=name, reference_mask=mask)
        )
    return subjects, names or tuple(dict.fromkeys(s.label_name for s in subjects))


def _bad(rule: str, got: object, remedy: str) -> ConfigurationError:
    return ConfigurationError(expected("data", rule, got, remedy))


def _take(data: Any, count: int, seed: int) -> list[tuple[int, Any]]:
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(data), generator=generator).tolist()[:count]
        return [(index, data[index]) for index in order]
    if isinstance(data, Iterable):
        return list(enumerate(itertools.islice(data, count)))
    raise _bad(
        "a function that returns a data set or an iterable of (picture, label, reference_mask)",
        f"one that returns {type(data).__name__}",
        "Return the validation data set, not its loader",
    )


def _read(index: int, sample: Any) -> _Read:
    """Return a sample taken apart; a label that is a name is kept beside."""
    name: str | None = None
    if isinstance(sample, Mapping):
        key = next((k for k in _LABELS if isinstance(sample.get(k), str)), None)
        if key is not None:
            name, sample = sample[key], {**sample, key: 0}
    elif isinstance(sample, (tuple, list)) and len(sample) > 1 and isinstance(sample[1], str):
        name, sample = sample[1], (sample[0], 0, *sample[2:])
    try:
        item = unpack_item(sample)
    except ProbeError as error:
        told = str(error).partition(" Pass `unpack`")[0]
        raise ConfigurationError(
            f"{told} Return such samples from the function that --data names."
        ) from None
    if item.image is not None and item.image.ndim == 4:
        raise _bad(
            "a data set, of one picture a sample",
            f"batches {list(item.image.shape)}",
            "Return the data set, not its loader",
        )
    return _Read(index=index, item=item, name=name)


def _names_of(data: Any, read: Sequence[_Read]) -> tuple[str, ...]:
    """Return the names of numbered labels; none are needed where labels are names."""
    numbered = {one.index: one.item.target for one in read if one.name is None}
    if not numbered:
        return ()
    try:
        seen = {index: int(torch.as_tensor(target)) for index, target in numbered.items()}
    except (TypeError, ValueError, RuntimeError):
        first = next(iter(numbered.values()))
        raise _bad(
            "with one label each, a name or a number",
            f"a label {list(torch.as_tensor(first).shape)}",
            "Return (picture, name, reference_mask), one object a sample",
        ) from None
    naming = choose_names(find_names(data), seen, None, is_indexed=hasattr(data, "__getitem__"))
    if naming.names is None:
        why = f" ({naming.doubt.partition(';')[0]})" if naming.doubt else ""
        raise _bad(
            "with class names, which a judge is asked about",
            f"labels such as {min(seen.values())} without names{why}",
            'Set them, `data.classes = ["cat", "dog"]`, or return names as labels',
        )
    return naming.names


def _masks_of(items: Sequence[Item]) -> list[Tensor | None]:
    """Return where the objects are, `[H, W]` bool each."""
    given = [item.reference_mask for item in items]
    if all(mask is None for mask in given):
        return [None] * len(items)
    values = mask_values(items)
    try:
        reading = understand(values)
    except VLMExplainError:
        shown = ", ".join(f"{value:g}" for value in sorted(values)[:6])
        raise _bad(
            "with masks whose values are known (bool, 0 and 1, 0 and 255)",
            f"{len(values)} values, {shown}{', ...' if len(values) > 6 else ''}",
            "Return `mask == 1`, say: where the object is",
        ) from None
    return [None if mask is None else reading.read(mask) for mask in given]


def _pixels_of(read: _Read) -> Tensor:
    image = read.item.image
    pixels = None if image is None else read_picture(image)
    if pixels is None:
        got = "no picture"
        if image is not None:
            low, high = float(image.min()), float(image.max())
            got = f"{image.dtype} {list(image.shape)} in [{low:.2f}, {high:.2f}]"
        raise _bad(
            "with pictures as they are on disk, uint8 or in [0, 1], of one or three channels",
            f"{got} for sample {read.index}",
            "Leave Normalize out of the transforms of this data set",
        )
    return pixels

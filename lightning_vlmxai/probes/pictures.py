"""Which picture the judge is shown: one that the network's input was demonstrably made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..errors import ProbeError, expected
from ..explain import isolated_rng
from .datasets import Normalization

_SLACK = 0.01
"""How far outside of [0, 1] a picture may be by rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where a row's picture may come from.

    Args:
        given: What the network was given, `[C, H, W]`.
        row: The picture in the batch's row, `[C, H, W]`; None if there is none.
        read_sample: Reads the data set's own sample, `[C, H, W]`; None if it can't be known.
        normalization: That is known for `given`.
        index: Of the row, for messages.
        access: How the row's picture is reached, for messages.
    """

    given: Tensor
    row: Tensor | None
    read_sample: Callable[[], Tensor | None]
    normalization: Normalization | None
    index: int
    access: str = "row[0]"


def find_picture(sources: Sources) -> Tensor:
    """Return the picture of a row, `[3, H, W]` float32 in [0, 1].

    In this order: the batch's row, if it is a picture; what the network was given, its known
    normalisation undone; the data set's own sample, if it is a picture. A picture counts only if
    the network's input is a linear function of it, channel by channel.

    Raises:
        ProbeError: If there is none; the message says what to pass.
    """
    row = to_picture(sources.row)
    if row is not None and is_made_of(sources.given, row):
        return _in_colour(row)
    if sources.normalization is not None:
        undone = _undo(sources)
        if undone is not None:
            return _in_colour(undone)
    sample = to_picture(sources.read_sample())
    if sample is not None and is_made_of(sources.given, sample):
        return _in_colour(sample)
    low, high = float(sources.given.min()), float(sources.given.max())
    channels = sources.given.shape[0]
    how = "after undoing the Normalize found" if sources.normalization else "and found no Normalize"
    if sources.normalization is not None and channels in (1, 3):
        undone = sources.normalization.undo(sources.given)
        low, high = float(undone.min()), float(undone.max())
    remedy = (
        "Pass `normalization=(mean, std)` as used for the model's input"
        if channels in (1, 3)
        else "Pass `picture=`, a function from a row of the batch to a picture [3, H, W] in "
        f"[0, 1]: three bands stretched, say, `picture=lambda row: (lambda b: (b - b.min()) / "
        f"(b.max() - b.min()))({sources.access}[:3])`"
    )
    raise ProbeError(
        expected(
            "pixels",
            "in [0, 1] once the normalisation is undone",
            f"[{low:.2f}, {high:.2f}] in {channels} channels of sample {sources.index} {how} in "
            "the data set's transforms",
            remedy,
        )
    )


def to_picture(image: Tensor | None) -> Tensor | None:
    """Return an image as float32 in [0, 1] if it is a picture; None if it isn't.

    Args:
        image: `[C, H, W]`; uint8, or floating and within [0, 1], of one or three channels.
    """
    if image is None or image.ndim != 3 or image.shape[0] not in (1, 3):
        return None
    if image.dtype == torch.uint8:
        return image.float() / 255
    if not image.is_floating_point():
        return None
    picture = image.float()
    inside = float(picture.min()) >= -_SLACK and float(picture.max()) <= 1 + _SLACK
    return picture.clamp(0, 1) if inside else None


def is_made_of(given: Tensor, picture: Tensor, *, tolerance: float = 1e-2) -> bool:
    """Return whether an image is, channel by channel, a rising linear function of a picture.

    Args:
        given: `[C, H, W]`.
        picture: `[C, H', W']`; of another size it is not taken for the source, since nobody can
            say whether it was cut or scaled.
        tolerance: Largest residual, as a share of the channel's spread.
    """
    if given.shape != picture.shape:
        return False
    x, y = picture.double().flatten(1), given.double().flatten(1)
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    slope = (x * y).sum(dim=1, keepdim=True) / (x * x).sum(dim=1, keepdim=True).clamp(min=1e-12)
    residual = (y - slope * x).pow(2).mean(dim=1).sqrt()
    spread = y.pow(2).mean(dim=1).sqrt()
    return bool((((residual <= tolerance * spread) & (slope[:, 0] > 0)) | (spread < 1e-6)).all())


def read_user_picture(made: Any, index: int) -> Tensor:
    """Return what a user's `picture` function made, `[3, H, W]` float32 in [0, 1].

    Raises:
        ProbeError: If it is no picture.
    """
    image = made if isinstance(made, Tensor) else torch.from_numpy(np.array(made))
    if image.ndim == 2:
        image = image[None]
    if image.ndim == 3 and image.shape[0] not in (1, 3) and image.shape[-1] in (1, 3):
        image = image.permute(2, 0, 1)
    picture = to_picture(image.detach().cpu())
    if picture is None:
        low, high = float(image.min()), float(image.max())
        raise ProbeError(
            expected(
                "picture",
                "a function to a picture [3, H, W], uint8 or in [0, 1]",
                f"{image.dtype} {list(image.shape)} in [{low:.2f}, {high:.2f}] for row {index}",
                "Divide by the largest value that there can be",
            )
        )
    return _in_colour(picture)


def read_apart(dataset: Any, index: int) -> Any:
    """Return a data set's sample, read in a process of its own; None if that fails.

    So nothing is left behind in the data set: no open file, no counter, no draw.
    """
    try:
        with isolated_rng():
            loader = DataLoader(
                Subset(dataset, [index]), batch_size=None, num_workers=1, collate_fn=_as_it_is
            )
            return next(iter(loader))
    except Exception:
        return None


def resize_map(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps `[B, H, W]` at another size."""
    return F.interpolate(values[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _undo(sources: Sources) -> Tensor | None:
    normalization = sources.normalization
    if normalization is None or sources.given.shape[0] not in (1, 3):
        return None
    if len(normalization.mean) not in (1, sources.given.shape[0]):
        raise ProbeError(
            expected(
                "normalization",
                f"of {sources.given.shape[0]} channels like the image",
                f"{len(normalization.mean)} means",
                "Pass `normalization=(mean, std)` with one entry a channel",
            )
        )
    return to_picture(normalization.undo(sources.given))


def _in_colour(picture: Tensor) -> Tensor:
    return picture.expand(3, -1, -1).contiguous()


def _as_it_is(sample: Any) -> Any:
    return sample

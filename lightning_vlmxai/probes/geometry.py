"""How a picture came to the size of the network's input: found out, by trying the usual ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from .evidence import residual_of

_TOLERANCE = 0.03
"""Largest residual of a resized picture: libraries round their kernels a little differently."""

_EVAL_CROPS = (0.875, 224 / 232, 0.95, 0.9)
"""Side of the crop to the side before it, in usual evaluation transforms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a picture is brought to the input's size.

    Args:
        name: In words; empty if nothing is to be done.
        bring: Does it to `[C, H, W]`; the second argument is whether values must not be mixed.
    """

    name: str
    bring: Callable[[Tensor, bool], Tensor]


def find_way(given: Tensor, picture: Tensor, *, likely: Way | None = None) -> Way | None:
    """Return how a picture became the input but for its values; None if it can't be said.

    Of one size: not at all. Else it is resized, cut in the middle, or both as in the usual
    evaluation, whichever the input is a rising linear function of.

    Args:
        given: `[C, h, w]`.
        picture: `[C, H, W]`, floating.
        likely: That of another row, which is tried first.

    Example:
        >>> import torch
        >>> picture = torch.rand(3, 12, 12)
        >>> way = find_way(picture[:, 2:10, 2:10] * 4 - 2, picture)
        >>> way.name
        'cut in the middle'
    """
    if given.shape[0] != picture.shape[0]:
        return None
    if given.shape == picture.shape:
        return Way(name="", bring=_keep) if residual_of(given, picture) <= 1e-2 else None
    if likely is not None and residual_of(given, likely.bring(picture, False)) <= _TOLERANCE:
        return likely
    size = int(given.shape[1]), int(given.shape[2])
    found = [(residual_of(given, w.bring(picture, False)), w) for w in _ways(picture, size)]
    residual, way = min(found, key=lambda pair: pair[0])
    return way if residual <= _TOLERANCE else None


def _ways(picture: Tensor, size: tuple[int, int]) -> Iterator[Way]:
    height, width = int(picture.shape[1]), int(picture.shape[2])
    if height >= size[0] and width >= size[1]:
        yield Way(name="cut in the middle", bring=partial(_cut, size))
    sides = [round(size[0] / share) for share in _EVAL_CROPS]
    scales = [(side, side / min(height, width)) for side in sides]
    between = {(max(n, int(height * s)), max(n, int(width * s))) for n, s in scales}
    for mode, antialias in (
        ("bilinear", False),
        ("bilinear", True),
        ("bicubic", False),
        ("bicubic", True),
        ("nearest", False),
        ("nearest-exact", False),
        ("area", False),
    ):
        yield Way(name="resized", bring=partial(_resize, size, mode, antialias))
        for before in sorted(between):
            if before[0] >= size[0] and before[1] >= size[1]:
                resize = partial(_resize, before, mode, antialias)
                yield Way(name="resized and cut", bring=partial(_resize_and_cut, resize, size))


def _keep(picture: Tensor, is_mask: bool) -> Tensor:  # noqa: ARG001 - one of several ways
    return picture


def _cut(
    size: tuple[int, int],
    picture: Tensor,
    is_mask: bool,  # noqa: ARG001 - one of several ways
) -> Tensor:
    # As torchvision rounds.
    top, left = (round((n - s) / 2) for n, s in zip(picture.shape[1:], size, strict=True))
    return picture[:, top : top + size[0], left : left + size[1]]


def _resize(
    size: tuple[int, int], mode: str, antialias: bool, picture: Tensor, is_mask: bool
) -> Tensor:
    if is_mask and not mode.startswith("nearest"):
        mode, antialias = "nearest-exact", False
    if mode in ("bilinear", "bicubic"):
        made = F.interpolate(
            picture[None], size, mode=mode, align_corners=False, antialias=antialias
        )
    else:
        made = F.interpolate(picture[None], size, mode=mode)
    return made[0]


def _resize_and_cut(
    resize: Callable[[Tensor, bool], Tensor],
    size: tuple[int, int],
    picture: Tensor,
    is_mask: bool,
) -> Tensor:
    return _cut(size, resize(picture, is_mask), is_mask)

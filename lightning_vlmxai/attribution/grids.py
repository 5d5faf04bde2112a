"""Read a layer's output as a feature map: channels first, channels last, or a row of tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from torch import Tensor

from ..errors import AttributionError, expected

Reshape = Callable[[Tensor], Tensor]
"""From a layer's output to a feature map `[B, C, h, w]`, as pytorch-grad-cam's transforms."""

MAX_PREFIX = 16
"""How many tokens (class, distillation, registers) may stand before those of the patches."""


def fold(features: Tensor, *, picture_size: tuple[int, int]) -> Tensor:
    """Return a layer's output as a feature map, `[B, C, h, w]`.

    Four axes are read channels first, and channels last where only that gives a grid of the
    picture's aspect, up to a cell of rounding; three axes are tokens `[B, N, C]`, of which the
    first few may be no patches (class token, registers).

    Args:
        features: `[B, C, h, w]`, `[B, h, w, C]` or `[B, N, C]`.
        picture_size: Height and width of the model's input.

    Raises:
        AttributionError: If the shape can't be read as a grid.

    Example:
        >>> import torch
        >>> fold(torch.zeros(2, 197, 768), picture_size=(224, 224)).shape
        torch.Size([2, 768, 14, 14])
        >>> fold(torch.zeros(2, 7, 10, 768), picture_size=(224, 320)).shape
        torch.Size([2, 768, 7, 10])
    """
    if features.ndim == 4:
        return (
            features.permute(0, 3, 1, 2) if is_channels_last(features, picture_size) else features
        )
    grid = token_grid(features.shape[1], picture_size) if features.ndim == 3 else None
    if grid is None:
        raise AttributionError(
            expected(
                "target_layer",
                "a layer whose output is a feature map [B, C, h, w], [B, h, w, C] or [B, N, C]",
                f"a tensor {list(features.shape)} for pictures of {list(picture_size)}",
                'Pass `method="occlusion"`, which needs no layer, or `reshape_transform`',
            )
        )
    height, width = grid
    patches = features[:, features.shape[1] - height * width :]
    return patches.transpose(1, 2).reshape(len(features), -1, height, width)


def make_reshape(picture_size: tuple[int, int]) -> Reshape:
    """Return `fold` for pictures of that height and width."""
    return partial(fold, picture_size=picture_size)


def is_channels_last(features: Tensor, picture_size: tuple[int, int]) -> bool:
    """Return whether four axes are `[B, h, w, C]`: only so is the grid like the picture."""
    _, first, second, third = features.shape
    return not is_alike(second, third, picture_size) and is_alike(first, second, picture_size)


@lru_cache(maxsize=64)
def token_grid(count: int, picture_size: tuple[int, int]) -> tuple[int, int] | None:
    """Return height and width of the grid that the last of `count` tokens make, if there is one.

    The fewest prefix tokens win that leave as many as square patches of some size fit into the
    picture, those over the border all counted or none.

    Example:
        >>> token_grid(1 + 4 + 16 * 16, (256, 256))
        (16, 16)
        >>> token_grid(1 + 14 * 19, (225, 310))
        (14, 19)
    """
    height, width = picture_size
    grids = {
        rows * columns: (rows, columns)
        for side in range(1, max(height, width) + 1)
        for rows, columns in (
            (-(-height // side), -(-width // side)),
            (height // side, width // side),
        )
    }
    fitting = (grids[n] for n in range(count, max(count - MAX_PREFIX - 1, 1), -1) if n in grids)
    return next(fitting, None)


def is_alike(rows: int, columns: int, picture_size: tuple[int, int]) -> bool:
    """Return whether cells of such a grid are square, up to a cell of rounding."""
    height, width = picture_size
    return abs(rows * width - columns * height) <= max(height, width)

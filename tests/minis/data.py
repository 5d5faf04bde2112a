"""Noise with coloured cells: one has the colour of a class, the rest have others.

The last class is that no cell has such a colour; without it, a network may tell one of the colours
by the absence of the others, and then no place is the right one.
"""

from __future__ import annotations

import torch
from torch import Tensor

GRID = (4, 6)
CELL = 8
CLASSES = 5
_OTHERS = 23
_OF_CLASSES = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1], [0.8, 0.8, 0.8]])
_OF_OTHERS = torch.tensor([[0.8, 0.8, 0.8], [-0.8, -0.8, -0.8], [-0.8, 0.8, 0.8], [0.8, -0.8, 0.8]])


def draw(count: int, seed: int, *, with_none: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures `[count, 3, 32, 48]`, their classes and the numbers of their cells."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = GRID
    noise = 0.3 * torch.randn(count, 3, rows * CELL, columns * CELL, generator=generator)
    classes = torch.randint(0 if with_none else 1, CLASSES, (count,), generator=generator) - 1
    classes = classes.where(classes >= 0, CLASSES - 1)
    order = torch.rand(count, rows * columns, generator=generator).argsort(dim=1)
    others = torch.randint(len(_OF_OTHERS), (count, _OTHERS), generator=generator)
    colours = torch.zeros(count, rows * columns, 3)
    which = torch.arange(count)
    colours[which[:, None], order[:, 1 : _OTHERS + 1]] = _OF_OTHERS[others]
    colours[which, order[:, 0]] = _OF_CLASSES[classes]
    grid = colours.transpose(1, 2).reshape(count, 3, rows, columns)
    cells = grid.repeat_interleave(CELL, dim=2).repeat_interleave(CELL, dim=3)
    return noise + cells, classes, order[:, 0]

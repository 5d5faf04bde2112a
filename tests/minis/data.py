"""Noise in which one cell has a colour: its class, or the last class where none has."""

from __future__ import annotations

import torch
from torch import Tensor

GRID = (4, 6)
CELL = 8
CLASSES = 5
_COLOURS = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1], [0.0, 0, 0]])


def draw(count: int, seed: int, *, with_none: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures `[count, 3, 32, 48]`, their classes and the numbers of their cells.

    Without the last class, a network may tell one of the colours by the absence of the others,
    and then no place is the right one: so networks are trained with it.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, columns = GRID
    noise = 0.3 * torch.randn(count, 3, rows * CELL, columns * CELL, generator=generator)
    classes = torch.randint(0 if with_none else 1, CLASSES, (count,), generator=generator) - 1
    classes = classes.where(classes >= 0, CLASSES - 1)
    places = torch.rand(count, rows * columns, generator=generator).argsort(dim=1)[:, 0]
    colours = torch.zeros(count, rows * columns, 3)
    colours[torch.arange(count), places] = _COLOURS[classes]
    grid = colours.transpose(1, 2).reshape(count, 3, rows, columns)
    cells = grid.repeat_interleave(CELL, dim=2).repeat_interleave(CELL, dim=3)
    return noise + cells, classes, places

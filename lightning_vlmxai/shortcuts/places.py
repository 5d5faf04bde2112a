"""Where a class's Correct-Low samples look, and others don't."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..judges import name_place

CELLS = 14
"""Cells a side that masks are compared on; saliency maps of CNNs are rarely finer."""
SURE = 0.05


class Box(NamedTuple):
    """A part of a picture, in shares of its height and width, from 0 to 1."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def words(self) -> str:
        """Where its centre lies, as in "top right".

        Example:
            >>> Box(0.0, 0.8, 0.2, 1.0).words, Box(0.4, 0.4, 0.6, 0.6).words
            ('top right', 'centre')
        """
        if (self.bottom - self.top) * (self.right - self.left) > 0.5:
            return "the whole picture"
        return name_place((self.top + self.bottom) / 2, (self.left + self.right) / 2)

    def region(self, height: int, width: int) -> Tensor:
        """Return the pixels inside, `[height, width]` bool; at least one."""
        rows = torch.arange(height)[:, None], self.top, self.bottom, height
        columns = torch.arange(width)[None, :], self.left, self.right, width
        inside = [
            (at >= round(start * size)) & (at < max(round(end * size), round(start * size) + 1))
            for at, start, end, size in (rows, columns)
        ]
        return inside[0] & inside[1]


class Place(NamedTuple):
    """A part of the picture that some samples attend to more than others.

    Args:
        box: Around the cells whose difference is at least half of the largest.
        attended: Mean of the samples' masks in it, in [0, 1].
        others: The same of the others.
        p: Of the permutation test: of how many random divisions the largest difference is as
            large, in (0, 1]. It is corrected for the number of cells.
    """

    box: Box
    attended: float
    others: float
    p: float

    @property
    def stands_out(self) -> bool:
        """Whether p is at most `SURE`."""
        return self.p <= SURE


def find_place(
    masks: Tensor, others: Tensor, *, permutations: int = 999, seed: int = 0
) -> Place | None:
    """Return where masks differ most from others; None without either.

    Args:
        masks: Of a class's Correct-Low samples, `[N, H, W]` in [0, 1] (Eq. 1).
        others: Of samples of other classes and Correct-High ones of it, `[M, H, W]`.
        permutations: Random divisions of all into N and M.
        seed: Of these.

    Example:
        >>> masks = torch.zeros(20, 28, 28)
        >>> masks[:10, :4, 24:] = 1.0
        >>> place = find_place(masks[:10], masks[10:])
        >>> place.box.words, place.stands_out
        ('top right', True)

    Source: the largest difference as the statistic corrects for the cells looked at: Westfall and
        Young, 1993, "Resampling-based multiple testing"; p counts the division that was seen:
        Phipson and Smyth, 2010, "Permutation p-values should never be zero".
    """
    if not len(masks) or not len(others):
        return None
    cells = torch.cat([to_cells(masks), to_cells(others)]).flatten(1).double()
    count, total = len(masks), len(cells)
    generator = torch.Generator().manual_seed(seed)
    division = torch.zeros(permutations + 1, total, dtype=torch.float64)
    division[0, :count] = 1.0
    for row in division[1:]:
        row[torch.randperm(total, generator=generator)[:count]] = 1.0
    inside = division @ cells
    difference = inside / count - (cells.sum(dim=0) - inside) / (total - count)
    largest = difference.amax(dim=1)
    p = float((largest >= largest[0] - 1e-12).double().mean())
    seen = difference[0].view(CELLS, CELLS)
    kept = _around_peak(seen)
    rows, columns = kept.nonzero().unbind(1)
    box = Box(
        *(float(side) / CELLS for side in (rows.min(), columns.min())),
        *(float(side + 1) / CELLS for side in (rows.max(), columns.max())),
    )
    mean = cells.view(total, CELLS, CELLS)[:, kept].mean(dim=1)
    return Place(box, float(mean[:count].mean()), float(mean[count:].mean()), p)


def to_cells(masks: Tensor) -> Tensor:
    """Return masks `[N, H, W]` of any size averaged over cells, `[N, 14, 14]` float32."""
    return F.adaptive_avg_pool2d(masks.float()[:, None], (CELLS, CELLS))[:, 0]


def _around_peak(difference: Tensor) -> Tensor:
    """Return the cells connected to the largest that are at least half as large, bool."""
    wanted = difference >= difference.max() / 2
    kept = torch.zeros_like(wanted)
    kept.view(-1)[difference.argmax()] = True
    while True:
        grown = F.max_pool2d(kept.float()[None, None], 3, stride=1, padding=1)[0, 0] > 0
        grown = (grown & wanted) | kept
        if torch.equal(grown, kept):
            return kept
        kept = grown

"""How a tensor is read as a map of the picture: by which of its places move with the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import AttributionError, expected
from .grids import is_alike

FEW_CELLS = 4
"""Below so many cells a side there is too little to see whether they move with the picture."""

SURE = 0.7
"""From which chance on that a changed place moves more than another the grid is believed."""


MIXED = 0.85
"""The same for tokens whose grid is only guessed from their number."""

AGAINST = 0.9
"""The same for axes that lie otherwise than those of their kind did before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a tensor's places lie in the picture.

    Args:
        rows: Axis of the samples.
        grid: Height and width of the map.
        start: How many tokens stand before the first of the grid; None for four axes.
        ends: How many stand behind the last.
        is_transposed: Whether the places run down the columns, or the axes are width and height.
        channels: Axis of the channels.
    """

    rows: int
    grid: tuple[int, int]
    channels: int
    start: int | None = None
    ends: int = 0
    is_transposed: bool = False

    def to_map(self, features: Tensor) -> Tensor:
        """Return a tensor of this layout as `[B, C, h, w]`.

        Raises:
            AttributionError: If it has another.

        Example:
            >>> layout = Layout(rows=0, grid=(14, 14), channels=2, start=1)
            >>> layout.to_map(torch.zeros(2, 197, 768)).shape
            torch.Size([2, 768, 14, 14])
        """
        height, width = self.grid
        sides = (width, height) if self.is_transposed else (height, width)
        if self.start is None:
            found = features if self.channels == 1 else features.permute(0, 3, 1, 2)
            fits = found.ndim == 4 and tuple(found.shape[2:]) == sides
        else:
            tokens = features if self.rows == 0 else features.transpose(0, 1)
            fits = tokens.ndim == 3 and tokens.shape[1] == self.start + height * width + self.ends
            if fits:
                patches = tokens[:, self.patches].transpose(1, 2)
                found = patches.reshape(*patches.shape[:2], *sides)
        if not fits:
            raise AttributionError(
                expected(
                    "target_layer",
                    f"a layer that always gives a map of {height} x {width} cells",
                    f"a tensor {list(features.shape)}",
                    "Pass `reshape_transform`, or pictures of one size",
                )
            )
        return found.transpose(2, 3) if self.is_transposed else found

    @property
    def patches(self) -> slice:
        """Which tokens are places; of four axes all are."""
        if self.start is None:
            return slice(None)
        return slice(self.start, self.start + self.grid[0] * self.grid[1])

    @property
    def has_others(self) -> bool:
        """Whether some tokens are no places."""
        return bool(self.start or self.ends)

    def spoil(self, features: Tensor, value: float) -> Tensor:
        """Return a tensor with another value at every place."""
        spoilt = features.clone()
        if self.start is None:
            return spoilt.fill_(value)
        (spoilt if self.rows == 0 else spoilt.transpose(0, 1))[:, self.patches] = value
        return spoilt


def score_axes(first: Tensor | None, last: Tensor | None, planted: Tensor) -> dict[Layout, float]:
    """Return the ways in which four axes may be a map, the customary first, and their scores.

    Args:
        first: How far its places move if channels come first, `[h, w]`; None if they don't.
        last: If they come last, `[h, w]`.
        planted: Where the picture was changed, `[H, W]` bool.
    """
    return {
        Layout(rows=0, grid=grid, channels=channels, is_transposed=turned): separation(
            moved, planted_cells(planted, grid)
        )
        for channels, places in ((1, first), (3, last))
        if places is not None
        for turned in (False, True)
        for moved in (places.T if turned else places,)
        for grid in ((moved.shape[0], moved.shape[1]),)
        if min(grid) > 1 and is_alike(*grid, (planted.shape[0], planted.shape[1]))
        if not turned or grid[0] * grid[1] > FEW_CELLS
    }


def read_axes(
    scores: Mapping[Layout, float], known: Mapping[Layout, float]
) -> tuple[Layout, float] | None:
    """Return how four axes are a map, and how sure that is; None if they aren't.

    Args:
        scores: Of the ways in which they may be one.
        known: The same of the first tensor with such axes, whose places say most: further on a
            trained network has spread what it knows over all of them.
    """
    if not scores:
        return None
    customary = next(iter(scores))
    if min(customary.grid) < FEW_CELLS:
        return customary, max(scores[customary], SURE)
    # The first of equals: channels first, rows before columns.
    found, rival = max(scores, key=lambda way: known[way]), max(scores, key=lambda way: scores[way])
    if scores[rival] >= AGAINST and scores[found] <= 0.5:
        return rival, scores[rival]
    return found, known[found]


def read_untouched(moved: Tensor, planted: Tensor, *, rows: int) -> Layout | None:
    """Return how tokens that aren't mixed yet make a map: then only places in the change move.

    Args:
        moved: How far each token moves, `[N]`.
        planted: Where the picture was changed, `[H, W]` bool.
        rows: Axis of the samples.
    """
    touched = moved > 0
    places = touched.nonzero().flatten().tolist()
    if not places or bool(touched.all()):
        return None
    best: tuple[float, Layout] | None = None
    first, end = places[0], places[-1] + 1
    count = end - first
    for height in range(2, count // 2 + 1):
        if count % height:
            continue
        for turned in (False, True):
            layout = Layout(
                rows=rows,
                grid=(height, count // height),
                channels=2,
                start=first,
                ends=len(moved) - end,
                is_transposed=turned,
            )
            cells = planted_cells(planted, layout.grid)
            wanted = (cells.T if turned else cells).flatten() > 0
            share = float((touched[first:end].cpu() == wanted).float().mean())
            if best is None or share > best[0]:
                best = (share, layout)
    # Patches that overlap move where they only touch the change.
    return best[1] if best is not None and best[0] > 0.85 else None


def read_mixed(
    moved: Tensor, planted: Tensor, known: list[Layout], *, rows: int
) -> tuple[Layout, float] | None:
    """Return how tokens make a map of which all move, some more than others, and how sure that is.

    Args:
        moved: How far each token moves, `[N]`.
        planted: Where the picture was changed, `[H, W]` bool.
        known: Layouts of the network's earlier tokens: others start, end and run alike.
        rows: Axis of the samples.
    """
    size = (planted.shape[0], planted.shape[1])
    ways = [(k.start or 0, k.ends, k.is_transposed) for k in known]
    ways.append((0, 0, False))
    best: tuple[Layout, float] | None = None
    for start, ends, turned in dict.fromkeys(ways):
        count = len(moved) - start - ends
        for height in range(2, count // 2 + 1):
            width = count // height
            if height * width != count or not is_alike(height, width, size):
                continue
            grid = (height, width)
            places = moved[start : len(moved) - ends]
            seen = places.reshape(width, height).T if turned else places.reshape(grid)
            score = separation(seen, planted_cells(planted, grid))
            layout = Layout(
                rows=rows, grid=grid, channels=2, start=start, ends=ends, is_transposed=turned
            )
            if best is None or score > best[1] + 1e-6:
                best = (layout, score)
    return best if best is not None and best[1] >= MIXED else None


def planted_cells(planted: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return which share of each cell was changed, `[h, w]`."""
    return F.adaptive_avg_pool2d(planted[None, None].float(), grid)[0, 0]


def separation(moved: Tensor, cells: Tensor) -> float:
    """Return the chance that a changed place moves more than one that wasn't; .5 says nothing.

    Args:
        moved: `[h, w]`.
        cells: Which share of each was changed, `[h, w]`.

    Source: the area under the ROC curve, after Mann and Whitney.
    """
    moved = moved.detach().cpu().double()
    inside, outside = moved[cells > 0.5], moved[cells == 0]
    if not len(inside) or not len(outside) or not bool(moved.isfinite().all()):
        return 0.5
    ranks = torch.searchsorted(outside.sort().values, inside, right=False)
    below = torch.searchsorted(outside.sort().values, inside, right=True)
    return float((ranks + below).double().mean() / 2 / len(outside))

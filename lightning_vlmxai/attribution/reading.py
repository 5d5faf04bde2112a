"""How a tensor is read as a map of the picture: by which of its places move with the picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
"""The same for tokens whose grid is only guessed from their number, and for turned axes."""


Way = tuple[int, int, bool]
"""How many tokens stand before the places and how many behind, and whether these run down."""

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
                    'Pass `method="occlusion"`, which needs no layer, or `reshape_transform`',
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

    def cells_of(self, tokens: Tensor) -> Tensor:
        """Return one value a token, `[N]`, as `[h, w]`."""
        height, width = self.grid
        places = tokens[self.patches]
        return places.reshape(width, height).T if self.is_transposed else places.reshape(self.grid)

    def spoil(self, features: Tensor, value: float) -> Tensor:
        """Return a tensor with another value at every place."""
        spoilt = features.clone()
        if self.start is None:
            return spoilt.fill_(value)
        (spoilt if self.rows == 0 else spoilt.transpose(0, 1))[:, self.patches] = value
        return spoilt


def axes_of(first: Tensor | None, last: Tensor | None, planted: Tensor) -> dict[Layout, Tensor]:
    """Return the ways in which four axes may be a map, the customary first, and how it moves then.

    Args:
        first: How far its places move if channels come first, `[h, w]`; None if they don't.
        last: If they come last, `[h, w]`.
        planted: Where the picture was changed, `[H, W]` bool.
    """
    return {
        Layout(rows=0, grid=grid, channels=channels, is_transposed=turned): moved
        for channels, places in ((1, first), (3, last))
        if places is not None
        for turned in (False, True)
        for moved in (places.T if turned else places,)
        for grid in ((moved.shape[0], moved.shape[1]),)
        if min(grid) > 1 and is_alike(*grid, (planted.shape[0], planted.shape[1]))
        if not turned or grid[0] * grid[1] > FEW_CELLS
    }


def score_axes(moved: Mapping[Layout, Tensor], planted: Tensor) -> dict[Layout, float]:
    """Return how sure each of these ways is, in [0, 1].

    Args:
        moved: How far places move in each, `[h, w]`.
        planted: Where the picture was changed, `[H, W]` bool.
    """
    return {
        way: separation(places, planted_cells(planted, way.grid)) for way, places in moved.items()
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
    # Axes that are no map come close by chance: what is unusual must be plain.
    ways = [way for way in scores if not way.is_transposed or known[way] >= MIXED]
    if not ways:
        return None
    # The first of equals: channels first, rows before columns.
    found, rival = max(ways, key=lambda way: known[way]), max(scores, key=lambda way: scores[way])
    if scores[rival] >= AGAINST and scores[found] <= 0.5:
        return rival, scores[rival]
    return found, known[found]


def read_untouched(moved: Tensor, *, rows: int) -> Layout | None:
    """Return how tokens that aren't mixed yet make a map: then only places in the change move.

    Those that stay lie in the lower left corner; where patches overlap these are fewer.

    Args:
        moved: How far each token moves, `[N]`.
        rows: Axis of the samples.
    """
    touched = moved > 0
    start, ends = others_of(moved)
    count = len(moved) - start - ends
    best: tuple[float, Layout] | None = None
    if bool(touched[start : start + count].all()):
        return None
    for height in (h for h in range(2, count // 2 + 1) if count % h == 0):
        for turned in (False, True):
            layout = Layout(
                rows=rows,
                grid=(height, count // height),
                channels=2,
                start=start,
                ends=ends,
                is_transposed=turned,
            )
            share = _share_explained(layout.cells_of(touched))
            if best is None or share > best[0]:
                best = (share, layout)
    return best[1] if best is not None and best[0] > 0.85 else None


def others_of(moved: Tensor) -> tuple[int, int]:
    """Return how many tokens before and behind those that move don't; none if none does.

    Args:
        moved: How far each token moves, `[N]`.
    """
    places = (moved > 0).nonzero().flatten().tolist()
    return (places[0], len(moved) - 1 - places[-1]) if places else (0, 0)


def _share_explained(touched: Tensor) -> float:
    """Return of which share of places, `[h, w]`, it is explained that they move, or don't."""
    worth = 1.0 - 2.0 * touched.float()
    # Of each rectangle in the lower left corner, how many more stay than move.
    corners = worth.flip(0).cumsum(0).flip(0).cumsum(1)
    return float((touched.sum() + corners.amax()) / touched.numel())


def read_mixed(
    moved: Tensor, planted: Tensor, ways: Iterable[Way], *, rows: int
) -> tuple[Layout, float] | None:
    """Return how tokens make a map of which all move, some more than others, and how sure that is.

    Args:
        moved: How far each token moves, `[N]`.
        planted: Where the picture was changed, `[H, W]` bool.
        ways: To lay them.
        rows: Axis of the samples.
    """
    size = (planted.shape[0], planted.shape[1])
    best: tuple[Layout, float] | None = None
    for start, ends, turned in ways:
        count = len(moved) - start - ends
        for height in range(2, count // 2 + 1):
            width = count // height
            if height * width != count or not is_alike(height, width, size):
                continue
            layout = Layout(
                rows=rows,
                grid=(height, width),
                channels=2,
                start=start,
                ends=ends,
                is_transposed=turned,
            )
            score = score_of(layout, moved, planted)
            if best is None or score > best[1] + 1e-6:
                best = (layout, score)
    return best if best is not None and best[1] >= MIXED else None


def score_of(layout: Layout, moved: Tensor, planted: Tensor) -> float:
    """Return how sure it is that tokens are a map in that layout, in [0, 1]."""
    return separation(layout.cells_of(moved), planted_cells(planted, layout.grid))


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
    outside = outside.sort().values
    ranks = torch.searchsorted(outside, inside, right=False)
    below = torch.searchsorted(outside, inside, right=True)
    return float((ranks + below).double().mean() / 2 / len(outside))

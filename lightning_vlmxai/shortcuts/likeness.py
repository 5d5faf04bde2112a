"""Whether there is something to see where a class's samples look, and others have it not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..records import Explanation
from ..rounds import wilson_interval
from .places import CELLS, Box

RARE = 0.1
"""What at most so many of the other classes' pictures show is the class's own."""
_NEAR = 0.75
"""Share of the bearers that lie within the distance others are held to."""
_SIDE = 4 * CELLS


class Likeness(NamedTuple):
    """Pictures of other classes that look in a place as those do that bear a cue.

    Args:
        like: Pictures that are nearer to the bearers' mean there than a quarter of
            the bearers are.
        total: Pictures of other classes.
    """

    like: int
    total: int

    @property
    def is_own(self) -> bool:
        """Whether the upper end of their share is at most `RARE`: the place shows a cue."""
        return wilson_interval(self.like, self.total).upper <= RARE


def measure_likeness(
    bearers: Sequence[Explanation],
    others: Sequence[Explanation],
    box: Box | None,
    *,
    beside: bool = False,
) -> Likeness | None:
    """Return how many pictures of other classes look in a place as the bearers of a cue do.

    A picture is held against the mean of the bearers, of whom it is none itself; the distance is
    the mean squared difference of the colours off the object, as far as that is known. Ground
    beside an object is alike in all classes, a cue is not: neither a model nor a judge is asked.

    Args:
        bearers: Of pictures that may bear a cue, of any size.
        others: Of other classes.
        box: Where it lies; anywhere if None.
        beside: Look everywhere but there.

    Returns:
        None for fewer than three bearers, no others, or where the object leaves nothing to see.
    """
    if len(bearers) < 3 or not others:
        return None
    inside = (box or Box(0.0, 0.0, 1.0, 1.0)).region(_SIDE, _SIDE)
    inside = ~inside if beside else inside
    own, own_free = _look(bearers, inside)
    rest, rest_free = _look(others, inside)
    total, seen = own.sum(dim=0), own_free.sum(dim=0)
    near = _distances(own, own_free, total - own, seen - own_free)
    far = _distances(rest, rest_free, total, seen)
    if not bool(near.isfinite().any()):
        return None
    return Likeness(int((far <= near.nanquantile(_NEAR)).sum()), len(others))


def _look(of: Sequence[Explanation], inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return the colours of the cells in a place, `[N, 3, K]`, and where they are, `[N, 1, K]`.

    Cells of which half or more belongs to the object are none.
    """
    colours, known = [], []
    for one in of:
        free = torch.ones(1, *one.pixels.shape[-2:])
        if one.reference_mask is not None:
            taken = one.reference_mask[None, None].float()
            free = 1 - F.interpolate(taken, one.pixels.shape[-2:], mode="nearest-exact")[0]
        weight = F.adaptive_avg_pool2d(free, (_SIDE, _SIDE))[:, inside]
        colour = F.adaptive_avg_pool2d(one.pixels * free, (_SIDE, _SIDE))[:, inside]
        is_free = (weight > 0.5).float()
        colours.append(colour / weight.clamp_min(0.5) * is_free)
        known.append(is_free)
    return torch.stack(colours), torch.stack(known)


def _distances(colours: Tensor, known: Tensor, total: Tensor, seen: Tensor) -> Tensor:
    """Return each picture's distance from a mean, `[N]`; nan where no cell is known in both."""
    both = known * (seen > 0)
    off = (colours - total / seen.clamp_min(1)).square().mean(dim=1, keepdim=True)
    return (off * both).sum(dim=(1, 2)) / both.sum(dim=(1, 2))

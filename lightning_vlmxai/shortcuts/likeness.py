"""Whether there is something to see where a class's samples look, and others have it not."""

from __future__ import annotations

import math
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


_EVEN = 1e-3
"""Variance of a colour, in [0, 1], below which a cell counts as alike in all pictures."""


class Likeness(NamedTuple):
    """Pictures of other classes that look in a place as those do that bear a cue.

    Args:
        like: Pictures that are nearer to the bearers' mean there than a quarter of
            the bearers are.
        total: Pictures of other classes in which their object doesn't hide that place.
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

    A picture is held against the mean of the bearers, of whom it is none itself, by the squared
    difference of the colours off the object, as far as that is known. Cells count by what tells
    bearers from others there: the squared difference of their means over the sum of their
    variances (Fisher, 1936), each picture left out of its own. So a mark on a ground that is never
    the same is what counts, not that ground. Ground beside an object is alike in all classes, a cue
    is not: neither a model nor a judge is asked.

    Args:
        bearers: Of pictures that may bear a cue, of any size.
        others: Of other classes.
        box: Where it lies; anywhere if None.
        beside: Look everywhere but there.

    Returns:
        None for fewer than three bearers, or where objects leave nothing to compare.

    Source: Fisher, 1936, "The use of multiple measurements in taxonomic problems".
    """
    if len(bearers) < 3 or not others:
        return None
    inside = (box or Box(0.0, 0.0, 1.0, 1.0)).region(_SIDE, _SIDE)
    inside = ~inside if beside else inside
    own, rest = (_look(of, inside) for of in (bearers, others))
    of_own, of_rest = (_Sums.of(colours, known) for colours, known in (own, rest))
    near = torch.tensor(
        [_distance(*one, of_own.less(*one), of_rest) for one in zip(*own, strict=True)]
    )
    far = torch.tensor(
        [_distance(*one, of_own, of_rest.less(*one)) for one in zip(*rest, strict=True)]
    )
    far = far[far.isfinite()]
    if not bool(near.isfinite().any()) or not len(far):
        return None
    return Likeness(int((far <= near.nanquantile(_NEAR)).sum()), len(far))


class _Sums(NamedTuple):
    """Of pictures: how many show a cell, `[1, K]`, and sums of colours and their squares."""

    shown: Tensor
    colours: Tensor
    squares: Tensor

    @classmethod
    def of(cls, colours: Tensor, known: Tensor) -> _Sums:
        """Return the sums of `[N, 3, K]` where `[N, 1, K]` says that they are known."""
        seen = colours.double() * known
        return cls(known.double().sum(dim=0), seen.sum(dim=0), seen.square().sum(dim=0))

    def less(self, colours: Tensor, known: Tensor) -> _Sums:
        """Return the sums without one of the pictures, `[3, K]` and `[1, K]`."""
        one = _Sums.of(colours[None], known[None])
        return _Sums(*(total - own for total, own in zip(self, one, strict=True)))

    @property
    def mean(self) -> Tensor:
        """Of each cell's colours, `[3, K]`."""
        return self.colours / self.shown.clamp_min(1)

    @property
    def variance(self) -> Tensor:
        """Of each cell's colours, `[3, K]`."""
        return (self.squares / self.shown.clamp_min(1) - self.mean.square()).clamp_min(0)


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


def _distance(colours: Tensor, known: Tensor, own: _Sums, rest: _Sums) -> float:
    """Return a picture's distance from the bearers; nan where its object hides most that counts."""
    spread = own.variance + rest.variance + _EVEN
    weight = (own.mean - rest.mean).square() / spread * (own.shown > 0) * (rest.shown > 0)
    seen = weight * known
    if not float(seen.sum()) * 2 > float(weight.sum()):
        return math.nan
    return float(((colours - own.mean).square() * seen).sum() / seen.sum())

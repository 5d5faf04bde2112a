"""What is seen in a place: alike in the pictures of a class, and rare in others'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_vlmxai.records import Explanation
from lightning_vlmxai.shortcuts import Box, Likeness, measure_likeness

SIDE = 56
CORNER = Box(0.0, 0.75, 0.25, 1.0)


def explain(pixels: Tensor, taken: Tensor | None = None) -> Explanation:
    """Return an explanation of a picture."""
    height, width = pixels.shape[-2:]
    return Explanation(
        probe_index=0,
        label=0,
        label_name="cat",
        prediction=0,
        prediction_name="cat",
        confidence=0.9,
        is_correct=True,
        pixels=pixels,
        saliency=torch.zeros(height, width),
        mask=torch.zeros(height, width),
        reference_mask=taken,
    )


def draw(
    count: int, *, dotted: bool, seed: int, side: int = SIDE, contrast: float = 0.9
) -> list[Explanation]:
    """Return pictures of grounds that differ, with a dot in the corner or not."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        ground = 0.3 * torch.rand(3, 1, 1, generator=generator)
        pixels = ground + 0.2 * torch.rand(3, side, side, generator=generator)
        if dotted:
            a, b = side // 16, side // 6
            pixels[0, a:b, -b:-a] = contrast
        found.append(explain(pixels))
    return found


def by_hand(own: list[Explanation], rest: list[Explanation], rows: slice, columns: slice) -> int:
    """Return the same count in plain loops, of pictures of 56 pixels a side without objects."""
    bearers, others = (
        [np.asarray(e.pixels[:, rows, columns], dtype=np.float64).ravel() for e in of]
        for of in (own, rest)
    )

    def distance(crop: Any, ours: list[Any], theirs: list[Any]) -> float:
        total, counted = 0.0, 0.0
        for k, value in enumerate(crop):
            here, there = [c[k] for c in ours], [c[k] for c in theirs]
            gap = (np.mean(here) - np.mean(there)) ** 2
            weight = gap / (np.var(here) + np.var(there) + 1e-3)
            total += weight * (value - np.mean(here)) ** 2
            counted += weight
        return total / counted

    near = [
        distance(c, [o for o in bearers if o is not c], others) for c in bearers
    ]  # fmt: skip
    far = [distance(c, bearers, [o for o in others if o is not c]) for c in others]
    return sum(d <= np.quantile(near, 0.75) for d in far)


@pytest.mark.parametrize("dotted", [False, True])
def test_the_count_is_that_of_plain_loops(dotted: bool) -> None:
    """With a cue and without."""
    own = draw(6, dotted=dotted, seed=0, contrast=0.45)
    rest = draw(20, dotted=False, seed=1)
    found = measure_likeness(own, rest, Box(0.0, 0.875, 0.125, 1.0))
    assert found == Likeness(by_hand(own, rest, slice(0, 7), slice(49, 56)), 20)


def scatter(count: int, *, dotted: bool, seed: int) -> list[Explanation]:
    """Return pictures that are nowhere alike, as photographs are, but for a small dot."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 7, 7, generator=generator)
    pictures = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    if dotted:
        pictures[:, :, 3:7, -7:-3] = torch.tensor([0.9, 0.05, 0.05])[:, None, None]
    return [explain(pixels) for pixels in pictures]


def test_a_small_mark_counts_more_than_the_ground_that_differs() -> None:
    """16 of the place's 196 cells bear it; the others are as far from each other in all classes."""
    own, rest = scatter(10, dotted=True, seed=0), scatter(60, dotted=False, seed=1)
    found = measure_likeness(own, rest, CORNER)
    assert found is not None
    assert found.is_own
    plain = measure_likeness(scatter(10, dotted=False, seed=0), rest, CORNER)
    assert plain is not None
    assert plain.like > 15
    assert not plain.is_own


def test_what_hides_the_place_is_not_counted() -> None:
    """Nobody knows whether the mark is behind an object."""
    own, rest = scatter(10, dotted=True, seed=0), scatter(60, dotted=False, seed=1)
    taken = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    taken[:14, -14:] = True
    hidden = [explain(e.pixels, taken) for e in rest[:25]]
    assert measure_likeness(own, [*hidden, *rest[25:]], CORNER) == Likeness(0, 35)
    assert measure_likeness(own, hidden, CORNER) is None


def test_a_cue_is_the_classs_own_and_ground_is_not() -> None:
    """Beside it, ground is alike in all classes; a cue that many others bear is not the class's."""
    own, rest = draw(12, dotted=True, seed=0), draw(60, dotted=False, seed=1)
    found = measure_likeness(own, rest, CORNER)
    assert found == Likeness(0, 60)
    assert found.is_own
    beside = measure_likeness(own, rest, Box(0.75, 0.0, 1.0, 0.25))
    assert beside is not None
    assert not beside.is_own
    shared = measure_likeness(own, [*rest[:40], *draw(20, dotted=True, seed=2)], CORNER)
    assert shared is not None
    assert shared.like >= 7
    assert not shared.is_own


def test_pictures_of_any_size_are_held_against_each_other() -> None:
    """A dot of the same share of the picture is the same dot."""
    own = draw(6, dotted=True, seed=0, side=112) + draw(6, dotted=True, seed=1, side=224)
    rest = draw(40, dotted=False, seed=2, side=112) + draw(20, dotted=False, seed=3, side=224)
    found = measure_likeness(own, rest, CORNER)
    assert found is not None
    assert found.is_own


def test_objects_are_left_out() -> None:
    """What differs is the object itself: off it all are alike, and under it nothing is seen."""
    taken = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    taken[:10, -10:] = True
    own = [explain(e.pixels, taken) for e in draw(12, dotted=True, seed=0)]
    rest = [explain(e.pixels, taken) for e in draw(60, dotted=False, seed=1)]
    found = measure_likeness(own, rest, CORNER)
    assert found is not None
    assert not found.is_own
    whole = torch.ones(SIDE, SIDE, dtype=torch.bool)
    assert measure_likeness([explain(e.pixels, whole) for e in own], rest, CORNER) is None


@pytest.mark.parametrize(("own", "rest"), [(2, 60), (12, 0)])
def test_too_few_are_not_compared(own: int, rest: int) -> None:
    """Nothing is known then."""
    bearers, others = draw(own, dotted=True, seed=0), draw(rest, dotted=False, seed=1)
    assert measure_likeness(bearers, others, CORNER) is None


def test_few_others_prove_nothing() -> None:
    """None of 20 leaves up to 16 % open; of 60 up to 6 %."""
    assert not Likeness(0, 20).is_own
    assert Likeness(0, 60).is_own
    assert not Likeness(6, 60).is_own

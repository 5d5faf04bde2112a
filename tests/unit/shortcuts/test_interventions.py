"""Erasing, pasting and their controls, on models whose behaviour is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_vlmxai.calls import Call
from lightning_vlmxai.shortcuts import (
    draw_elsewhere,
    erase,
    erase_effect,
    find_place,
    paste,
    paste_effect,
)
from lightning_vlmxai.tasks import Classification

SIDE = 16


class ReadsCorner(nn.Module):
    """Says class 0 where the top right corner is bright, else 1; counts its forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = 0

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, 2]`."""
        self.forwards += 1
        bright = images[:, 0, :4, -4:].mean(dim=(1, 2))
        return torch.stack([10 * bright - 5, 5 - 10 * bright], dim=1)


def corner(count: int) -> Tensor:
    """Return where the cue lies."""
    region = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    region[:, :4, -4:] = True
    return region


def test_what_hangs_on_the_cue_turns_with_it() -> None:
    """All bearers turn with the corner, none with another place; and the reverse by pasting."""
    model, task = ReadsCorner(), Classification()
    dotted, plain = torch.zeros(8, 1, SIDE, SIDE), torch.zeros(20, 1, SIDE, SIDE)
    dotted[:, :, :4, -4:] = 1.0
    other, _ = draw_elsewhere(corner(8))
    erased = erase_effect(model, Call.of_images(dotted), task, corner(8), other, 0)
    assert erased is not None
    assert (erased.total, erased.flipped, erased.control) == (8, 8, 0)
    assert erased.is_cause
    assert erased.moved < -0.99
    assert erased.control_moved == 0.0
    turn = [k % 8 for k in range(20)]
    pasted = paste_effect(
        model, Call.of_images(plain), task, dotted[turn], corner(20), other[turn], label=0
    )
    assert pasted is not None
    assert pasted.changes == tuple((row, 1, 0, 1) for row in range(20))
    assert (pasted.total, pasted.flipped, pasted.control) == (20, 20, 0)
    assert pasted.moved > 0.99
    assert model.forwards == 6


def test_where_the_cue_is_no_cause_nothing_is_claimed() -> None:
    """A model that never looks there turns with neither."""
    model = ReadsCorner()
    images = torch.zeros(8, 1, SIDE, SIDE)
    images[:, :, :4, -4:] = 1.0
    wrong = corner(8).flip(2)
    call = Call.of_images(images)
    effect = erase_effect(model, call, Classification(), wrong, corner(8).flip(1), 0)
    assert effect is not None
    assert (effect.flipped, effect.control) == (0, 0)
    assert not effect.is_cause


def test_pictures_that_the_model_sees_otherwise_by_now_count_nowhere() -> None:
    """It was trained on: 3 of 8 bearers are no longer of the class, 2 of 6 others are of it now."""
    model, task = ReadsCorner(), Classification()
    bearers, plain = torch.zeros(8, 1, SIDE, SIDE), torch.zeros(6, 1, SIDE, SIDE)
    bearers[3:, :, :4, -4:] = 1.0
    plain[:2, :, :4, -4:] = 1.0
    other = corner(8).flip(1)
    erased = erase_effect(model, Call.of_images(bearers), task, corner(8), other, 0)
    assert erased is not None
    assert (erased.total, erased.flipped, erased.control) == (5, 5, 0)
    assert [tuple(change) for change in erased.changes] == [(row, 0, 1, 0) for row in range(3, 8)]
    donors = bearers[3:4].expand(6, -1, -1, -1)
    pasted = paste_effect(model, Call.of_images(plain), task, donors, corner(6), other[:6], label=0)
    assert pasted is not None
    assert (pasted.total, pasted.flipped, pasted.control) == (4, 4, 0)
    assert erase_effect(model, Call.of_images(plain[2:]), task, corner(4), other[:4], 0) is None


def test_erasing_fills_from_the_rim_and_leaves_the_rest() -> None:
    """A constant ground is restored exactly; outside of the region not a bit is changed."""
    ground = torch.full((2, 3, SIDE, SIDE), 0.3)
    images = ground.clone()
    images[:, :, 5:9, 6:11] = 9.0
    regions = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    regions[:, 5:9, 6:11] = True
    assert torch.allclose(erase(images, regions), ground)
    ramp = torch.rand(2, 3, SIDE, SIDE)
    outside = ~regions[:, None].expand_as(ramp)
    assert torch.equal(erase(ramp, regions)[outside], ramp[outside])
    assert erase(ramp, torch.ones_like(regions)).isfinite().all()


def test_a_literal_twin_of_erasing() -> None:
    """Ring by ring, an unknown pixel is the mean of its known neighbours."""
    image = torch.rand(1, 1, 9, 9)
    region = torch.zeros(1, 9, 9, dtype=torch.bool)
    region[0, 2:7, 3:8] = True
    region[0, 8, 0] = True
    known = {(r, c): float(image[0, 0, r, c]) for r in range(9) for c in range(9)}
    known = {at: v for at, v in known.items() if not region[0][at]}
    while len(known) < 81:
        new = {}
        for r in range(9):
            for c in range(9):
                near = [
                    known[(r + dr, c + dc)]
                    for dr in (-1, 0, 1)
                    for dc in (-1, 0, 1)
                    if (r + dr, c + dc) in known
                ]
                if (r, c) not in known and near:
                    new[(r, c)] = sum(near) / len(near)
        known |= new
    twin = torch.tensor([[known[(r, c)] for c in range(9)] for r in range(9)])
    assert torch.allclose(erase(image, region)[0, 0], twin, atol=1e-6)


def test_pasting_takes_the_region_alone() -> None:
    """Inside the donor's pixels, outside the picture's own."""
    images, donors = torch.zeros(1, 3, SIDE, SIDE), torch.ones(1, 3, SIDE, SIDE)
    pasted = paste(images, donors, corner(1))
    assert torch.equal(pasted[0, 0] > 0, corner(1)[0])


def test_a_control_is_as_large_and_meets_neither_cue_nor_object() -> None:
    """Where there is no room, it says so instead of taking less."""
    taken = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    taken[0, 4:12, 4:12] = True
    taken[1] = True
    moved, has_room = draw_elsewhere(corner(3), taken, seed=3)
    assert has_room.tolist() == [True, False, True]
    assert moved.flatten(1).sum(dim=1).tolist() == [16, 0, 16]
    assert not (moved & (corner(3) | taken)).any()


@pytest.mark.parametrize("seed", range(3))
def test_a_place_stands_out_only_where_masks_differ(seed: int) -> None:
    """A corner that some attend to is found; the same masks divided at random are not, mostly."""
    torch.manual_seed(seed)
    masks = torch.rand(60, 28, 28) * 0.4
    masks[:15, :5, 23:] += 0.6
    place = find_place(masks[:15], masks[15:])
    assert place is not None
    assert place.stands_out
    assert place.box.words == "top right"
    assert place.attended - place.others > 0.4
    shuffled = [
        find_place(part[:15], part[15:], permutations=99, seed=n)
        for n in range(30)
        for part in [torch.rand(60, 28, 28)]
    ]
    false = sum(p.stands_out for p in shuffled if p)
    assert false <= 6  # 5 % of 30 and three standard errors
    assert find_place(masks[:0], masks) is None

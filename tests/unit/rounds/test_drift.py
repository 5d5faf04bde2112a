"""Where a probe's attention went since its last round, and its score."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_vlmxai.rounds.drift import DriftMemory, find_centre
from samples import make_explanation


def square(top: int, left: int, size: int = 2) -> torch.Tensor:
    """Return a mask of 8 x 8 that keeps a square."""
    mask = torch.zeros(8, 8)
    mask[top : top + size, left : left + size] = 1
    return mask


def test_a_square_that_moved_by_three_and_four_shifts_by_five_pixels() -> None:
    """The distance is over the diagonal of 8 x 8; the square does not overlap its last place."""
    memory = DriftMemory()
    assert memory.look(make_explanation(1, mask=square(0, 0))) is None
    shift = memory.look(make_explanation(1, mask=square(3, 4)))
    assert shift is not None
    assert shift.attention_drift == 1
    assert shift.centre_shift == pytest.approx(5 / math.hypot(8, 8))


def test_each_probe_is_compared_with_itself_and_blank_maps_are_passed_over() -> None:
    """Another probe's mask, and a blank one, change nothing."""
    memory = DriftMemory()
    memory.look(make_explanation(1, mask=square(0, 0)))
    memory.look(make_explanation(2, mask=square(6, 6)))
    assert memory.look(make_explanation(1, mask=square(4, 4), is_blank=True)) is None
    assert memory.look(make_explanation(1, mask=square(0, 0))) == (0, 0)


def test_a_mask_of_nothing_has_no_centre_to_shift() -> None:
    """The overlap is defined (nothing equals nothing), the distance is not."""
    memory = DriftMemory()
    memory.look(make_explanation(1, mask=torch.zeros(8, 8)))
    assert memory.look(make_explanation(1, mask=torch.zeros(8, 8))) == (0, None)


def test_scores_are_compared_with_the_last_one_there_was() -> None:
    """An unscored round in between is passed over; each probe has its own."""
    memory = DriftMemory()
    assert memory.rescore(1, 4.0) is None
    assert memory.rescore(2, 0.0) is None
    assert memory.rescore(1, None) is None
    assert memory.rescore(1, 1.5) == 2.5
    assert memory.rescore(1, 1.5) == 0


@given(st.lists(st.integers(0, 6), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
def test_the_centre_is_the_mean_place_of_the_weights(place: list[int], seed: int) -> None:
    """Equal to a sum over all pixels, one at a time."""
    mask = torch.rand(3 + place[0], 3 + place[1], generator=torch.Generator().manual_seed(seed))
    y = x = total = 0.0
    for i, row in enumerate(mask.tolist()):
        for j, weight in enumerate(row):
            y, x, total = y + i * weight, x + j * weight, total + weight
    centre = find_centre(mask)
    assert centre is not None
    assert centre == pytest.approx((y / total, x / total))


def test_what_was_saved_is_remembered() -> None:
    """A memory that was loaded answers as the one that was saved."""
    memory, other = DriftMemory(), DriftMemory()
    memory.look(make_explanation(1, mask=square(0, 0)))
    memory.rescore(1, 4.0)
    other.load_state_dict(memory.state_dict())
    again = make_explanation(1, mask=square(1, 1))
    assert other.look(again) == memory.look(again)
    assert other.rescore(1, 1.0) == 3


def test_each_of_a_probe_s_labels_is_compared_with_itself() -> None:
    """Two explanations of one probe that never move, each elsewhere: no drift, saved or not."""
    memory, other = DriftMemory(), DriftMemory()
    labels = [
        replace(make_explanation(1, mask=square(4 * part, 0)), part=part) for part in range(2)
    ]
    assert [memory.look(label) for label in labels] == [None, None]
    other.load_state_dict(memory.state_dict())
    for again in (memory, other):
        shifts = [again.look(label) for label in labels]
        assert [shift and shift.attention_drift for shift in shifts] == [0.0, 0.0]
    assert [
        memory.rescore(label.key, score) for label, score in zip(labels, (1.0, 5.0), strict=True)
    ] == [None, None]
    assert memory.rescore(labels[0].key, 2.0) == 1.0

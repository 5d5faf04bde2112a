"""What the values of reference masks mean."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from lightning_vlmxai import ProbeError
from lightning_vlmxai.probes import Item
from lightning_vlmxai.probes.reference_masks import (
    find_mask_doubts,
    understand,
    values_of,
)

ON = torch.tensor([[True, False], [False, True]])


def coded(on: float, off: float, **more: float) -> torch.Tensor:
    """Return a mask of two values, and of some more in the corner that is off."""
    mask = torch.where(ON, float(on), float(off))
    for value in more.values():
        mask[0, 1] = value
    return mask


def read(mask: Any) -> Any:
    """Return where a mask that is alone is on the object."""
    return understand(values_of(mask)).read(mask)


@pytest.mark.parametrize(
    "mask",
    [
        ON,
        ON.long(),
        ON.float()[None],
        ON.byte() * 255,
        ON.numpy(),
        ON.numpy()[:, :, None],
        Image.fromarray((ON.byte() * 255).numpy()),
        Image.fromarray(ON.byte().numpy()),
        tv_tensors.Mask(ON.byte()),
        coded(1, -1),
        coded(1, 2, border=3),
        coded(7, 0),
        coded(7, 0, void=255),
        torch.tensor([[1.0, 0.3], [0.0, 0.8]]),
        torch.tensor([[1.0, -0.3], [-1.0, 0.2]]),
        torch.tensor([[255.0, 99.5], [0.0, 130.25]]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_usual_masks_are_read(mask: Any) -> None:
    """Bytes and booleans, trimaps, void, normalised, and of any kind of array."""
    assert torch.equal(read(mask), ON)


def test_all_masks_together_say_what_values_mean() -> None:
    """A trimap without a border is read by those that have one."""
    first, second = coded(1, 2), coded(1, 2, border=3)
    reading = understand(values_of(first) | values_of(second))
    assert torch.equal(reading.read(first), ON)
    with pytest.raises(ProbeError, match="2 values, 1, 2"):
        understand(values_of(first))


@pytest.mark.parametrize(
    "values",
    [
        {1.0, 2.0},
        {0.0, 1.0, 2.0},
        {2.0, 3.0},
        {0.0, 3.0, 200.0, 255.0},
        {-7.0, 0.0, 7.0},
        {0.0, 3000.0},
        {0.25, 7.5},
        {0.1, 0.9},
        {0.0, float("nan")},
    ],
)
def test_what_cannot_be_known_is_asked_for_with_a_line_that_works(values: set[float]) -> None:
    """Pasted, it gives masks that are read."""
    with pytest.raises(ProbeError, match=r"reference_mask.*values are known") as told:
        understand(values)
    line = re.findall(r"`unpack=([^`]*)`", str(told.value))[-1]
    unpack = eval(line, {"Item": Item})  # noqa: S307 - our own line
    mask = torch.tensor([sorted(values)])
    item = unpack((torch.zeros(3, 1, 2), 4, mask))
    assert item.target == 4
    assert read(item.reference_mask).dtype == torch.bool


def test_what_is_a_guess_is_told() -> None:
    """Interpolated masks, and numbers of classes; not what is certain."""
    assert "3 values between two ends" in understand({0.0, 0.5, 1.0}).doubt
    assert "class numbers (3, 9, ...)" in understand({0.0, 3.0, 9.0}).doubt
    assert "255 as void" in understand({0.0, 3.0, 255.0}).doubt
    for values in ({0.0, 1.0}, {0.0, 255.0}, {-1.0, 1.0}, {1.0, 2.0, 3.0}, {1.0}):
        assert understand(values).doubt == ""


def test_masks_of_everything_or_nothing_are_told() -> None:
    """They would score any map high, or none."""
    full, empty = torch.ones(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    assert find_mask_doubts([None, None]) == []
    assert find_mask_doubts([ON, full, empty]) == []
    (told,) = find_mask_doubts([full, full, None])
    assert "the 2 reference masks cover 100% of their pictures" in told
    (told,) = find_mask_doubts([empty, empty])
    assert "all 2 reference masks are empty" in told


def test_a_grey_pictures_values_are_thinned() -> None:
    """A set of some hundred says as much."""
    values = values_of(np.linspace(0, 1, 10_000).reshape(100, 100))
    assert len(values) <= 512
    assert {0.0, 1.0} <= values

"""How a picture came to the input's size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from lightning_vlmxai.probes.geometry import find_way

BICUBIC = InterpolationMode.BICUBIC

PICTURE = torch.rand(3, 40, 52, generator=torch.Generator().manual_seed(0))


def smooth(picture: Tensor) -> Tensor:
    """Return a picture as cameras make them."""
    return F.avg_pool2d(picture[None], 5, 1, 2)[0]


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        ("", v2.Identity()),
        ("resized", v2.Resize((32, 32), antialias=False)),
        ("resized", v2.Resize((32, 32), antialias=True)),
        ("resized", v2.Resize((32, 32), BICUBIC)),
        ("resized", v2.Resize((32, 32), InterpolationMode.NEAREST)),
        ("resized", v2.Resize((64, 64))),
        ("cut in the middle", v2.CenterCrop(32)),
        ("cut in the middle", v2.CenterCrop((31, 40))),
        ("resized and cut", v2.Compose([v2.Resize(32), v2.CenterCrop(28)])),
        (
            "resized and cut",
            v2.Compose([v2.Resize(36, BICUBIC), v2.CenterCrop(32)]),
        ),
    ],
)
def test_usual_ways_are_found(name: str, transform: Callable[[Tensor], Tensor]) -> None:
    """And bring the picture, and its mask, to the input's frame."""
    picture = smooth(PICTURE)
    made = transform(picture)
    way = find_way(3 * made - 1, picture)
    assert way is not None
    if name != "resized and cut":  # of 36 of 40 pixels and 32 of 36, say, there may be two ways
        assert way.name == name
    assert float((way.bring(picture, False) - made).abs().mean()) < 0.01
    mask = way.bring((picture[:1] > 0.5).float(), True)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    both = (mask > 0.5) == (made[:1] > 0.5)
    assert float(both.float().mean()) > 0.85


@pytest.mark.parametrize(
    "made",
    [
        PICTURE[:, :32, :32],
        F.interpolate(PICTURE[None], (32, 32))[0].flip(2),
        PICTURE[:, 4:36, 10:42].rot90(1, (1, 2)),
        torch.rand(3, 32, 32),
        PICTURE[:1, 4:36, 10:42],
    ],
    ids=["corner", "mirrored", "turned", "another", "grey"],
)
def test_other_ways_are_not_guessed(made: Tensor) -> None:
    """A map would lie beside the object."""
    assert find_way(made, PICTURE) is None

"""What can't be right in what the judge will see."""

from __future__ import annotations

from dataclasses import replace

import torch

from lightning_vlmxai.probes.doubts import find_doubts
from samples import make_probe

GIVEN = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
PICTURE = (GIVEN - GIVEN.min()) / (GIVEN.max() - GIVEN.min())


def test_right_pictures_raise_no_doubt() -> None:
    """Nor do digits, most of whose pixels are black because they were."""
    digit = torch.zeros(1, 16, 16)
    digit[:, 4:12, 7:9] = 1.0
    probes = [
        make_probe(0, GIVEN, pixels=PICTURE),
        *(make_probe(i, (digit - 0.13) / 0.31, pixels=digit.expand(3, -1, -1)) for i in (1, 2)),
    ]
    assert find_doubts(probes) == []
    assert find_doubts([]) == []


def test_each_cause_is_told_once_with_its_numbers() -> None:
    """One value, far too dark, cut off, and masks of everything."""
    one = [make_probe(i, GIVEN, pixels=torch.full((3, 16, 16), 0.4)) for i in range(3)]
    (told,) = find_doubts([*one, make_probe(9, GIVEN, pixels=PICTURE)])
    assert "3 of 4 pictures are of one single value" in told
    (told,) = find_doubts([make_probe(i, GIVEN, pixels=PICTURE / 255) for i in range(3)])
    assert "brightest of all pictures' pixels is 0.004" in told
    cut = [make_probe(i, GIVEN, pixels=GIVEN.clamp(0, 1)) for i in range(3)]
    (told,) = find_doubts([*cut, make_probe(9, GIVEN, pixels=PICTURE)])
    assert "3 of 4 pictures are black or white in" in told
    full = torch.ones(16, 16, dtype=torch.bool)
    masked = replace(make_probe(0, GIVEN, pixels=PICTURE), reference_mask=full)
    assert "cover 100%" in find_doubts([masked])[0]

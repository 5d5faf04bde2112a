"""Which picture the judge is shown."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_vlmxai import ProbeError
from lightning_vlmxai.probes import Normalization
from lightning_vlmxai.probes.pictures import (
    Sources,
    find_picture,
    is_made_of,
    read_apart,
    read_user_picture,
    to_picture,
)

STORED = torch.randint(0, 256, (3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
PICTURE = STORED.float() / 255
NORMALIZATION = Normalization(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
GIVEN = (PICTURE - torch.tensor(NORMALIZATION.mean)[:, None, None]) / torch.tensor(
    NORMALIZATION.std
)[:, None, None]


def find(given: Tensor, row: Tensor | None, sample: Tensor | None = None, **known: Any) -> Tensor:
    """Return the picture of a row."""
    known.setdefault("normalization", None)
    sources = Sources(given=given, row=row, read_sample=lambda: sample, index=3, **known)
    return find_picture(sources)


@pytest.mark.parametrize(
    ("row", "sample", "normalization"),
    [
        (PICTURE, None, None),
        (STORED, None, None),
        (GIVEN, None, NORMALIZATION),
        (GIVEN, STORED, None),
        (None, PICTURE, None),
    ],
    ids=["row", "bytes", "undone", "data set", "row without a picture"],
)
def test_stored_colours_come_back(
    row: Tensor | None, sample: Tensor | None, normalization: Normalization | None
) -> None:
    """Within 2 of 255, wherever the picture is."""
    shown = find(GIVEN, row, sample, normalization=normalization)
    assert float((shown - PICTURE).abs().max()) <= 2 / 255


def test_a_grey_scan_with_statistics_of_its_own_is_found_in_the_data_set() -> None:
    """Its z-score is a linear function of it."""
    scan = torch.rand(1, 8, 8)
    given = (scan - scan.mean()) / scan.std()
    assert torch.allclose(find(given, given, scan), scan.expand(3, -1, -1))


@pytest.mark.parametrize(
    "other",
    [PICTURE.flip(2), PICTURE.roll(1, dims=2), 1 - PICTURE, PICTURE[[2, 1, 0]], PICTURE[:, :4]],
    ids=["mirrored", "shifted", "inverted", "channels turned", "cut"],
)
def test_another_picture_is_not_shown(other: Tensor) -> None:
    """The map would lie on what the network did not see."""
    assert not is_made_of(GIVEN, other)
    with pytest.raises(ProbeError, match=r"in \[0, 1\] once the normalisation is undone"):
        find(GIVEN, other)


def test_a_normalisation_that_leaves_the_range_is_refused() -> None:
    """With the range that it left."""
    wrong = Normalization(mean=(0.5,) * 3, std=(3.0,) * 3)
    with pytest.raises(ProbeError, match="after undoing the Normalize found"):
        find(GIVEN, GIVEN, normalization=wrong)
    two = Normalization(mean=(0.5, 0.5), std=(0.5, 0.5))
    with pytest.raises(ProbeError, match="`normalization` to be of 3 channels"):
        find(GIVEN, GIVEN, normalization=two)


def test_what_a_picture_is() -> None:
    """Bytes, or numbers from 0 to 1, of one or three channels."""
    assert to_picture(None) is None
    assert to_picture(torch.zeros(4, 2, 2)) is None
    assert to_picture(torch.full((3, 2, 2), 1.5)) is None
    assert to_picture(torch.zeros(3, 2, 2, dtype=torch.int64)) is None
    found = to_picture(torch.full((1, 2, 2), 128, dtype=torch.uint8))
    assert found is not None
    assert torch.all(found == 128 / 255)


def test_a_users_picture_may_be_of_any_usual_kind() -> None:
    """An array with channels last, a grey one; what is neither bytes nor in [0, 1] is refused."""
    array = STORED.permute(1, 2, 0).numpy()
    assert torch.allclose(read_user_picture(array, 0), PICTURE)
    assert read_user_picture(PICTURE[0], 0).shape == (3, 8, 8)
    with pytest.raises(ProbeError, match=r"in \[0.00, 255.00\] for row 7"):
        read_user_picture(torch.tensor([0.0, 255.0]).expand(3, 2, 2), 7)


class Counting(torch.utils.data.Dataset[int]):
    """Counts how often it is read."""

    reads = 0

    def __getitem__(self, index: int) -> int:
        self.reads += 1
        if index == 9:
            raise OSError("gone")
        return 10 * index


def test_reading_leaves_nothing_behind_in_the_data_set() -> None:
    """It happens in another process, and a failure is no sample."""
    dataset, before = Counting(), torch.get_rng_state()
    assert read_apart(dataset, 4) == 40
    assert read_apart(dataset, 9) is None
    assert dataset.reads == 0
    assert torch.equal(before, torch.get_rng_state())

"""Which pictures the judge is shown."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vlmxai import ProbeError
from lightning_vlmxai.probes import Normalization
from lightning_vlmxai.probes.evidence import is_made_of, to_picture
from lightning_vlmxai.probes.normalizations import Found, Proposal
from lightning_vlmxai.probes.pictures import (
    Source,
    find_pictures,
    read_user_picture,
)

STORED = torch.randint(0, 256, (3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
PICTURE = STORED.float() / 255
NORMALIZATION = Normalization(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
OTHER = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)


def normalize(picture: Tensor, by: Normalization = NORMALIZATION) -> Tensor:
    """Return a picture as a network is given it."""
    mean, std = (torch.tensor(part)[:, None, None] for part in (by.mean, by.std))
    return (picture - mean) / std


GIVEN = normalize(PICTURE)


def find(
    given: Tensor,
    row: Tensor | None,
    sample: Tensor | None = None,
    *,
    found: list[tuple[Normalization, bool]] | None = None,
    asked: Normalization | None = None,
) -> Tensor:
    """Return the picture of the only row."""
    proposals = tuple(
        Proposal(normalization=normalization, place="a place", is_step=is_step)
        for normalization, is_step in found or []
    )
    shown = find_pictures(
        [Source(index=3, given=given, image=row)],
        asked=asked,
        found=Found(proposals=proposals),
        read_samples=lambda: [sample],
    )
    return shown[0].pixels


def line_in(error: pytest.ExceptionInfo[ProbeError]) -> dict[str, Any]:
    """Return the arguments that the message's last line gives, run as a user would paste it."""
    line = str(error.value).split("`")[-2]
    arguments: dict[str, Any] = eval(f"dict({line})")  # noqa: S307 - our own line
    return arguments


@pytest.mark.parametrize(
    ("row", "sample", "known"),
    [
        (PICTURE, None, {}),
        (STORED, None, {}),
        (GIVEN, None, {"asked": NORMALIZATION}),
        (GIVEN, None, {"found": [(OTHER, True), (NORMALIZATION, False)]}),
        (None, None, {"found": [(OTHER, False), (NORMALIZATION, False)]}),
        (GIVEN, STORED, {}),
        (None, PICTURE, {}),
    ],
    ids=["row", "bytes", "asked", "proven", "without a row", "data set", "row without a picture"],
)
def test_stored_colours_come_back(
    row: Tensor | None, sample: Tensor | None, known: dict[str, Any]
) -> None:
    """Within 2 of 255, wherever the picture is."""
    assert float((find(GIVEN, row, sample, **known) - PICTURE).abs().max()) <= 2 / 255


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_pixels_that_run_to_255_are_divided(scale: float) -> None:
    """As `v2.ToDtype` without `scale` leaves them, with and without a Normalize after it."""
    given = STORED.float()
    assert torch.allclose(find(given, given), PICTURE)
    given = normalize(STORED.float() * scale / 255)
    assert torch.allclose(find(given, given, found=[(NORMALIZATION, True)]), PICTURE, atol=1e-4)


def test_a_resized_picture_has_no_steps_and_needs_another_proof() -> None:
    """It goes from black to white, or its Normalize is one of the data set's own."""
    smooth = F.interpolate(PICTURE[None], (13, 13), mode="bilinear")[0]
    full = (smooth - smooth.amin(dim=(1, 2), keepdim=True)) / (
        smooth.amax(dim=(1, 2), keepdim=True) - smooth.amin(dim=(1, 2), keepdim=True)
    )
    given = normalize(full)
    both = [(NORMALIZATION, False), (Normalization(mean=(0.5,) * 3, std=(0.4,) * 3), False)]
    assert torch.allclose(find(given, given, found=both), full, atol=1e-5)
    narrow = 0.25 + 0.5 * full
    given = normalize(narrow)
    assert torch.allclose(find(given, given, found=[(NORMALIZATION, True)]), narrow, atol=1e-5)
    with pytest.raises(ProbeError, match=r"nothing proves which .*of a place") as told:
        find(given, given, found=[(NORMALIZATION, False)])
    asked = Normalization.of(line_in(told)["normalization"])
    assert torch.allclose(find(given, given, asked=asked), narrow, atol=1e-5)


def test_several_that_fit_and_differ_are_refused() -> None:
    """With a line for each; that both are steps of the data set does not say which was used."""
    narrow = 0.25 + 0.5 * F.interpolate(PICTURE[None], (13, 13), mode="bilinear")[0]
    close = Normalization(mean=(0.42, 0.5, 0.6), std=NORMALIZATION.std)
    with pytest.raises(
        ProbeError, match=r"nothing proves which .*of a place; .*of a place"
    ) as told:
        find(normalize(narrow), None, found=[(NORMALIZATION, True), (close, True)])
    assert line_in(told)["normalization"] == ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])


def test_one_of_two_steps_is_not_what_was_done() -> None:
    """Undoing the first of them stays in [0, 1], with colours of its own."""
    narrow = 0.25 + 0.5 * F.interpolate(PICTURE[None], (13, 13), mode="bilinear")[0]
    second = Normalization(mean=(0.1,) * 3, std=(1.0,) * 3)
    given = normalize(normalize(narrow, OTHER), second)
    assert to_picture(OTHER.undo(given)) is not None
    with pytest.raises(ProbeError, match="nothing proves which"):
        find(given, given, found=[(OTHER, True), (second, True)])


def test_what_lies_about_0_is_not_made_a_dark_picture() -> None:
    """Divided by 255 anything is in [0, 1]."""
    scan = torch.randn(3, 8, 8)
    with pytest.raises(ProbeError, match="no known mean"):
        find(scan, scan, found=[(NORMALIZATION, True)])


def test_a_stretched_row_gives_way_to_what_has_whole_steps() -> None:
    """A dim normalised row may lie in [0, 1] itself."""
    dim = (STORED.float() / 4).round() / 255 + 0.4
    normalization = Normalization(mean=(0.391,) * 3, std=(0.37,) * 3)
    given = normalize(dim, normalization)
    assert to_picture(given) is not None
    shown = find(given, given, found=[(normalization, False)])
    assert torch.allclose(shown, dim, atol=1e-5)


def test_all_rows_are_shown_alike() -> None:
    """One row that happens to lie in [0, 1] does not make pictures of normalised rows."""
    plain = torch.full((3, 8, 8), 0.6) + 0.3 * PICTURE
    rows = [normalize(plain, Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)), GIVEN]
    assert to_picture(rows[0]) is not None
    with pytest.raises(ProbeError):
        find_pictures([Source(index=i, given=row, image=row) for i, row in enumerate(rows)])


def test_a_grey_scan_with_statistics_of_its_own_is_found_in_the_data_set() -> None:
    """Its z-score is a linear function of it."""
    scan = torch.rand(1, 8, 8)
    given = (scan - scan.mean()) / scan.std()
    assert torch.allclose(find(given, given, scan), scan.expand(3, -1, -1))


@pytest.mark.parametrize(
    "other",
    [
        PICTURE.flip(2),
        PICTURE.roll(1, dims=2),
        1 - PICTURE,
        PICTURE[[2, 1, 0]],
        PICTURE[:, :4],
        torch.full((3, 8, 8), 0.5),
    ],
    ids=["mirrored", "shifted", "inverted", "channels turned", "cut", "of one value"],
)
def test_another_picture_is_not_shown(other: Tensor) -> None:
    """The map would lie on what the network did not see."""
    assert not is_made_of(GIVEN, other)
    with pytest.raises(ProbeError, match=r"in \[0, 1\] and what the network's input was made of"):
        find(GIVEN, other)


def test_an_input_that_was_blanked_is_made_of_no_picture() -> None:
    """One value tells nothing of the picture that is shown in its stead."""
    blank = torch.zeros(3, 8, 8)
    assert not is_made_of(blank, PICTURE)
    assert is_made_of(blank, torch.full((3, 8, 8), 0.25))


def test_a_normalisation_that_leaves_the_range_is_refused() -> None:
    """With the range that it left, and what would not."""
    with pytest.raises(ProbeError, match=r"got \[-?\d+.\d\d, \d+.\d\d\] in 3 channels once"):
        find(GIVEN, GIVEN, asked=Normalization(mean=(0.5,) * 3, std=(3.0,) * 3))
    two = Normalization(mean=(0.5, 0.5), std=(0.5, 0.5))
    with pytest.raises(ProbeError, match="`normalization` to be of 3 channels"):
        find(GIVEN, GIVEN, asked=two)
    unscaled = normalize(STORED.float())
    with pytest.raises(ProbeError, match="Pixels ran to 255: pass `normalization=") as told:
        find(unscaled, unscaled, asked=NORMALIZATION)
    asked = Normalization.of(line_in(told)["normalization"])
    assert torch.allclose(find(unscaled, unscaled, asked=asked), PICTURE, atol=1e-3)


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        (torch.rand(13, 8, 8) * 10_000, "/ "),
        (torch.randint(0, 255, (4, 8, 8)).byte(), "row[0][:3]"),
        (torch.randn(2, 8, 8), "[:1]"),
        (torch.rand(1, 8, 8) * 7.3 - 3.1, " + "),
        (torch.randint(0, 4096, (1, 8, 8)).to(torch.int32), "/ 4095"),
        (torch.randint(0, 60_000, (1, 8, 8)).to(torch.uint16), "/ 65535"),
        (torch.rand(3, 8, 8) * 254, "/ 255"),
        (torch.randn(3, 8, 8), "clamp(0, 1)"),
    ],
    ids=["13 bands", "RGBA", "2 bands", "z-score", "12 bits", "16 bits", "to 255", "colour"],
)
def test_what_is_no_picture_asks_for_one_with_a_line_that_works(image: Tensor, shown: str) -> None:
    """Made of the values that were seen; pasted, it shows a picture."""
    with pytest.raises(ProbeError, match="picture=lambda row") as told:
        find(image.float(), image)
    line = line_in(told)["picture"]
    assert shown in str(told.value).split("`")[-2]
    made = read_user_picture(line((image, 1)), 0)
    assert made.shape == (3, 8, 8)
    assert float(made.max() - made.min()) > 0.5


def test_without_a_row_of_its_size_the_line_undoes_the_input() -> None:
    """A cut of which nobody knows the place."""
    given = torch.randn(3, 8, 8)
    with pytest.raises(ProbeError, match="did not become by a resize or a cut") as told:
        find(given, torch.randn(3, 12, 12))
    asked = Normalization.of(line_in(told)["normalization"])
    assert is_made_of(given, find(given, None, asked=asked))
    bands = torch.randn(13, 8, 8)
    with pytest.raises(ProbeError, match="Resize and cut in the data set"):
        find(bands, torch.randn(13, 12, 12))


def test_what_a_picture_is() -> None:
    """Bytes, or numbers from 0 to 1, of one or three channels."""
    assert to_picture(None) is None
    assert to_picture(torch.zeros(4, 2, 2)) is None
    assert to_picture(torch.full((3, 2, 2), 1.5)) is None
    assert to_picture(torch.full((3, 2, 2), torch.nan)) is None
    assert to_picture(torch.zeros(3, 2, 2, dtype=torch.int64)) is None
    found = to_picture(torch.full((1, 2, 2), 128, dtype=torch.uint8))
    assert found is not None
    assert torch.all(found == 128 / 255)
    # A bicubic filter leaves the range beside an edge.
    edge = torch.full((1, 20, 20), 0.5)
    edge[0, 0, 0] = 1.1
    found = to_picture(edge)
    assert found is not None
    assert float(found.max()) == 1.0


def test_a_users_picture_may_be_of_any_usual_kind() -> None:
    """An array with channels last, a grey one; what is neither bytes nor in [0, 1] is refused."""
    array = STORED.permute(1, 2, 0).numpy()
    assert torch.allclose(read_user_picture(array, 0), PICTURE)
    assert read_user_picture(PICTURE[0], 0).shape == (3, 8, 8)
    with pytest.raises(ProbeError, match=r"in \[0.00, 255.00\] for row 7"):
        read_user_picture(torch.tensor([0.0, 255.0]).expand(3, 2, 2), 7)

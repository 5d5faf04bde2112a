"""What a sample, and a row of a batch, holds."""

from __future__ import annotations

import dataclasses
from collections import UserDict, namedtuple
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate
from torchvision import tv_tensors

from lightning_vlmxai import ProbeError
from lightning_vlmxai.probes import Item, unpack_dense, unpack_item
from lightning_vlmxai.probes.samples import batch_size, take_row

PICTURE, MASK = torch.zeros(3, 4, 4), torch.ones(4, 4)


@dataclasses.dataclass
class Record:
    """A sample with fields."""

    img: Tensor
    y: int


Pair = namedtuple("Pair", ["x", "target"])


@pytest.mark.parametrize(
    ("sample", "has_mask"),
    [
        ((PICTURE, 1), False),
        ((PICTURE, 1, MASK), True),
        ((PICTURE, 1, "cat.png"), False),
        ((PICTURE, 1, 1234), False),
        ((PICTURE, 1, "cat.png", MASK), True),
        ({"pixel_values": PICTURE, "labels": 1, "mask": MASK}, True),
        ({"img": PICTURE, "class": 1}, False),
        (UserDict({"image": PICTURE, "label": 1}), False),
        (Record(img=PICTURE, y=1), False),
        (Pair(x=PICTURE, target=1), False),
    ],
)
def test_common_shapes_are_understood(sample: Any, has_mask: bool) -> None:
    """A third entry is a mask only if it is one."""
    item = unpack_item(sample)
    assert item.image is PICTURE
    assert item.target == 1
    assert (item.reference_mask is MASK) == has_mask


def test_a_mask_is_the_target_of_a_dense_task() -> None:
    """And a reference mask of a classification."""
    assert unpack_dense({"image": PICTURE, "mask": MASK}).target is MASK
    assert unpack_dense({"image": PICTURE, "mask": MASK}).reference_mask is None
    with pytest.raises(ProbeError, match="a mapping with the keys"):
        unpack_item({"image": PICTURE, "mask": MASK})


def test_what_is_not_understood_is_shown_with_a_line_that_works() -> None:
    """Of the keys that were there."""
    sample = {"a": PICTURE, "b": 7}
    with pytest.raises(ProbeError, match=r"the keys \['a', 'b'\]") as told:
        unpack_item(sample)
    line = str(told.value).split("`unpack=")[-1].split("`")[0]
    item = eval(line, {"Item": Item})(sample)  # noqa: S307 - our own line
    assert item.image is PICTURE
    assert item.target == 7


@pytest.mark.parametrize(
    "sample",
    [
        (PICTURE, 1),
        (PICTURE, 1, "cat.png"),
        {"image": PICTURE, "label": 1, "meta": {"name": "a", "age": 2.5}},
        [PICTURE, {"y": torch.tensor([0.0, 1.0])}],
        Pair(x=PICTURE, target=1),
    ],
)
def test_taking_a_row_undoes_the_usual_collating(sample: Any) -> None:
    """Of a batch of three, each row is the sample again."""
    batch = default_collate([sample] * 3)
    assert batch_size(batch) == 3
    row = take_row(batch, 1, 3)

    def flat(thing: Any) -> list[Any]:
        if hasattr(thing, "_asdict"):
            thing = thing._asdict()
        if isinstance(thing, dict):
            return [leaf for value in thing.values() for leaf in flat(value)]
        if isinstance(thing, (list, tuple)):
            return [leaf for part in thing for leaf in flat(part)]
        return [thing.tolist() if isinstance(thing, Tensor) else thing]

    assert flat(row) == flat(sample)


def test_a_batch_without_a_tensor_has_no_size() -> None:
    """Nothing to slice."""
    assert batch_size(["a", "b"]) is None
    assert batch_size({"shared": torch.tensor(1.0)}) is None


@pytest.mark.parametrize(
    "sample",
    [
        (12, PICTURE, 7),
        (PICTURE, "cat.png", 7),
        (PICTURE, {"label": 7, "box": [1, 2]}),
        {"image": PICTURE, "label": "cat", "number": 7},
        {"scan": PICTURE.numpy(), "file": "a.png", "dx": 7},
    ],
)
def test_the_line_finds_image_and_label_by_what_they_are(sample: Any) -> None:
    """A name is no label, and a number no picture."""
    with pytest.raises(ProbeError, match="data set sample") as told:
        unpack_item(sample)
    line = str(told.value).split("`unpack=")[-1].split("`")[0]
    item = eval(line, {"Item": Item})(sample)  # noqa: S307 - our own line
    assert isinstance(item.image, Tensor)
    assert item.image.shape == (3, 4, 4)
    assert item.target == 7


@pytest.mark.parametrize(
    "image",
    [
        tv_tensors.Image(torch.arange(60).reshape(3, 4, 5).byte()),
        torch.arange(60).reshape(3, 4, 5).byte().permute(1, 2, 0).numpy(),
        torch.arange(60).reshape(3, 4, 5).byte().numpy(),
        Image.fromarray(torch.arange(60).reshape(3, 4, 5).byte().permute(1, 2, 0).numpy()),
    ],
    ids=["Image", "channels last", "channels first", "PIL"],
)
def test_pictures_of_any_usual_kind_are_plain_tensors(image: Any) -> None:
    """Channels first."""
    item = unpack_item((image, 1))
    assert type(item.image) is Tensor
    assert torch.equal(item.image, torch.arange(60).reshape(3, 4, 5).byte())


def test_a_palettes_numbers_are_colours_in_a_picture_and_labels_in_a_target() -> None:
    """As in PASCAL VOC's segmentations."""
    stored = Image.fromarray(torch.tensor([[0, 1], [1, 0]]).byte().numpy(), mode="L").convert("P")
    stored.putpalette([0, 0, 0, 128, 0, 0])
    item = Item(image=stored, target=stored)
    assert item.image is not None
    assert item.image.shape == (3, 2, 2)
    assert int(item.image.max()) == 128
    assert item.target.tolist() == [[0, 1], [1, 0]]

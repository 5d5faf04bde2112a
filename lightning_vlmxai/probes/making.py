"""Probes of the rows that were kept: their pictures and masks, read all together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..calls import Call
from ..errors import ProbeError, VLMExplainError, expected
from ..records import Probe, Seen
from .apart import read_apart
from .evidence import is_on_grid
from .normalizations import Found, Normalization
from .pictures import (
    Shown,
    Source,
    find_pictures,
    find_ways,
    read_user_picture,
)
from .reference_masks import MaskReading, understand, values_of
from .samples import Item, fields_of, paths_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is held of a row."""

    call: Call
    row: Any
    seen: Seen | None


def make_probes(
    kept: Mapping[int, Kept],
    *,
    unpack: Callable[[Any], Item],
    picture: Callable[[Any], Any] | None,
    normalization: Normalization | None,
    found: Found,
    mask_values: frozenset[float],
    dataset: Any,
) -> tuple[list[str], list[Probe]]:
    """Return what is doubtful about rows' pictures and masks, and the probes that they make.

    Args:
        kept: By index.
        unpack: Takes a row apart.
        picture: Makes a row's picture; found out if None.
        normalization: That was asked for.
        found: Those that lie about.
        mask_values: Of the masks of all rows, on all ranks.
        dataset: Whose samples have these indices; None if that is not known.

    Raises:
        ProbeError: If a picture or a mask can't be read; the message says what to pass.
    """
    if not kept:
        return [], []
    items = {index: unpack(one.row) for index, one in kept.items()}
    given = {index: one.call.images[0] for index, one in kept.items()}
    sources = [
        Source(
            index=index,
            given=given[index],
            image=items[index].image,
            access=paths_in(one.row).image,
        )
        for index, one in kept.items()
    ]
    doubts: list[str] = []
    if picture is not None:
        made = [read_user_picture(picture(one.row), index) for index, one in kept.items()]
        ways = find_ways(sources)
        pictures = [Shown(pixels=p, way=way) for p, way in zip(made, ways, strict=True)]
    else:
        pictures = find_pictures(
            sources,
            asked=normalization,
            found=found,
            read_samples=lambda: _read_samples(dataset, list(kept), unpack),
        )
        if found.stretches and not is_on_grid([one.pixels for one in pictures]):
            doubts.append(
                f"{', '.join(found.stretches)} gives each picture a range of its own, so that the "
                "colours that the judge sees are not those of the files; return the picture too, "
                'and pass `picture=lambda row: row["picture"]`'
            )
    shown = dict(zip(kept, pictures, strict=True))
    reading: MaskReading | None = None
    masks: dict[int, Tensor | None] = dict.fromkeys(kept)
    for index, one in kept.items():
        pixels = shown[index].pixels
        if pixels.shape[1:] != given[index].shape[1:]:
            raise ProbeError(
                expected(
                    "picture",
                    f"of the network's input's size {list(given[index].shape[1:])}",
                    list(pixels.shape[1:]),
                    "Give it the same geometric transforms",
                )
            )
        mask = items[index].reference_mask
        if mask is None:
            continue
        if reading is None:
            paths = paths_in(one.row)
            reading = understand(
                mask_values, access=paths.mask or "row[2]", line=paths.item_with_mask
            )
            doubts += filter(None, [reading.doubt])
        masks[index] = _lay(
            reading.read(mask), shown[index], items[index], one.row, is_own=picture is not None
        )
    return doubts, [
        Probe(
            index=index,
            call=one.call,
            pixels=shown[index].pixels,
            target=torch.as_tensor(items[index].target).detach().cpu().clone(),
            reference_mask=masks[index],
            seen=one.seen,
            file=items[index].file,
        )
        for index, one in kept.items()
    ]


def mask_values(items: Iterable[Item]) -> frozenset[float]:
    """Return the different values in the reference masks of rows."""
    masks = (item.reference_mask for item in items)
    return frozenset().union(*(values_of(mask) for mask in masks if mask is not None))


def _lay(mask: Tensor, shown: Shown, item: Item, row: Any, *, is_own: bool) -> Tensor:
    """Return a row's mask where it lies on the picture, `[H, W]` bool.

    Raises:
        ProbeError: If row and input differ in a way that is not known, or in size.
    """
    size = shown.pixels.shape[1:]
    has_image = item.image is not None and item.image.shape[1:] == mask.shape
    if shown.way is not None and has_image:
        mask = shown.way.bring(mask[None].float(), True)[0] > 0.5
    elif has_image and not is_own:
        raise ProbeError(
            expected(
                "reference_mask",
                "one that lies on what the network was given",
                f"that of a row whose image {list(mask.shape)} was changed on its way to the "
                f"network, in its input {list(size)}, by more than a resize or a cut in the middle",
                "Do it to picture and mask in the data set, or leave the masks out: "
                f"`unpack=lambda row: {paths_in(row).item}`",
            )
        )
    if mask.shape != size:
        raise ProbeError(
            expected(
                "reference_mask",
                f"of the image's size {list(size)}",
                list(mask.shape),
                "Give picture and mask the same geometric transforms",
            )
        )
    return mask


def _read_samples(
    dataset: Any, indices: Sequence[int], unpack: Callable[[Any], Item]
) -> list[Tensor | None]:
    """Return the images of a data set's own samples, read apart; none if there is no data set."""
    if dataset is None:
        return []
    images: list[Tensor | None] = []
    for sample in read_apart(dataset, indices):
        fields = fields_of(sample)
        try:
            row = sample if fields is None else dict(fields)
            images.append(None if sample is None else unpack(row).image)
        except (VLMExplainError, LookupError, TypeError, AttributeError):
            images.append(None)  # a sample is not what its row is
    return images

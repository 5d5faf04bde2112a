"""Probes of the rows that were kept: their pictures and masks, read all together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..calls import Call, TextCall
from ..errors import ProbeError, VLMExplainError, expected
from ..records import Probe, Seen
from .apart import read_apart
from .evidence import is_on_grid
from .normalizations import Found, Normalization
from .pictures import (
    Manner,
    Shown,
    Source,
    find_manner,
    find_ways,
    read_user_picture,
    show_again,
)
from .reference_masks import MaskReading, understand, values_of
from .samples import Item, fields_of, paths_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is held of a row: its call, and what the network was given, `[C, H, W]`, in that.

    `text` is the call that made its text's embedding, where another than `call` did.
    """

    call: Call
    given: Tensor
    row: Any
    seen: Seen | None
    text: TextCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How rows become probes, as was found out with the first.

    Args:
        manner: Where their pictures come from.
        masks: What the values of their masks mean; None where they had none.
        mask_values: Of which that was told.
    """

    manner: Manner
    masks: MaskReading | None
    mask_values: frozenset[float]


@dataclass(slots=True, kw_only=True)
class ProbeMaker:
    """Makes probes of rows: finds out how with the first, and does as much with further ones.

    Args:
        unpack: Takes a row apart.
        picture: Makes a row's picture; found out if None.
        normalization: That was asked for.
        found: Those that lie about.
        dataset: Whose samples have the rows' indices; None if that is not known.
        ways: As found out before; None before the first rows.
    """

    unpack: Callable[[Any], Item]
    picture: Callable[[Any], Any] | None
    normalization: Normalization | None
    found: Found
    dataset: Any
    ways: Ways | None = None

    def make(
        self, kept: Mapping[int, Kept], values: frozenset[float]
    ) -> tuple[list[str], list[Probe]]:
        """Return what is doubtful about rows' pictures and masks, and the probes that they make.

        Args:
            kept: By index.
            values: Of the masks of all rows, on all ranks.

        Raises:
            ProbeError: If a picture or a mask can't be read; the message says what to pass.
        """
        if not kept:
            return [], []
        items = {index: self.unpack(one.row) for index, one in kept.items()}
        sources = [
            Source(
                index=index,
                given=one.given,
                image=items[index].image,
                access=paths_in(one.row).image,
            )
            for index, one in kept.items()
        ]
        doubts: list[str] = []
        if self.picture is not None:
            picture = self.picture
            made = [read_user_picture(picture(one.row), index) for index, one in kept.items()]
            ways = find_ways(sources)
            pictures = [Shown(pixels=p, way=way) for p, way in zip(made, ways, strict=True)]
            manner = Manner()
        else:
            manner, pictures = find_manner(
                sources,
                asked=self.normalization,
                found=self.found,
                read_samples=lambda: _read_samples(self.dataset, list(kept), self.unpack),
            )
            if self.found.stretches and not is_on_grid([one.pixels for one in pictures]):
                doubts.append(
                    f"{', '.join(self.found.stretches)} gives each picture a range of its own, so "
                    "that the colours that the judge sees are not those of the files; return the "
                    'picture too, and pass `picture=lambda row: row["picture"]`'
                )
        first = next((n for n, item in items.items() if item.reference_mask is not None), None)
        reading: MaskReading | None = None
        if first is not None:
            paths = paths_in(kept[first].row)
            reading = understand(values, access=paths.mask or "row[2]", line=paths.item_with_mask)
            doubts += filter(None, [reading.doubt])
        self.ways = Ways(manner=manner, masks=reading, mask_values=values)
        return doubts, self._join(kept, items, sources, pictures)

    def make_more(self, kept: Mapping[int, Kept]) -> list[Probe]:
        """Return the probes of further rows, made as those before.

        Raises:
            ProbeError: If a row can't be read so.
        """
        assert self.ways is not None  # noqa: S101 - rows were made before
        items = {index: self.unpack(one.row) for index, one in kept.items()}
        sources = [
            Source(index=index, given=one.given, image=items[index].image)
            for index, one in kept.items()
        ]
        pictures = None
        if self.picture is None:
            has_masks = any(item.reference_mask is not None for item in items.values())
            pictures = show_again(self.ways.manner, sources, has_masks=has_masks)
        values = mask_values(items.values())
        if pictures is None or not values <= self.ways.mask_values:
            before, known = self.ways, values | self.ways.mask_values
            probes = self.make(kept, known)[1]
            if before.masks not in (None, self.ways.masks):
                index = next(n for n, i in items.items() if mask_values([i]) - before.mask_values)
                raise ProbeError(
                    expected(
                        "reference_mask",
                        "one whose values mean the same in all rows",
                        f"values in row {index} that say otherwise than those before",
                        "Say which are on the object, such as `unpack=lambda row: "
                        f"{paths_in(kept[index].row).item_with_mask.format('row[2] > 0')}`",
                    )
                )
            return probes
        return self._join(kept, items, sources, pictures)

    def _join(
        self,
        kept: Mapping[int, Kept],
        items: Mapping[int, Item],
        sources: Sequence[Source],
        pictures: Sequence[Shown],
    ) -> list[Probe]:
        assert self.ways is not None  # noqa: S101 - set by its callers
        probes = []
        for (index, one), source, shown in zip(kept.items(), sources, pictures, strict=True):
            if shown.pixels.shape[1:] != source.given.shape[1:]:
                raise ProbeError(
                    expected(
                        "picture",
                        f"of the network's input's size {list(source.given.shape[1:])}",
                        list(shown.pixels.shape[1:]),
                        "Give it the same geometric transforms",
                    )
                )
            item, mask = items[index], None
            if item.reference_mask is not None and self.ways.masks is not None:
                read = self.ways.masks.read(item.reference_mask)
                mask = _lay(read, shown, item, one.row, is_own=self.picture is not None)
            probes.append(
                Probe(
                    index=index,
                    call=one.call,
                    pixels=shown.pixels,
                    target=_target_of(item),
                    reference_mask=mask,
                    seen=one.seen,
                    file=item.file,
                    caption=item.caption,
                    text=one.text,
                )
            )
        return probes


def _target_of(item: Item) -> Tensor | None:
    return None if item.target is None else torch.as_tensor(item.target).detach().cpu().clone()


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

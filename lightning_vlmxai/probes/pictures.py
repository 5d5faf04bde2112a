"""Which pictures the judge is shown: those that the network's inputs were demonstrably made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from ..errors import ProbeError, expected
from .evidence import is_on_grid, to_picture, to_pictures
from .geometry import Way, find_way
from .normalizations import Chosen, Found, Normalization, choose_normalizations
from .picture_lines import normalization_line, picture_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where one row's picture may come from.

    Args:
        index: Of the row, for messages.
        given: What the network was given, `[C, H, W]`.
        image: The image in the batch's row, `[C, H, W]`, picture or not; None if there is none.
        access: How that is reached in the row, as code; None if it can't be said.
    """

    index: int
    given: Tensor
    image: Tensor | None
    access: str | None = "row[0]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The picture of a row.

    Args:
        pixels: `[3, H, W]` float32 in [0, 1], of the input's size.
        way: How the row's own image became the input but for its values, which goes for the row's
            mask too; None if that is not known.
    """

    pixels: Tensor
    way: Way | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """Where the pictures of rows come from; by default the data set's own samples.

    Args:
        are_rows: The rows of the batch are pictures.
        normalization: What is undone of the network's input, where that is where they come from.
    """

    are_rows: bool = False
    normalization: Normalization | None = None

    def undo(self, given: Sequence[Tensor]) -> list[Tensor] | None:
        """Return pictures of network inputs; None if they are none, or come from elsewhere."""
        if self.normalization is None or len({image.shape for image in given}) > 1:
            return None
        pictures = to_pictures(self.normalization.undo(torch.stack(list(given))))
        return None if pictures is None else list(pictures)


def find_pictures(
    sources: Sequence[Source],
    *,
    asked: Normalization | None = None,
    found: Found | None = None,
    read_samples: Callable[[], Sequence[Tensor | None]] = tuple,
) -> list[Shown]:
    """Return the picture of each row, all from one place.

    In this order: the rows, if they are pictures; what the network was given, its normalisation
    undone; the data set's own samples, if they are pictures. A row or sample counts only if the
    network's input is a linear function of it, channel by channel, if need be after a resize or a
    cut in the middle; a normalisation only if it is asked for or the pixels prove it. What gives
    whole 255ths goes before what does not.

    Args:
        sources: Of all rows.
        asked: The normalisation that was asked for.
        found: Those that lie about.
        read_samples: Reads the data set's own samples of these rows; shorter if it can't.

    Raises:
        ProbeError: If there is no such place; the message says what to pass.
    """
    return find_manner(sources, asked=asked, found=found, read_samples=read_samples)[1]


def find_manner(
    sources: Sequence[Source],
    *,
    asked: Normalization | None = None,
    found: Found | None = None,
    read_samples: Callable[[], Sequence[Tensor | None]] = tuple,
) -> tuple[Manner, list[Shown]]:
    """Return where the pictures of rows come from, and the pictures; see `find_pictures`."""
    found = found or Found()
    given = [source.given for source in sources]
    ways = find_ways(sources)
    rows = _bring(given, [source.image for source in sources])
    if rows is not None and is_on_grid(rows):
        return Manner(are_rows=True), _shown(rows, ways)
    if asked is not None:
        undone = None if rows is not None else _undo_asked(asked, sources)
        chosen: list[Chosen] = []
    else:
        chosen = choose_normalizations(given, found.proposals)
        least = 3 if rows is not None else 1
        proven = [one for one in chosen if one.proof >= least]
        undone = _undo(proven[0].normalization, given) if len(proven) == 1 else None
    pictures, manner = undone, Manner(normalization=asked)
    if undone is not None and asked is None:
        manner = Manner(normalization=proven[0].normalization)
    if pictures is None:
        pictures, manner = rows, Manner(are_rows=True)
    if pictures is None:
        manner = Manner()
        samples = list(read_samples())
        if len(samples) == len(sources):
            pictures = _bring(given, samples)
    if pictures is None:
        _refuse(sources, [one for one in chosen if one.place], found)
    return manner, _shown(pictures, ways)


def show_again(manner: Manner, sources: Sequence[Source], *, has_masks: bool) -> list[Shown] | None:
    """Return the pictures of further rows, from where those before came from; None if they don't.

    That the network's inputs were made of them is looked at for the first row, that they are
    pictures for each.

    Args:
        manner: Of rows before.
        sources: Of these rows, at least one.
        has_masks: The way from a row's image to the input is needed, and looked for.
    """
    are_alike = len({None if s.image is None else s.image.shape for s in sources}) == 1
    is_needed = are_alike and (manner.are_rows or has_masks)
    way = _way(sources[0].given, sources[0].image) if is_needed else None
    if not manner.are_rows:
        undone = manner.undo([source.given for source in sources])
        return None if undone is None else _shown(undone, [way] * len(undone))
    pictures = [to_picture(source.image) for source in sources]
    shape = None if pictures[0] is None else pictures[0].shape
    if way is None or any(one is None or one.shape != shape for one in pictures):
        return None
    brought = [way.bring(one, False).clamp(0, 1) for one in pictures if one is not None]
    return _shown(brought, [way] * len(brought))


def find_ways(sources: Sequence[Source]) -> list[Way | None]:
    """Return how each row's own image became the input but for its values, where that is known."""
    ways: list[Way | None] = []
    is_hopeless = False
    for source in sources:
        image, last = source.image, ways[-1] if ways else None
        is_like = image is not None and image.shape == source.given.shape
        way = None if is_hopeless and not is_like else _way(source.given, image, likely=last)
        # A search costs a quarter of a second: where one row's was in vain, others' would be.
        is_hopeless = is_hopeless or (way is None and not is_like)
        ways.append(way)
    return ways


def read_user_picture(made: Any, index: int) -> Tensor:
    """Return what a user's `picture` function made, `[3, H, W]` float32 in [0, 1].

    Raises:
        ProbeError: If it is no picture.
    """
    image = made if isinstance(made, Tensor) else torch.from_numpy(np.array(made))
    if image.ndim == 2:
        image = image[None]
    if image.ndim == 3 and image.shape[0] not in (1, 3) and image.shape[-1] in (1, 3):
        image = image.permute(2, 0, 1)
    picture = to_picture(image.detach().cpu())
    if picture is None:
        low, high = float(image.min()), float(image.max())
        raise ProbeError(
            expected(
                "picture",
                "a function to a picture [3, H, W], uint8 or in [0, 1]",
                f"{image.dtype} {list(image.shape)} in [{low:.2f}, {high:.2f}] for row {index}",
                "Divide by the largest value that there can be",
            )
        )
    return in_colour(picture)


def read_picture(image: Tensor) -> Tensor | None:
    """Return an image that is a picture, `[3, H, W]` float32 in [0, 1]; None if it is none.

    Args:
        image: `[C, H, W]` or `[H, W]`.
    """
    picture = to_picture(image[None] if image.ndim == 2 else image)
    return None if picture is None else in_colour(picture)


def in_colour(picture: Tensor) -> Tensor:
    """Return a picture of one or three channels as three, `[3, H, W]`."""
    return picture.expand(3, -1, -1).contiguous()


def _way(given: Tensor, image: Tensor | None, *, likely: Way | None = None) -> Way | None:
    if image is None or image.ndim != 3:
        return None
    return find_way(given, image.float(), likely=likely)


def _bring(given: Sequence[Tensor], images: Sequence[Tensor | None]) -> list[Tensor] | None:
    """Return images as pictures of the inputs' sizes; None unless each is one of a known way."""
    made: list[Tensor] = []
    way: Way | None = None
    for one, image in zip(given, images, strict=True):
        picture = to_picture(image)
        way = None if picture is None else find_way(one, picture, likely=way)
        if picture is None or way is None:
            return None
        made.append(way.bring(picture, False).clamp(0, 1))
    return made


def _shown(pictures: Sequence[Tensor], ways: Sequence[Way | None]) -> list[Shown]:
    return [
        Shown(pixels=in_colour(picture), way=way)
        for picture, way in zip(pictures, ways, strict=True)
    ]


def _undo(normalization: Normalization, given: Sequence[Tensor]) -> list[Tensor]:
    undone = [to_picture(normalization.undo(image)) for image in given]
    return [picture for picture in undone if picture is not None]


def _undo_asked(asked: Normalization, sources: Sequence[Source]) -> list[Tensor]:
    """Return what the network was given, the normalisation that was asked for undone.

    Raises:
        ProbeError: If that has other channels, or gives no pictures.
    """
    channels = sources[0].given.shape[0]
    if len(asked.mean) not in (1, channels) or len(asked.std) not in (1, channels):
        raise ProbeError(
            expected(
                "normalization",
                f"of {channels} channels like the image",
                f"{len(asked.mean)} means and {len(asked.std)} standard deviations",
                "Pass `normalization=(mean, std)` with one entry a channel",
            )
        )
    given = [source.given for source in sources]
    pictures = _undo(asked, given)
    if len(pictures) == len(given) and channels in (1, 3):
        return pictures
    low, high = _range_of([asked.undo(image) for image in given])
    smaller = asked.over(255.0)
    fits = channels in (1, 3) and len(_undo(smaller, given)) == len(given)
    raise ProbeError(
        expected(
            "normalization",
            "what the network's input was made with, so that undoing it gives pixels in [0, 1]",
            f"[{low:.2f}, {high:.2f}] in {channels} channels once it is undone",
            f"Pixels ran to 255: pass `{smaller}`" if fits else _what_to_pass(sources),
        )
    )


def _range_of(images: Sequence[Tensor]) -> tuple[float, float]:
    return min(float(i.min()) for i in images), max(float(i.max()) for i in images)


def _refuse(sources: Sequence[Source], chosen: Sequence[Chosen], found: Found) -> NoReturn:
    given = [source.given for source in sources]
    low, high = _range_of(given)
    got = f"inputs of {given[0].shape[0]} channels in [{low:.2f}, {high:.2f}]"
    image = sources[0].image
    if image is not None and _way(given[0], image) is None:
        got += f" that the batch's image {list(image.shape)} did not become by a resize or a cut"
    if found.stretches:
        got += f", each picture by statistics of its own ({', '.join(found.stretches)})"
    if chosen:
        places = "; ".join(f"{one.normalization} of {one.place}" for one in chosen)
        got += f"; nothing proves which they were made with ({places})"
        remedy = f"Pass the right one, such as `{chosen[0].normalization}`"
    else:
        got += ", and no known mean and standard deviation that makes pictures of them"
        remedy = _what_to_pass(sources)
    raise ProbeError(
        expected("picture", "in [0, 1] and what the network's input was made of", got, remedy)
    )


def _what_to_pass(sources: Sequence[Source]) -> str:
    """Return what shows pictures, with a line that works for the values that were seen."""
    first = sources[0]
    images = [source.image for source in sources if source.image is not None]
    has_size = all(s.image is not None and s.image.shape[1:] == s.given.shape[1:] for s in sources)
    if first.access is not None and has_size:
        line = picture_line(first.access, images)
        return (
            "Pass `normalization=(mean, std)` as they are used, or a function from a row to what "
            f"the judge shall see: for the values here, `{line}`"
        )
    given = [source.given for source in sources]
    if given[0].shape[0] in (1, 3):
        return (
            "Pass `normalization=(mean, std)` as they are used; to see the lowest value black and "
            f"the highest white, `{normalization_line(given)}`"
        )
    return (
        "Resize and cut in the data set, so that row and input have one size, and pass "
        f"`{picture_line(first.access or 'row[0]', given)}`"
    )

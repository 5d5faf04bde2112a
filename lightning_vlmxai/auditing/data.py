"""A source's pictures as rows for a loader, with labels and masks where the model sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from ..errors import ConfigurationError, expected
from .presets import Preset
from .sources import VOID, Mask, Source


class BadPicture(NamedTuple):
    """A picture that gives no row.

    Args:
        sample: Its index in the source.
        file: Where it lies.
        why: What went wrong.
        is_unreadable: Its file can't be decoded, so that it may be skipped; else its mask doesn't
            fit, which is never skipped.
    """

    sample: int
    file: str
    why: str
    is_unreadable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The pictures of a source that are audited.

    Args:
        indices: In the source.
        labels: The class of each, in the source's numbers; None where there are no labels.
        left_out: How many pictures hold no class that the model is asked about.
    """

    indices: tuple[int, ...]
    labels: tuple[int | None, ...]
    left_out: int = 0


def choose_rows(source: Source, targets: Sequence[int | None], limit: int | None) -> Chosen:
    """Return the pictures that are audited, evenly spread over the source.

    Args:
        source: Of pictures.
        targets: The output that each class of the source is; None for one that is left out.
        limit: The most; all if None.

    Raises:
        ConfigurationError: If there is none.
    """
    indices = list(range(len(source)))
    if limit is not None and limit < len(indices):
        indices = np.linspace(0, len(indices) - 1, limit).round().astype(int).tolist()
    if not source.has_labels:
        return Chosen(indices=tuple(indices), labels=(None,) * len(indices))
    kept, labels = [], []
    for index in indices:
        try:
            known = [label for label in source.labels(index) if targets[label] is not None]
        except OSError as error:  # of a label map
            raise ConfigurationError(
                expected("data", "of masks that can be read", error, "Replace the file")
            ) from None
        if known:
            kept.append(index)
            labels.append(known[0])
    if not kept:
        raise ConfigurationError(
            expected(
                "data",
                "of pictures that hold a class of the model",
                f"{len(indices)} without",
                "Look at --labels, or pass other data",
            )
        )
    return Chosen(indices=tuple(kept), labels=tuple(labels), left_out=len(indices) - len(kept))


class AuditRows(Dataset[Any]):
    """Rows of an audit: the model's input, its target, the object's mask, file and index.

    A row is a mapping of `image` `[3, H, W]`; `target`, a class or a map of classes `[H, W]`, if
    there are labels; `reference_mask` `[H, W]` bool, if there are masks; `file`; and `index`, which
    is the picture's in the source. A picture that can't be read gives a `BadPicture` instead.

    Args:
        source: Of pictures.
        chosen: Which of them.
        targets: The output of the model that each class of the source is.
        preset: How they become inputs.
        dense: The target is a map.
    """

    def __init__(
        self,
        source: Source,
        chosen: Chosen,
        targets: Sequence[int | None],
        preset: Preset,
        *,
        dense: bool,
    ) -> None:
        self.source, self.chosen, self.preset = source, chosen, preset
        self._targets, self._dense = tuple(targets), dense

    def __len__(self) -> int:
        return len(self.chosen.indices)

    def __getitem__(self, place: int) -> dict[str, Any] | BadPicture:
        index = self.chosen.indices[place]
        file = self.source.file(index)
        try:
            with Image.open(file) as opened:
                picture = opened.convert("RGB")
            found = self._read_masks(place)
        except ConfigurationError as error:
            return BadPicture(sample=index, file=str(file), why=str(error), is_unreadable=False)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise what they like
            what = f"{type(error).__name__}: {error}"
            return BadPicture(sample=index, file=str(file), why=what)
        for mask in found.values():
            if mask.shape != (picture.height, picture.width):
                why = (
                    f"the picture has {picture.width} x {picture.height} pixels, its mask "
                    f"{mask.shape[1]} x {mask.shape[0]}"
                )
                return BadPicture(sample=index, file=str(file), why=why, is_unreadable=False)
        row: dict[str, Any] = {"image": self.preset(picture), "file": str(file), "index": index}
        placed = {name: self.preset.place_mask(mask) for name, mask in found.items()}
        label = self.chosen.labels[place]
        if "target" in placed:
            row["target"] = placed["target"].long()
        elif label is not None:
            row["target"] = self._targets[label]
        if "reference_mask" in placed:
            row["reference_mask"] = placed["reference_mask"]
        return row

    def _read_masks(self, place: int) -> dict[str, Mask]:
        index, label = self.chosen.indices[place], self.chosen.labels[place]
        if self._dense:
            target = self._to_outputs(self.source.label_map(index))
            areas = np.bincount(target.ravel(), minlength=256)
            areas[[0, VOID]] = 0
            return {"target": target, "reference_mask": (target == areas.argmax()) & areas.any()}
        if not self.source.has_masks:
            return {}
        return {"reference_mask": self.source.mask(index, -1 if label is None else label)}

    def _to_outputs(self, classes: Mask) -> Mask:
        """Return a label map in the model's numbers; classes that are left out are background."""
        if self.source.numbers_outputs:
            return classes.astype(np.uint8)
        table = np.zeros(256, np.uint8)
        table[VOID] = VOID
        for label, target in enumerate(self._targets):
            table[label + 1] = target or 0
        return np.asarray(table[classes])


@dataclass(frozen=True, slots=True, kw_only=True)
class Collate:
    """Makes a batch of rows: bad pictures go along as `bad`, and take no place.

    Args:
        empty: Height and width of the inputs, of a batch in which all pictures are bad.
    """

    empty: tuple[int, int] = (1, 1)

    def __call__(self, rows: Sequence[dict[str, Any] | BadPicture]) -> dict[str, Any]:
        """Return a batch of the good rows.

        Raises:
            ConfigurationError: If their sizes differ.
        """
        good = [row for row in rows if not isinstance(row, BadPicture)]
        bad = [row for row in rows if isinstance(row, BadPicture)]
        sizes = {tuple(row["image"].shape) for row in good}
        if len(sizes) > 1:
            raise ConfigurationError(
                expected(
                    "batch_size",
                    "1, as the pictures have different sizes",
                    len(rows),
                    "Pass --batch-size 1, or --crop SIDE",
                )
            )
        if not good:
            return {"image": torch.zeros(0, 3, *self.empty), "file": [], "bad": bad}
        batch: Mapping[str, Any] = default_collate(good)
        return {**batch, "bad": bad}


def input_size(preset: Preset) -> tuple[int, int]:
    """Return height and width of the inputs; 1 by 1 where each has its own."""
    size = preset.crop if preset.crop is not None else preset.resize
    if not preset.fixed_size or size is None:
        return (1, 1)
    return (size, size) if isinstance(size, int) else size


def first_input(source: Source, preset: Preset, tries: int = 32) -> Tensor | None:
    """Return the input of a readable picture, `[1, 3, H, W]`; None if the first ones aren't."""
    for index in range(min(tries, len(source))):
        with suppress(Exception), Image.open(source.file(index)) as opened:
            return preset(opened.convert("RGB"))[None]
    return None

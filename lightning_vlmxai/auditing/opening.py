"""Data sets by what they are called on a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigurationError, expected
from .coco import CocoSource
from .sources import FolderSource, PetsSource, Source, VOCSource

_PETS, _VOC, _COCO = "oxford-iiit-pet", "voc", "coco"


def open_source(
    given: str,
    *,
    masks: Path | None = None,
    mask_values: Sequence[float] | None = None,
    split: str | None = None,
    dense: bool = False,
) -> Source | None:
    """Return the pictures of a data set on the disk; None if the name is that of a data module.

    Args:
        given: A folder, `oxford-iiit-pet:ROOT` or `oxford-iiit-pet:ROOT:species`, `voc:ROOT`,
            `coco:IMAGES:ANNOTATIONS`, or a dotted path.
        masks: Of a folder, parallel to it.
        mask_values: On the object, in these.
        split: Of a data set that has several.
        dense: A segmentation model is audited.

    Raises:
        ConfigurationError: If there is no such data.
    """
    kind, _, rest = given.partition(":")
    if kind not in (_PETS, _VOC, _COCO):
        if not Path(given).exists() and re.fullmatch(r"[A-Za-z_]\w*([.:][A-Za-z_]\w*)+", given):
            _refuse_masks(masks, given)
            return None
        _refuse_split(split, given)
        return FolderSource(Path(given), masks, mask_values, dense=dense)
    _refuse_masks(masks, given)
    if kind == _COCO:
        _refuse_split(split, given)
        images, _, annotations = rest.rpartition(":")
        if not images:
            raise _refuse("coco:IMAGES:ANNOTATIONS", given)
        return CocoSource(Path(images), Path(annotations))
    if not rest:
        raise _refuse(f"{kind}:ROOT", given)
    if kind == _VOC:
        return VOCSource(Path(rest), _one_of(split or "val", ("train", "val", "trainval")))
    root, _, by = rest.rpartition(":")
    if by not in ("breed", "species") or not root:
        root, by = rest, "breed"
    return PetsSource(Path(root), _one_of(split or "test", ("trainval", "test")), by)


def _one_of(split: str, names: Sequence[str]) -> str:
    if split not in names:
        remedy = f"Pass --split {names[-1]}"
        raise ConfigurationError(expected("split", " or ".join(names), repr(split), remedy))
    return split


def _refuse_split(split: str | None, given: str) -> None:
    if split is not None:
        remedy = "Leave --split out, and pass the part of the data that is meant"
        raise ConfigurationError(
            expected("split", f"of {_PETS}:ROOT or {_VOC}:ROOT", f"{split!r} for {given}", remedy)
        )


def _refuse_masks(masks: Path | None, given: str) -> None:
    if masks is not None:
        raise ConfigurationError(
            expected("masks", "parallel to a folder of pictures", f"{masks} for {given}",
                     "Leave --masks out: this data has its own")
        )  # fmt: skip


def _refuse(rule: str, given: str) -> ConfigurationError:
    return ConfigurationError(expected("data", rule, repr(given), f"Pass --data {rule}"))

"""COCO's instances: pictures in a folder, objects in a JSON file."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets import CocoDetection

from ..errors import ConfigurationError, expected
from .sources import VOID, Mask


class CocoSource:
    """COCO's instances, read by torchvision and pycocotools.

    Args:
        images: Folder of the pictures.
        annotations: The JSON file, such as `instances_val2017.json`.

    Raises:
        ConfigurationError: If pycocotools is missing, or the file isn't one of instances.
    """

    has_masks = has_labels = has_maps = True
    numbers_outputs = False

    def __init__(self, images: Path, annotations: Path) -> None:
        try:
            import pycocotools.coco  # noqa: F401
        except ImportError:
            raise ConfigurationError(
                expected(
                    "data",
                    "readable: COCO's masks take pycocotools",
                    "an environment without it",
                    'Install it: pip install "lightning-vlmxai[coco]"',
                )
            ) from None
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it tells of its progress
                read = CocoDetection(str(images), str(annotations))
            self._coco, self._ids = read.coco, read.ids
            categories = sorted(read.coco.cats.values(), key=lambda one: one["id"])
            self._places = {one["id"]: place for place, one in enumerate(categories)}
            self.classes = tuple(str(one["name"]) for one in categories)
            files = [read.coco.imgs[one]["file_name"] for one in self._ids]
        except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
            raise _refuse(f"{annotations} ({type(error).__name__}: {error})") from None
        if not self.classes or not any("segmentation" in a for a in read.coco.anns.values()):
            raise _refuse(f"{annotations}, without categories or without segmentations")
        self._files: list[Path] = [images / name for name in files]
        lacking = [file for file in self._files if not file.is_file()]
        if lacking:
            raise _refuse(
                f"{images}, without {len(lacking)} of its {len(files)} pictures ({lacking[0].name}"
                f"{', ...' if len(lacking) > 1 else ''})"
            )

    def __len__(self) -> int:
        return len(self._files)

    def file(self, index: int) -> Path:
        """Return where a picture lies."""
        return self._files[index]

    def labels(self, index: int) -> Sequence[int]:
        """Return the categories in a picture, the largest sum of annotated areas first."""
        areas: dict[int, float] = {}
        for one in self._objects(index):
            place = self._places[one["category_id"]]
            areas[place] = areas.get(place, 0.0) + float(one["area"])
        return sorted(areas, key=lambda place: (-areas[place], place))

    def mask(self, index: int, label: int) -> Mask:
        """Return where objects and crowds of a category are, `[h, w]` bool."""
        return self._draw(index, label)

    def label_map(self, index: int) -> Mask:
        """Return the class of each pixel plus one; where classes overlap, void."""
        found: Mask | None = None
        for label in self.labels(index):
            mask = self._draw(index, label)
            found = np.zeros(mask.shape, np.uint8) if found is None else found
            found = np.where(mask, np.where(found > 0, VOID, label + 1), found).astype(np.uint8)
        if found is None:
            size = self._coco.imgs[self._ids[index]]
            found = np.zeros((size["height"], size["width"]), np.uint8)
        return found

    def _draw(self, index: int, label: int) -> Mask:
        masks: list[Mask] = [
            self._coco.annToMask(one).astype(bool)
            for one in self._objects(index)
            if self._places[one["category_id"]] == label
        ]
        drawn: Mask = np.logical_or.reduce(masks)
        return drawn

    def _objects(self, index: int) -> list[dict[str, Any]]:
        objects: list[dict[str, Any]] = self._coco.imgToAnns.get(self._ids[index], [])
        return [one for one in objects if one.get("segmentation")]


def _refuse(got: str) -> ConfigurationError:
    return ConfigurationError(
        expected(
            "data",
            "coco:IMAGES:ANNOTATIONS, a folder of pictures and their instances_*.json",
            got,
            "Pass --data coco:val2017:annotations/instances_val2017.json",
        )
    )

"""Small data sets on a disk, in the layouts that people have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

VOC_CAT, VOC_DOG = 8, 12
BREEDS = {"Abyssinian": (1, 1), "beagle": (2, 2), "american_bulldog": (3, 2)}
"""Breed and species as the annotations number them; cats have capitals."""


def draw(seed: int, width: int = 40, height: int = 32) -> tuple[Image.Image, np.ndarray[Any, Any]]:
    """Return a noisy picture with a bright square, and where that is, `[h, w]` bool."""
    drawn = np.random.default_rng(seed)
    pixels = drawn.integers(60, 120, (height, width, 3), dtype=np.uint8)
    top, left = drawn.integers(0, height - 12), drawn.integers(0, width - 12)
    mask = np.zeros((height, width), bool)
    mask[top : top + 12, left : left + 12] = True
    pixels[mask] = (230, 40, 40) if seed % 2 == 0 else (40, 40, 230)
    return Image.fromarray(pixels), mask


def save(picture: Image.Image | np.ndarray[Any, Any], path: Path) -> None:
    """Write a picture, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path)


def write_folder(
    root: Path, count: int = 4, classes: tuple[str, ...] = ("red", "blue"), on: int = 255
) -> tuple[Path, Path]:
    """Write a folder a class, and masks in a parallel folder; return both."""
    for place, name in enumerate(classes):
        for i in range(count):
            picture, mask = draw(2 * i + place % 2)
            save(picture, root / "pictures" / name / f"{i}.png")
            save((mask * on).astype(np.uint8), root / "masks" / name / f"{i}.png")
    return root / "pictures", root / "masks"


def write_pets(root: Path, each: int = 2) -> Path:
    """Write an Oxford-IIIT Pet data set of three breeds."""
    base, lines = root / "oxford-iiit-pet", []
    for name, (breed, species) in BREEDS.items():
        for i in range(each):
            picture, mask = draw(10 * breed + i)
            trimap = np.where(mask, 1, 2).astype(np.uint8)
            trimap[0] = 3
            save(picture, base / "images" / f"{name}_{i}.jpg")
            save(trimap, base / "annotations" / "trimaps" / f"{name}_{i}.png")
            lines.append(f"{name}_{i} {breed} {species} 1")
    for split in ("trainval", "test"):
        (base / "annotations" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def write_voc(root: Path, count: int = 3) -> Path:
    """Write a PASCAL VOC 2012 of cats, each with a smaller dog and void around it."""
    base = root / "VOCdevkit" / "VOC2012"
    for i in range(count):
        picture, mask = draw(i)
        labels = np.where(mask, VOC_CAT, 0).astype(np.uint8)
        labels[-2:, -4:] = VOC_DOG
        labels[0, :3] = 255
        image = Image.fromarray(labels, mode="P")
        image.putpalette([c for n in range(256) for c in (n, 255 - n, n)])
        save(picture, base / "JPEGImages" / f"2007_{i:06}.jpg")
        save(image, base / "SegmentationClass" / f"2007_{i:06}.png")
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"2007_{i:06}\n" for i in range(count)))
    return root


def write_coco(root: Path, count: int = 3) -> tuple[Path, Path]:
    """Write pictures and `instances.json`: a cat each, a smaller dog, one without objects."""
    images, annotations = [], []
    for i in range(count + 1):
        picture, mask = draw(i)
        save(picture, root / "images" / f"{i:012}.jpg")
        images.append({"id": 100 + i, "file_name": f"{i:012}.jpg", "width": 40, "height": 32})
        if i == count:
            continue
        rows, columns = np.where(mask)
        top, left = int(rows.min()), int(columns.min())
        for number, (category, x, y, side) in enumerate(((17, left, top, 12), (18, 0, 0, 6))):
            corners = [x, y, x + side, y, x + side, y + side, x, y + side]
            annotations.append(
                {
                    "id": 10 * i + number + 1,
                    "image_id": 100 + i,
                    "category_id": category,
                    "segmentation": [corners],
                    "area": side * side,
                    "bbox": [x, y, side, side],
                    "iscrowd": 0,
                }
            )
    path = root / "instances.json"
    categories = [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return root / "images", path

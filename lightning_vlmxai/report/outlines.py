"""Reference masks as outlines that a page draws over its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .pictures import is_picture
from .run import RunSample

MAX_CHARACTERS = 2_000_000
"""Of outlines in one page."""
SIDE = 128
"""Longest side at which a mask is traced, in cells."""


def describe_outlines(
    run_dir: Path, samples: Iterable[RunSample], numbers: Mapping[str, int]
) -> dict[str, list[Any]]:
    """Return width, height and outline of each picture's reference mask, by the picture's number.

    Args:
        run_dir: The run folder.
        samples: Of the page.
        numbers: Path of a picture to its number in the page.
    """
    root, left = run_dir.resolve(), MAX_CHARACTERS
    found: dict[str, list[Any]] = {}
    for sample in samples:
        place = str(numbers.get(sample.picture, ""))
        if not sample.reference_mask or not place or place in found or left < 0:
            continue
        mask = _read(root, sample.reference_mask)
        if mask is not None:
            found[place] = [mask.shape[1], mask.shape[0], trace(mask)]
            left -= len(found[place][2])
    return found


def trace(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    """Return the edges of a mask's cells as the path of an SVG, each run of edges one line.

    Args:
        mask: `[H, W]` bool.

    Example:
        >>> trace(np.array([[False, True]]))
        'M1 0H2M1 1H2M1 0V1M2 0V1'
    """
    padded = np.pad(mask, 1)
    lines = [f"M{x} {y}H{end}" for y, x, end in _runs(padded[1:, 1:-1] != padded[:-1, 1:-1])]
    lines += [f"M{x} {y}V{end}" for x, y, end in _runs((padded[1:-1, 1:] != padded[1:-1, :-1]).T)]
    return "".join(lines)


def _runs(edges: np.ndarray[Any, np.dtype[np.bool_]]) -> list[tuple[int, int, int]]:
    """Return row, beginning and end of each run of true cells."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    begins, ends = np.argwhere(steps == 1), np.argwhere(steps == -1)
    return [
        (int(row), int(begin), int(end))
        for (row, begin), (_, end) in zip(begins, ends, strict=True)
    ]


def _read(root: Path, path: str) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    if not is_picture(root, path):
        return None
    try:
        with Image.open(root / path) as image:
            grey = image.convert("L")
            grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
            return np.asarray(grey) >= 128
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None

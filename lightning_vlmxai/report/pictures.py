"""Pictures of a page: each file once, embedded while the budget lasts, else referred to."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from .text import in_folder

MAX_BYTES = 24_000_000
"""Of embedded pictures, in base64, in one page."""
MAX_PICTURES = 4_000
_AS_IT_IS = 2_048  # bytes: a file this small is embedded unchanged
_BATCH = 64
_FORMATS = {"PNG": "image/png", "WEBP": "image/webp", "JPEG": "image/jpeg"}

PictureCache = dict[tuple[Path, int, int], str | None]
"""Encoded pictures by path, time of change and side: what a page's next build need not redo."""


class Wanted(NamedTuple):
    """A picture that a page would show: its path in the run folder, its longest side in pixels."""

    path: str
    side: int


class Pictures(NamedTuple):
    """The sources of the pictures that there are.

    Args:
        sources: Path in the run folder to what an `img` element's `src` takes.
        missing: How many files are not there, or are no pictures.
        referred: How many are not embedded.
    """

    sources: dict[str, str]
    missing: int
    referred: int


def load_pictures(
    run_dir: Path,
    address: str,
    wanted: Sequence[Wanted],
    cache: PictureCache | None = None,
    *,
    embeds_all: bool = False,
) -> Pictures:
    """Return sources of pictures, the first ones embedded as WebP, the rest as relative addresses.

    Args:
        run_dir: Where the pictures are; nothing outside it is read.
        address: Of the run folder, from the page: where the pictures are that it does not hold.
        wanted: Most important first.
        cache: Of an earlier build; filled.
        embeds_all: Embed every picture, however large the page gets.
    """
    max_pictures, max_bytes = (
        (len(wanted), math.inf) if embeds_all else (MAX_PICTURES, float(MAX_BYTES))
    )
    cache = {} if cache is None else cache
    root = run_dir.resolve()
    unique = list({w.path: w for w in wanted if w.path}.values())
    found = [w for w in unique if is_picture(root, w.path)]
    sources: dict[str, str] = {}
    spent = done = broken = 0
    # Pillow lets other threads run while it codes.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        while done < min(len(found), max_pictures) and spent < max_bytes:
            batch = found[done : min(done + _BATCH, max_pictures)]
            for item, source in zip(
                batch, pool.map(lambda w: _encode_once(root, w, cache), batch), strict=True
            ):
                if source is None:
                    broken += 1
                else:
                    sources[item.path] = source
                    spent += len(source)
            done += len(batch)
    for item in found[done:]:
        sources[item.path] = quote(f"{address}/{item.path}")
    return Pictures(sources, len(unique) - len(found) + broken, len(found) - done)


def address_of(run_dir: Path, page: Path) -> str:
    """Return the address of a run folder from a page that lies on the same disk."""
    return Path(os.path.relpath(run_dir.resolve(), page.resolve().parent)).as_posix()


def is_picture(root: Path, path: str) -> bool:
    """Return whether a path names a picture file in a (resolved) folder, whatever links do."""
    try:
        file = in_folder(root, path)
        is_named_so = file.suffix.lower() in (".png", ".webp", ".jpg", ".jpeg")
        return ".." not in file.parts and is_named_so and file.is_file()
    except (OSError, ValueError):
        return False


def _encode_once(root: Path, wanted: Wanted, cache: PictureCache) -> str | None:
    file = root / wanted.path
    try:
        key = (file, file.stat().st_mtime_ns, wanted.side)
    except OSError:
        return None
    if key not in cache:
        cache[key] = _encode(file, wanted.side)
    return cache[key]


def _encode(file: Path, side: int) -> str | None:
    try:
        raw = file.read_bytes()
        with Image.open(io.BytesIO(raw), formats=list(_FORMATS)) as image:
            image.load()
            mime = _FORMATS[image.format or "PNG"]
            if len(raw) > _AS_IT_IS or max(image.size) > side:
                small = image.convert("RGB")
                small.thumbnail((side, side))
                buffer = io.BytesIO()
                small.save(buffer, "WEBP", quality=80, method=2)
                raw, mime = buffer.getvalue(), "image/webp"
    # Pillow raises many kinds for a broken file, SyntaxError and its own bomb warning's among them.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None
    return f"data:{mime};base64,{base64.b64encode(raw).decode('ascii')}"

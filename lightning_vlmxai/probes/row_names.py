"""What a batch itself calls its rows: a column of names that went along with them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .samples import IMAGES, LABELS, MASKS, fields_of

FILES = (
    "path", "file_path", "filepath", "image_path", "img_path", "filename_or_obj", "filename",
    "file_name", "image_file", "img_file", "file", "__key__", "image_id", "img_id", "sample_id",
)  # fmt: skip
"""Keys whose value is the file of a row, or an id that is its own, the surest first."""
IDS = ("id", "ids", "uid", "key", "name")
"""Keys whose value may be a row's own, or its class's: not where it comes again."""
_PLURALS = {f"{key}s": key for key in FILES if not key.startswith("__")}
_LIKE_A_NAME = re.compile(r"[^\n]*\.[A-Za-z0-9]{1,5}|(?=.*\d)\S+")
"""A file's extension; or one word with a number in it."""
_LONGEST = 2048
_MOST_HELD = 200_000


def clean_name(value: object) -> str | None:
    """Return a path, text or whole number as the name of a row; None if it can't be one.

    Example:
        >>> clean_name("cats/7.png"), clean_name(7), clean_name(" "), clean_name(None)
        ('cats/7.png', '7', None, None)
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        return None
    try:
        value.encode("utf-8")  # a path of bytes that are no text can't be written down
    except UnicodeEncodeError:
        return None
    return None if re.search(r"[\r\n\0]", value) else str(value)


class RowNames:
    """Finds the columns of names in batches while they pass by, and which of them to believe."""

    def __init__(self) -> None:
        self._held: dict[str, set[int]] = {}
        self._repeated: set[str] = set()

    def see(self, batch: Any, size: int) -> Mapping[str, Sequence[str]]:
        """Return the columns of a batch that may name its rows, by how they are reached.

        Args:
            batch: Of `size` rows.
            size: Of it.
        """
        found = _find_columns(batch, size)
        for access, names in found.items():
            if not _is_sure(access) and access not in self._repeated:
                held = self._held.setdefault(access, set())
                before = len(held)
                held.update(map(hash, names))
                if len(held) < before + len(names):
                    self._repeated.add(access)
                    held.clear()
                elif len(held) > _MOST_HELD:
                    held.clear()  # so many different ones are no classes
        return found

    def choose(self, names: Mapping[str, str]) -> tuple[str, str] | None:
        """Return how a row's name is reached and the name, from the surest column that it has.

        What may be a class is believed where no two rows of the validation have the same.
        """
        good = [access for access in names if access not in self._repeated]
        good.sort(key=_rank)
        return (good[0], names[good[0]]) if good else None


def _find_columns(batch: Any, size: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}

    def add(access: str, key: str, value: Any) -> None:
        names = _names_in(value, size, with_numbers="id" in key)
        if names is not None:
            found.setdefault(access, names)

    def look(fields: Mapping[Any, Any], before: str, *, is_inner: bool) -> None:
        for key, value in fields.items():
            plain = str(key).lower()
            plain = _PLURALS.get(plain, plain)
            if plain in FILES or plain in IDS:
                add(f"{before}[{str(key)!r}]", plain, value)
            elif not is_inner and plain not in (*LABELS, *MASKS):
                within(value, f"{before}[{str(key)!r}]")

    def within(value: Any, before: str) -> None:
        meta = getattr(value, "meta", None) if isinstance(value, Tensor) else value  # MONAI's
        if isinstance(meta, Mapping):
            suffix = ".meta" if isinstance(value, Tensor) else ""
            look(meta, f"{before}{suffix}", is_inner=True)

    fields = fields_of(batch)
    if fields is not None:
        # A mask's file is not the picture's.
        first = {key: fields[key] for key in fields if str(key).lower() in IMAGES}
        look({**first, **fields}, "", is_inner=False)
    elif isinstance(batch, (list, tuple)) and any(isinstance(part, Tensor) for part in batch):
        for place, part in enumerate(batch):
            if place != 1:  # which is the label, whatever it consists of
                within(part, f"[{place}]")
            names = _names_in(part, size) if place else None
            if names is not None and all(map(_LIKE_A_NAME.fullmatch, names)):
                found[f"[{place}]"] = names
    return found


def _names_in(value: Any, size: int, *, with_numbers: bool = False) -> list[str] | None:
    """Return a name for each row; None if the value is no such column."""
    if isinstance(value, (Tensor, np.ndarray)):
        is_column = with_numbers and value.ndim == 1
        kind = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value).dtype.kind
        if not is_column or kind not in "iu":
            return None
        value = value.tolist()
    if not isinstance(value, (list, tuple)) or len(value) != size:
        return None
    if not with_numbers and not all(isinstance(part, (str, os.PathLike)) for part in value):
        return None
    names = [clean_name(part) for part in value]
    return None if None in names else [name for name in names if name is not None]


def _rank(access: str) -> int:
    key = _key(access)
    return [*FILES, *IDS].index(key) if key in (*FILES, *IDS) else len(FILES)


def _is_sure(access: str) -> bool:
    return _key(access) in FILES


def _key(access: str) -> str:
    last = re.findall(r"\['([^']*)'\]$", access)
    plain = last[0].lower() if last else ""
    return _PLURALS.get(plain, plain)

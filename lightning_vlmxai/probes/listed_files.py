"""What a data set's own list calls the sample of an index, where the list can be believed."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from .apart import read_apart
from .row_names import FILES, clean_name

LISTS = (
    "samples", "imgs", "_samples", "image_files", "_image_files", "image_paths", "img_paths",
    "image_filenames", "img_files", "img_names", "file_paths", "filepaths", "filenames",
    "file_names", "file_list", "filename", "files", "paths", "images", "_images", "data",
    "image_ids", "img_ids", "ids", "df", "frame", "dataframe", "img_labels", "annotations",
)  # fmt: skip
"""Attributes under which data sets keep what they read, the surest first."""
_PICTURES = ("image", "img", "input", *FILES)
_LOOKED_AT = 8
"""Samples whose reading is watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a data set lists for an index.

    Args:
        name: Of the file, or an id.
        label: That the list has beside it; None if it has none.
        by: The attribute or column that lists it.
        is_exact: The name is read through the data set's own index, so that it can't be another's.
    """

    name: str
    label: int | None
    by: str
    is_exact: bool = False


def find_listed(dataset: Any, index: int) -> Listed | None:
    """Return what a data set lists for an index, or None; reads no sample, runs no property.

    Looked into are torch's wrappers, Hugging Face's `datasets` (an id, a file name, the path of a
    picture) and lists that are as long as the data set: of paths, of `(path, ...)`, of mappings
    with a picture's path, of rows of a data frame.
    """
    if isinstance(dataset, Subset):
        return find_listed(dataset.dataset, int(dataset.indices[index]))
    if isinstance(dataset, ConcatDataset):
        part = bisect_right(dataset.cumulative_sizes, index)
        before = dataset.cumulative_sizes[part - 1] if part else 0
        return find_listed(dataset.datasets[part], index - before)
    if type(dataset).__module__.split(".")[0] == "datasets" and hasattr(dataset, "features"):
        return _find_column(dataset, index)
    for holder in (dataset, _own(dataset, "reader"), _own(dataset, "parser")):  # timm's readers
        for attribute in LISTS if holder is not None else ():
            entry = _entry_of(_own(holder, attribute), index, _length(dataset))
            found = None if entry is None else _read_entry(entry, attribute)
            if found is not None:
                return found
    return None


def doubt_listed(
    listed: Mapping[int, Listed], targets: Mapping[int, Any], dataset: Any
) -> str | None:
    """Return why a data set's list is not that of its samples, as far as that can be seen.

    Labels beside the names are held to the rows'. Where there are none, or all are of one class,
    some samples are read, in a process of their own, and what files that opens is looked at.

    Args:
        listed: By index.
        targets: Of the rows, by index.
        dataset: Whose indices these are.
    """
    rest = {index: one for index, one in listed.items() if not one.is_exact}
    if not rest:
        return None
    pairs = [(one.label, as_label(targets[index])) for index, one in rest.items()]
    if None not in [part for pair in pairs for part in pair]:
        is_other = any(label != target for label, target in pairs)  # or a `target_transform`
        if not is_other and len({label for label, _ in pairs}) > 1:
            return None
    else:
        is_other = False
    return _doubt_opened(rest, dataset, is_other=is_other)


def _doubt_opened(listed: Mapping[int, Listed], dataset: Any, *, is_other: bool) -> str | None:
    """Return what speaks against names, of the files that some samples are read from.

    Where processes are not forked they would run a user's script once more: nothing is read there.
    """
    step = -(-len(listed) // _LOOKED_AT)
    chosen = sorted(listed)[::step]
    confirmed = 0
    read = read_apart(_Opened(dataset), chosen) if _forks() else [None] * len(chosen)
    for index, opened in zip(chosen, read, strict=True):
        name = PurePath(listed[index].name)
        paths = [PurePath(path) for path in opened or ()]
        if any(_is_same(name, path) for path in paths):
            confirmed += 1
        elif name.suffix and any(path.suffix == name.suffix for path in paths):
            return f"sample {index} is read from another file than `{listed[index].by}` lists"
    if is_other and not confirmed:
        return f"the labels that `{next(iter(listed.values())).by}` lists are not the rows'"
    return None


def _forks() -> bool:
    # Asked for so, a method that isn't set yet stays open.
    method = multiprocessing.get_start_method(allow_none=True)
    return (method or multiprocessing.get_all_start_methods()[0]) == "fork"


def _is_same(name: PurePath, path: PurePath) -> bool:
    """Return whether the shorter of two paths is the end of the other."""
    shorter, longer = sorted((name.parts, path.parts), key=len)
    return longer[-len(shorter) :] == shorter


class _Opened(Dataset[Any]):
    """The files that are opened while a sample is read: for a process that ends thereafter."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> list[str]:
        opened: list[str] = []
        is_on = True

        def note(event: str, arguments: tuple[Any, ...]) -> None:
            if is_on and event == "open" and isinstance(arguments[0], (str, bytes, PurePath)):
                opened.append(os.fsdecode(arguments[0]))

        sys.addaudithook(note)
        try:
            self._dataset[index]
        finally:
            is_on = False
        return opened


def _find_column(dataset: Any, index: int) -> Listed | None:
    """Return what a row of Hugging Face's `datasets` is called; no picture is decoded."""
    names = list(dataset.column_names)
    own = next((key for key in (*FILES, "id") if key in names), None)
    paths = [n for n in names if type(dataset.features[n]).__name__ == "Image"]
    for column, is_path in [(own, False), *((n, True) for n in paths[:1])]:
        if column is None:
            continue
        few = dataset.select([index]).select_columns([column])
        if is_path:
            few = few.cast_column(column, type(dataset.features[column])(decode=False))
        value = few.with_format(None)[0][column]
        name = clean_name(value.get("path") if isinstance(value, Mapping) else value)
        if name is not None:
            return Listed(name=name, label=None, by=column, is_exact=True)
    return None


def _own(holder: Any, attribute: str) -> Any:
    """Return an attribute as it lies there: a property of a user's would run."""
    found = inspect.getattr_static(holder, attribute, None)
    return None if isinstance(found, (property, staticmethod, classmethod)) else found


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except Exception:
        return None


def _entry_of(values: Any, index: int, length: int | None) -> Any:
    """Return the entry of an index in a list, array or data frame that is as long as it must be."""
    is_frame = hasattr(values, "iloc") and hasattr(values, "columns")
    if (not is_frame and not isinstance(values, (Sequence, np.ndarray))) or isinstance(values, str):
        return None
    if len(values) != length or not 0 <= index < length:
        return None
    return values.iloc[index].to_dict() if is_frame else values[index]


def _read_entry(entry: Any, attribute: str) -> Listed | None:
    if isinstance(entry, Mapping):
        lower = {str(key).lower(): value for key, value in entry.items()}
        name = next((lower[key] for key in _PICTURES if _is_text(lower.get(key))), None)
        label = next((lower[key] for key in ("label", "target") if key in lower), None)
    elif (
        isinstance(entry, (tuple, list)) and entry and attribute in ("samples", "imgs", "_samples")
    ):
        name, label = entry[0], entry[1] if len(entry) > 1 else None
    elif attribute in ("data", "df", "frame", "dataframe", "img_labels", "annotations"):
        return None
    else:
        name, label = entry, None
    if not _is_text(name) and not ("ids" in attribute and isinstance(name, (int, np.integer))):
        return None
    cleaned = clean_name(name)
    if cleaned is None:
        return None
    return Listed(name=cleaned, label=as_label(label), by=attribute)


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, PurePath))


def as_label(value: Any) -> int | None:
    """Return a label as a whole number; None if it is none."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return int(value) if is_whole else None

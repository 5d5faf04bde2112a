"""What a user's own table says of each sample, matched by the sample's file or its number."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigurationError, expected
from .run import RunSample
from .text import one_line, visible

KEYS = ("file", "path", "sample")
"""Names of the column that says which sample a row is of; the last is its number."""
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """A table of a user's.

    Args:
        name: Of its file.
        key: One of `KEYS`.
        columns: Names of the others.
        rows: Key and values of each row, in order; an empty cell is None.
    """

    name: str
    key: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str | None, ...]], ...]


def read_metadata(path: Path) -> Metadata:
    """Return a CSV file (comma, semicolon or tab) with a header as a table.

    Raises:
        ConfigurationError: If it can't be read, has no or several key columns, or no other column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _refuse("a CSV file in UTF-8", f"{str(path)!r} ({error})") from None
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        lines = list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter))
    except csv.Error as error:
        raise _refuse("a CSV file", f"{str(path)!r} ({error})") from None
    names = [visible(name.strip(), 80) for name in lines[0]] if lines else []
    told = ", ".join(map(repr, names[:12])) or "no header"
    keys = [i for i, name in enumerate(names) if name.lower() in KEYS]
    if len(keys) != 1:
        raise _refuse(f"a CSV file with one column named {', '.join(KEYS)}", f"columns {told}")
    (at,) = keys
    others = [i for i in range(len(names)) if i != at]
    repeated = len({names[i] for i in others}) < len(others)
    if not others or repeated or not all(names[i] for i in others):
        raise _refuse("a CSV file whose other columns each have a name", f"columns {told}")
    rows = []
    for line in lines[1:]:
        cells = [cell.strip() for cell in line] + [""] * (len(names) - len(line))
        if any(cells):
            values = tuple(visible(cells[i], 200) or None for i in others)
            rows.append((cells[at], values))
    return Metadata(
        name=one_line(path.name),
        key=names[at].lower(),
        columns=tuple(names[i] for i in others),
        rows=tuple(rows),
    )


def match_metadata(
    metadata: Metadata, samples: Sequence[RunSample]
) -> tuple[dict[str, list[str | None]], list[str]]:
    """Return the group of each sample in each column, and what did not match, in sentences.

    A row is of the one file whose path ends as the row's does, or the other way round. A row that
    fits several files, or none, is of none. Where several rows are of one sample and differ, it
    is in no group of the columns in which they differ.

    Args:
        metadata: The table.
        samples: `[N]`.

    Returns:
        Column to the group of each sample, `[N]`, None where there is none; notices.

    Raises:
        ConfigurationError: If no row is of any sample.
    """
    find = _by_number(samples) if metadata.key == "sample" else _by_file(samples)
    of_key: defaultdict[str, list[tuple[str | None, ...]]] = defaultdict(list)
    strange: list[str] = []
    several: list[str] = []
    for key, values in metadata.rows:
        found = find(key)
        if len(found) == 1:
            of_key[found[0]].append(values)
        else:
            (several if found else strange).append(key)
    known = [str(s.probe) if metadata.key == "sample" else _clean(s.file) for s in samples]
    if not of_key:
        some = next((name for name in known if name), "no file's name is known in this run")
        row = metadata.rows[0][0] if metadata.rows else "no row"
        raise _refuse(
            f"a table whose {metadata.key!r} names samples of the run, as {one_line(some)!r}",
            f"{metadata.name}, in which none fits ({one_line(row)!r})",
        )
    merged = {key: _merge(rows) for key, rows in of_key.items()}
    nothing = (None,) * len(metadata.columns)
    groups = {
        column: [merged.get(key, nothing)[i] for key in known]
        for i, column in enumerate(metadata.columns)
    }
    repeated = [key for key, rows in of_key.items() if len(rows) > 1]
    differing = [key for key in repeated if len(set(of_key[key])) > 1]
    without = [name for name in known if name not in of_key]
    notices = [
        *_tell(metadata, strange, "row", "fitting no sample, left out"),
        *_tell(metadata, several, "row", "fitting several samples, left out"),
        *_tell(metadata, repeated, "sample", "with several rows"),
        *_tell(metadata, differing, "sample", "whose rows differ: in no group where they do"),
        *_tell(metadata, without, "sample", "without a row: in none of its groups"),
    ]
    return groups, notices


class _by_number:  # noqa: N801 - a function with a memory
    def __init__(self, samples: Iterable[RunSample]) -> None:
        self._known = {str(s.probe) for s in samples}

    def __call__(self, key: str) -> list[str]:
        return [key] if key in self._known else []


class _by_file:  # noqa: N801 - a function with a memory
    """Finds the files whose path ends as another's does, by ends of each length."""

    def __init__(self, samples: Iterable[RunSample]) -> None:
        self._files = {_clean(s.file) for s in samples if s.file}
        self._depths = sorted({file.count("/") for file in self._files})
        self._ends: dict[int, dict[str, list[str]]] = {}

    def __call__(self, key: str) -> list[str]:
        name = _clean(key)
        if not name:
            return []
        depth = name.count("/")
        if depth not in self._ends:
            ends: defaultdict[str, list[str]] = defaultdict(list)
            for file in self._files:
                if file.count("/") >= depth:
                    ends[_end(file, depth)].append(file)
            self._ends[depth] = ends
        found = list(self._ends[depth].get(name, ()))
        shorter = (_end(name, own) for own in self._depths if own < depth)
        return found + [end for end in shorter if end in self._files]


def _clean(path: str) -> str:
    return "/".join(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))


def _end(path: str, depth: int) -> str:
    return "/".join(path.split("/")[-depth - 1 :])


def _merge(rows: Sequence[tuple[str | None, ...]]) -> tuple[str | None, ...]:
    return tuple(cells[0] if len(set(cells)) == 1 else None for cells in zip(*rows, strict=True))


def _tell(metadata: Metadata, keys: Sequence[str], what: str, said: str) -> list[str]:
    if not keys:
        return []
    named = ", ".join(one_line(key) or "(empty)" for key in list(dict.fromkeys(keys))[:_NAMED])
    more = ", ..." if len(set(keys)) > _NAMED else ""
    count = f"{len(keys):,} {what}{'' if len(keys) == 1 else 's'}"
    return [f"{metadata.name}: {count} {said} ({named}{more})."]


def _refuse(rule: str, got: str) -> ConfigurationError:
    return ConfigurationError(
        expected("groups", rule, got, "Pass --groups metadata.csv with a header as `file,hospital`")
    )

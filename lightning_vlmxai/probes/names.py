"""Which class names fit: those lying about, if every label that was seen is what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.data import ConcatDataset, Subset

from .datasets import find_labels
from .samples import LABELS

_DEEPEST = 5
_LISTED = 20
"""How many names a message lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Class names that something holds.

    Args:
        names: In the order of its labels.
        place: Where, in words.
        labels: Its own label of each row of the outermost data set; None if that is not known.
        is_own: Nothing stands between it and the rows that may change a label.
    """

    names: tuple[str, ...]
    place: str
    labels: Sequence[int] | None = None
    is_own: bool = True


def find_names(dataset: Any, holders: Sequence[Any] = ()) -> list[Names]:
    """Return class names, nearest first: of data sets, however wrapped, then of a data module.

    They are `classes` (torchvision's custom), `class_to_idx` by its numbers, or the names of the
    label's feature (Hugging Face's).

    Args:
        dataset: Of the loader.
        holders: Else; modules are passed over, whose names may be of another task.
    """
    found = list(_walk(dataset, None, is_own=True, depth=0))
    for holder in holders:
        names = None if isinstance(holder, nn.Module) else _names_of(holder)
        if names is not None:
            found.append(Names(names=names, place=type(holder).__name__))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What became of the names.

    Args:
        names: That fit; None if none do.
        doubt: Why what was found is not used; empty if nothing was.
        line: That gives them, to be pasted.
    """

    names: tuple[str, ...] | None
    doubt: str
    line: str


def choose_names(
    found: Sequence[Names], seen: Mapping[int, int], outputs: int | None, *, is_indexed: bool
) -> Naming:
    """Return the first names that fit every label that was seen, or why none do.

    Args:
        found: See `find_names`.
        seen: Labels of rows, by number.
        outputs: How many classes the model tells apart; None if that is not known.
        is_indexed: The rows' numbers are indices of the data set.

    Example:
        >>> found = [Names(names=("cat", "dog"), place="Pets", labels=[0, 1, 0])]
        >>> choose_names(found, {0: 0, 1: 1}, 2, is_indexed=True).names
        ('cat', 'dog')
        >>> choose_names(found, {0: 1, 1: 0}, 2, is_indexed=True).line
        "class_names=['dog', 'cat']"
    """
    doubt, line = "", ""
    for one in found:
        why, known = _misfit(one, seen, outputs, is_indexed=is_indexed)
        if not why:
            return Naming(
                names=one.names, doubt="", line=_line(dict(enumerate(one.names)), outputs)
            )
        if not doubt:
            line = _line(known, outputs)
            doubt = (
                f"the class names of {one.place} are not used, for {why}; "
                f"pass `{line}`, in the order of the model's outputs"
            )
    return Naming(names=None, doubt=doubt, line=line or _line({}, outputs))


def _misfit(
    one: Names, seen: Mapping[int, int], outputs: int | None, *, is_indexed: bool
) -> tuple[str, dict[int, str]]:
    """Return why names don't fit, empty if they do; and those that labels prove, by number."""
    count = len(one.names)
    as_they_are = dict(enumerate(one.names))
    if outputs is not None and count != outputs:
        return f"they are {count} and the model tells {outputs} classes apart", {}
    highest = max(seen.values(), default=0)
    if outputs is None and highest >= count:
        return f"they are {count} and there is a label {highest}", {}
    if one.labels is not None and is_indexed:
        pairs = [
            (seen[index], one.labels[index]) for index in sorted(seen) if index < len(one.labels)
        ]
        differ = [(new, old) for new, old in pairs if new != old]
        if differ:
            new, old = differ[0]
            share = f"{len(differ)} of {len(pairs)}"
            why = f"{share} rows have another label than there ({new} for {old})"
            known: dict[int, dict[str, None]] = {}
            for new, old in pairs:
                if 0 <= old < count:
                    known.setdefault(new, {})[one.names[old]] = None
            return why, {label: " or ".join(names) for label, names in known.items()}
        if pairs:
            return "", {}
    if not one.is_own:
        return "labels may be changed on the way from there, and no row can tell", as_they_are
    return "", {}


def _line(known: Mapping[int, str], outputs: int | None) -> str:
    count = max([outputs or 0, *(label + 1 for label in known)], default=0) or 2
    if count > _LISTED:
        return 'class_names=open("classes.txt").read().splitlines()'
    return f"class_names={[known.get(i, f'the name of class {i}') for i in range(count)]}"


def _walk(
    part: Any, indices: Sequence[int] | None, *, is_own: bool, depth: int, is_placed: bool = True
) -> Iterator[Names]:
    """Yield the names of a data set and of those that it wraps.

    Args:
        part: A data set.
        indices: Of its samples, by that of the outermost; None if they are the same.
        is_own: Nothing changes its labels on their way.
        depth: How many wrap it.
        is_placed: Whether `indices` is known.
    """
    if part is None or depth > _DEEPEST:
        return
    own = is_own and _get(part, "target_transform") is None
    if not isinstance(part, (Subset, ConcatDataset)):
        names = _names_of(part)
        if names is not None:
            labels = find_labels(part) if is_placed else None
            if labels is not None and indices is not None:
                labels = [labels[i] for i in indices]
            place = f"{type(part).__name__}"
            yield Names(names=names, place=place, labels=labels, is_own=own)
    if isinstance(part, Subset):
        inner = list(part.indices)
        composed = inner if indices is None else [inner[i] for i in indices]
        yield from _walk(part.dataset, composed, is_own=own, depth=depth + 1, is_placed=is_placed)
    elif isinstance(part, ConcatDataset):
        firsts = [next(_walk(p, None, is_own=own, depth=depth + 1), None) for p in part.datasets]
        first = firsts[0] if firsts else None
        if first is not None and all(o is not None and o.names == first.names for o in firsts):
            parts = [one for one in firsts if one is not None]
            labels = None
            if is_placed and all(one.labels is not None for one in parts):
                labels = [label for one in parts for label in one.labels or ()]
                labels = labels if indices is None else [labels[i] for i in indices]
            yield Names(
                names=first.names,
                place=first.place,
                labels=labels,
                is_own=all(one.is_own for one in parts),
            )
    else:
        for inner in _wrapped(part):
            is_alike = is_placed and _length(inner) == _length(part) != -1
            yield from _walk(inner, indices, is_own=False, depth=depth + 1, is_placed=is_alike)


def _wrapped(part: Any) -> Iterator[Any]:
    """Yield the data sets that an object holds as attributes."""
    for value in list(getattr(part, "__dict__", {}).values()):
        is_one = hasattr(type(value), "__getitem__") or hasattr(type(value), "__iter__")
        is_plain = isinstance(value, (str, bytes, list, tuple, Mapping))
        if is_one and not is_plain and hasattr(value, "__dict__"):
            yield value


def _length(part: Any) -> int:
    try:
        return len(part)
    except TypeError:
        return -1


def _get(part: Any, name: str) -> Any:
    try:
        return getattr(part, name, None)
    except Exception:  # a user's property that is not ready
        return None


def _names_of(part: Any) -> tuple[str, ...] | None:
    """Return the class names that an object holds itself."""
    names = _get(part, "classes")
    if isinstance(names, Sequence) and not isinstance(names, str) and len(names):
        return tuple(str(name) for name in names)
    numbers = _get(part, "class_to_idx")
    if isinstance(numbers, Mapping) and sorted(numbers.values()) == list(range(len(numbers))):
        return tuple(str(name) for name in sorted(numbers, key=lambda name: int(numbers[name])))
    features = _get(part, "features")
    if isinstance(features, Mapping):
        named = {k: f.names for k, f in features.items() if getattr(f, "names", None)}
        custom = [named[key] for key in LABELS if key in named]
        for names in custom or (list(named.values()) if len(named) == 1 else []):
            return tuple(str(name) for name in names)
    return None

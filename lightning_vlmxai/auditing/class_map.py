"""Which of the model's classes a class of the data is; a guess is never made."""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigurationError, expected

_SHOWN = 8
REST = "*"
"""Stands for the classes of the data that are not the model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMap:
    """How labels of the data and outputs of the model meet.

    Args:
        names: Of the outputs that are audited, in their order.
        targets: The output that each class of the data is; None for one that is left out.
        members: The model's own outputs that each audited output is made of; a single one, but
            where several of them are one class of the data.
    """

    names: tuple[str, ...]
    targets: tuple[int | None, ...]
    members: tuple[tuple[int, ...], ...]

    @property
    def merges(self) -> bool:
        """Whether any output is made of several."""
        return any(len(of) > 1 for of in self.members)


class MergedOutputs(nn.Module):
    """A model whose outputs for several of its classes are those of one class.

    A merged logit is the log-sum-exp of its members, so that its softmax probability is the sum of
    theirs, exactly; the other outputs are as they were.

    Args:
        network: From pictures to logits `[B, K, ...]`, or a mapping with them as `"out"`.
        members: See `ClassMap`.

    Example:
        >>> merged = MergedOutputs(nn.Identity(), ((0,), (1, 2)))
        >>> merged(torch.tensor([[0.0, 1.0, 1.0]])).softmax(dim=1)[0, 0].item()
        0.1553624...
    """

    first: Tensor

    def __init__(self, network: nn.Module, members: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.network = network
        self.groups = {place: list(of) for place, of in enumerate(members) if len(of) > 1}
        self.register_buffer("first", torch.tensor([of[0] for of in members]), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits `[B, K', ...]`."""
        output = self.network(pictures)
        logits: Tensor = output["out"] if isinstance(output, Mapping) else output
        columns = list(torch.split(logits.index_select(1, self.first), 1, dim=1))
        for place, of in self.groups.items():
            columns[place] = logits[:, of].logsumexp(dim=1, keepdim=True)
        return torch.cat(columns, dim=1)


def map_classes(
    data: Sequence[str],
    model: Sequence[str],
    labels: Mapping[str, Any],
) -> ClassMap:
    """Return how the classes of the data are found among the model's.

    By `labels` where it names them, else by their own names, in which case, spaces, hyphens and
    underscores don't matter.

    Args:
        data: Names of the data's classes.
        model: Names of the model's outputs, in their order.
        labels: By name of a class of the data: a name, a number, a range of numbers as "151-268",
            several of these, or nothing for a class that is left out. "*" with nothing leaves out
            all that is not found.

    Raises:
        ConfigurationError: If a class isn't found, or found where another one is.

    Example:
        >>> found = map_classes(["Cat", "dog"], ["tabby", "Dog", "lynx"], {"Cat": ["tabby", 2]})
        >>> found.names, found.targets, found.members
        (('Cat', 'Dog'), (0, 1), ((0, 2), (1,)))
    """
    unknown = [name for name in labels if name not in (*data, REST)]
    if unknown:
        raise _refuse(
            f"for classes of the data ({some(data)})",
            some(unknown),
            "Correct the first column",
        )
    places: dict[str, list[int]] = {}
    for number, name in enumerate(model):
        places.setdefault(_plain(name), []).append(number)
    found: list[list[int]] = []
    missing: list[str] = []
    for name in data:
        wanted = labels.get(name, [name])
        if name in labels:
            found.append([n for one in _listed(wanted) for n in _find(one, places, model)])
            continue
        numbers = places.get(_plain(name), [])
        if len(numbers) != 1:
            missing.append(name)
        found.append(numbers if len(numbers) == 1 else [])
    if REST in labels and _listed(labels[REST]):
        raise _refuse(
            f"nothing for {REST!r}, the classes that are left out", labels[REST], "Pass null"
        )
    if missing and REST not in labels:
        raise _not_found(missing, places, model, len(data))
    return _merge(data, model, found)


def _merge(data: Sequence[str], model: Sequence[str], found: Sequence[Sequence[int]]) -> ClassMap:
    owners: dict[int, str] = {}
    for name, numbers in zip(data, found, strict=True):
        for number in dict.fromkeys(numbers):
            if number in owners:
                raise _refuse(
                    "of classes of the model that are one class of the data each",
                    f"{model[number]!r} ({number}) for {owners[number]!r} and for {name!r}",
                    "Name it once",
                )
            owners[number] = name
    groups = {min(of): tuple(sorted(set(of))) for of in found if of}
    inner = {number for of in groups.values() for number in of[1:]}
    members = tuple(groups.get(n, (n,)) for n in range(len(model)) if n not in inner)
    place = {of[0]: number for number, of in enumerate(members)}
    names = tuple(owners[of[0]] if len(of) > 1 else model[of[0]] for of in members)
    return ClassMap(
        names=names,
        targets=tuple(place[min(of)] if of else None for of in found),
        members=members,
    )


def read_labels(given: str | None) -> dict[str, Any]:
    """Return what `--labels` says, by class of the data.

    Args:
        given: A CSV file with a line a class (class of the data, then classes of the model), a JSON
            file, or JSON itself.

    Raises:
        ConfigurationError: If it can't be read.
    """
    if not given:
        return {}
    path = Path(given)
    try:
        if given.lstrip().startswith("{"):
            read = json.loads(given)
        elif path.suffix.lower() == ".json":
            read = json.loads(path.read_text("utf-8"))
        else:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
            repeated = [name for name in {row[0] for row in rows}
                        if sum(row[0] == name for row in rows) > 1]  # fmt: skip
            if repeated:
                raise ValueError(f"several lines for {repeated[0]!r}; put them into one")
            read = {row[0]: [cell for cell in row[1:] if cell] for row in rows}
    except (OSError, ValueError) as error:
        raise _refuse(
            "a CSV or JSON file, or JSON", f"{given!r} ({error})", """Pass '{"cat": "tabby"}'"""
        ) from None
    if not isinstance(read, dict):
        raise _refuse("a mapping", type(read).__name__, """Pass '{"cat": "tabby"}'""")
    return read


def _listed(wanted: Any) -> list[Any]:
    if wanted is None or wanted == "":
        return []
    return list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]


def _find(wanted: Any, places: Mapping[str, Sequence[int]], model: Sequence[str]) -> list[int]:
    """Return the numbers of what names one class of the model, or a range of them."""
    numbers = list(places.get(_plain(str(wanted)), ()))
    if len(numbers) == 1:
        return numbers
    span = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", str(wanted).strip())
    if span and not numbers:
        first, last = int(span[1]), int(span[2] or span[1])
        if first <= last < len(model):
            return list(range(first, last + 1))
        raise _refuse(f"of numbers from 0 to {len(model) - 1}", wanted, "Correct it")
    if numbers:
        told = f"{wanted!r}, which classes {' and '.join(map(str, numbers))} are called"
        raise _refuse("of names that one class of the model has", told, "Pass the number")
    near = difflib.get_close_matches(_plain(str(wanted)), places, n=3)
    names = [model[places[name][0]] for name in near]
    raise _refuse(
        "of classes of the model",
        repr(wanted),
        f"Near: {', '.join(names)}" if names else f"It has: {some(model)}",
    )


def _not_found(
    missing: Sequence[str], places: Mapping[str, Sequence[int]], model: Sequence[str], count: int
) -> ConfigurationError:
    near = difflib.get_close_matches(_plain(missing[0]), places, n=1)
    example = model[places[near[0]][0]] if near else model[0]
    return ConfigurationError(
        expected(
            "data",
            f"of classes that the model knows by name, one each ({some(model)})",
            f"{len(missing)} of {count} that are not: {some(missing)}",
            "Say which classes of the model they are, and leave the rest out: --labels "
            f"'{json.dumps({missing[0]: example, REST: None}, ensure_ascii=False)}', or a CSV file "
            "with a line a class",
        )
    )


def _refuse(rule: str, got: object, remedy: str) -> ConfigurationError:
    return ConfigurationError(expected("labels", rule, got, remedy))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def some(names: Sequence[str], most: int = _SHOWN) -> str:
    """Return the first of some names, and how many more there are."""
    more = f", ... {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""JSON as small models write it: read where it has one meaning, never completed. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_BEGINS = re.compile(r"\{\s*\"")
_STRING = re.compile(r'("(?:[^"\\]|\\.)*")', re.DOTALL)
_TRAILING = re.compile(r",(\s*[}\]])")
_BARE = re.compile(r":(\s*)(\d+(?:\.\d+)?\s*(?:/|out of)\s*\d+(?:\.\d+)?)(?=\s*[,}])")
_DEEPEST = 4


class Fields(dict[str, Any]):
    """A JSON object, keys in lower case, that remembers whether one was given two values."""

    contradicts = False


def find_objects(text: str) -> Iterator[Fields]:
    """Yield the JSON objects in a text, outermost ones alone.

    Where one doesn't begin as JSON should, it is tried once more without a comma before a closing
    bracket, and with a bare `4/5` in quotes. Nothing else is changed: what is broken off stays so.

    Example:
        >>> [dict(found) for found in find_objects('Here: {"Score": 4/5,}')]
        [{'score': '4/5'}]
        >>> list(find_objects('{"score": 4'))
        []
    """
    found = list(_decode(text))
    yield from found or _decode(_mend(text))


def holders(found: Fields, name: str, depth: int = 0) -> Iterator[Fields]:
    """Yield the object itself if it has a field of that name, else those inside that have one.

    Example:
        >>> [dict(one) for text in ['{"result": {"score": 4}}'] for outer in find_objects(text)
        ...  for one in holders(outer, "score")]
        [{'score': 4}]
    """
    if name in found:
        yield found
    elif depth < _DEEPEST:
        for value in found.values():
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, Fields):
                    yield from holders(inner, name, depth + 1)


def _make(pairs: list[tuple[str, Any]]) -> Fields:
    made = Fields()
    for key, value in pairs:
        name = key.strip().lower()
        made.contradicts |= name in made and made[name] != value
        made[name] = value
    return made


def _decode(text: str) -> Iterator[Fields]:
    decoder = json.JSONDecoder(object_pairs_hook=_make, strict=False)
    start = text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            if _BEGINS.match(text, start):
                return  # what comes may be a part of it: a draft, an example
            end = start + 1
        else:
            yield found
        start = text.find("{", end)


def _mend(text: str) -> str:
    parts = _STRING.split(text)
    for i in range(0, len(parts), 2):  # what is between texts in quotes
        parts[i] = _BARE.sub(r':\1"\2"', _TRAILING.sub(r"\1", parts[i]))
    return "".join(parts)

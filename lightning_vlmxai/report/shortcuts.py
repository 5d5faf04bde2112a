"""Shortcuts that a run found, as its summary says them and its page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..records import Quadrant
from .run import Run
from .text import in_folder, one_line
from .values import number, text, whole

TRAINING_FILE = "shortcut_training.csv"
_MOST = 2000
"""Characters of one sentence, which names classes and a judge's phrase."""


def say_shortcuts(run: Run) -> list[str]:
    """Return a sentence for each shortcut; what was looked for in vain is said in one."""
    if not run.shortcuts:
        return []
    note = one_line(text(run.shortcuts.get("note")), 600)
    said = [one_line(text(of.get("text")), _MOST) for of in _found(run)]
    if said or note:
        return [*said, *([note] if note else [])]
    right = whole(run.shortcuts.get("right"))
    return [] if right is None else [f"No shortcut stands out among {right:,} right answers."]


def find_shortcut_lines(run: Run) -> list[dict[str, Any]]:
    """Return the sentences as findings, each with the gallery of the samples it is of."""
    where = {"round": _key(run), "quadrant": Quadrant.CORRECT_LOW.value}
    return [
        {
            "text": one_line(text(of.get("text")), _MOST),
            "alarm": of.get("is_proven") is not False,
            "shown": {**where, "class": text(of.get("class"))},
        }
        for of in _found(run)
    ]


def shortcut_pictures(run: Run) -> list[str]:
    """Return the paths of the pictures that were changed."""
    effects = [of.get(kind) for of in _found(run) for kind in ("erased", "pasted")]
    pictures = [one for e in effects if isinstance(e, dict) for one in _list(e.get("pictures"))]
    return [path for one in pictures if (path := text(one.get("image")))]


def describe_shortcuts(
    run: Run, numbers: Mapping[str, int], address: str = "."
) -> dict[str, Any] | None:
    """Return shortcuts as a page's scripts read them; None if none were looked for.

    Args:
        run: The run.
        numbers: Path of a picture to its number in the page.
        address: Of the run folder, from the page.
    """
    if not run.shortcuts:
        return None
    pictures = {
        sample.probe: numbers.get(sample.picture)
        for of in run.rounds
        if of.key == _key(run)
        for sample in of.samples
    }
    return {
        "said": say_shortcuts(run),
        "round": _key(run),
        "found": [_describe(of, pictures, numbers) for of in _found(run)],
        "list": quote(f"{address}/{TRAINING_FILE}") if is_listed(run.path) else "",
    }


def _key(run: Run) -> str:
    return f"{text(run.shortcuts.get('stage'))}-{whole(run.shortcuts.get('round'))}"


def _found(run: Run) -> list[Mapping[str, Any]]:
    found = run.shortcuts.get("shortcuts")
    return [of for of in found if isinstance(of, dict)] if isinstance(found, list) else []


def is_listed(path: Path) -> bool:
    """Return whether a run folder has a list of training pictures, in itself."""
    return in_folder(path.resolve(), TRAINING_FILE).is_file()


def _describe(
    of: Mapping[str, Any], pictures: Mapping[int, int | None], numbers: Mapping[str, int]
) -> dict[str, Any]:
    erased, pasted = (_effect(of.get(kind), pictures, numbers) for kind in ("erased", "pasted"))
    training = of.get("training")
    tried = {one["probe"] for one in erased["pictures"]} if erased else set()
    bearers = _list(of.get("bearers"))
    return {
        "class": one_line(text(of.get("class")), 200),
        "text": one_line(text(of.get("text")), _MOST),
        "box": _box(of.get("place")),
        "erased": erased,
        "pasted": pasted,
        "groups": [_group(one) for one in _list(of.get("groups"))],
        "training": one_line(text(training.get("text")), 600) if isinstance(training, dict) else "",
        "others": [
            {"probe": probe, "picture": pictures.get(probe)}
            for one in bearers
            if (probe := whole(one.get("probe"))) is not None and probe not in tried
        ],
    }


def _box(place: object) -> list[float] | None:
    """Return top, left, bottom and right in shares of the picture; None if it isn't known."""
    if not isinstance(place, dict):
        return None
    sides = [number(place.get(name)) for name in ("top", "left", "bottom", "right")]
    known = [side for side in sides if side is not None and 0 <= side <= 1]
    return known if len(known) == 4 else None


def _group(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "class": one_line(text(one.get("label")), 200),
        "cue": one_line(text(one.get("cue")), 20),
        "right": whole(one.get("right")),
        "total": whole(one.get("total")),
    }


def _effect(
    effect: object, pictures: Mapping[int, int | None], numbers: Mapping[str, int]
) -> dict[str, Any] | None:
    if not isinstance(effect, dict):
        return None
    names = ("total", "flipped", "control", "lower", "upper", "moved", "control_moved")
    return {
        **{name: number(effect.get(name)) for name in names},
        "pictures": [
            {
                "probe": probe,
                "picture": pictures.get(probe),
                "changed": numbers.get(text(one.get("image"))),
                "sure": _shares(one.get("confidences")),
                **{n: one_line(text(one.get(n)), 200) for n in ("before", "cue", "control")},
            }
            for one in _list(effect.get("pictures"))
            if (probe := whole(one.get("probe"))) is not None
        ],
    }


def _shares(values: object) -> list[float] | None:
    """Return three confidences; None if they aren't known."""
    known = [number(value) for value in values] if isinstance(values, list) else []
    sure = [value for value in known if value is not None and 0 <= value <= 1]
    return sure if len(sure) == len(known) == 3 else None


def _list(of: object) -> list[Mapping[str, Any]]:
    return [one for one in of if isinstance(one, dict)] if isinstance(of, list) else []

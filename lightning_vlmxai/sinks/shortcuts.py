"""Shortcuts that were found, as files of the run folder."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..records import Quadrant, Round
from ..rounds import wilson_interval
from ..shortcuts import LIMIT, Change, Effect, Shortcut

SHORTCUTS_FILE, PICTURES_FILE = "shortcuts.json", "shortcut_pictures.csv"
COLUMNS = (
    "class", "probe", "file", "bears_cue", "changed", "prediction", "prediction_with_cue",
    "prediction_without_cue", "prediction_control",
)  # fmt: skip
"""Of `shortcut_pictures.csv`; predictions are names, empty where they are not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutsFound:
    """What a look for shortcuts came to.

    Args:
        closed: The round that was looked at.
        shortcuts: That were found in it.
        class_names: In the order of the labels; None where there are none.
        note: Why none was looked for; empty if they were.
    """

    closed: Round
    shortcuts: Sequence[Shortcut] = ()
    class_names: Sequence[str] | None = None
    note: str = ""

    def name(self, label: int) -> str:
        """Return a class's name, or its number."""
        names = self.class_names or ()
        return names[label] if 0 <= label < len(names) else str(label)

    @property
    def right(self) -> int:
        """Right answers that were judged, of all classes."""
        low, high = Quadrant.CORRECT_LOW, Quadrant.CORRECT_HIGH
        return sum(s.quadrant in (low, high) for s in self.closed.samples)


def write_shortcuts(path: Path, found: ShortcutsFound) -> None:
    """Write `shortcuts.json` and `shortcut_pictures.csv` of a run folder anew.

    Args:
        path: Of the folder.
        found: The last look; an earlier one's files are replaced.
    """
    path.mkdir(parents=True, exist_ok=True)
    files = {s.explanation.probe_index: s.explanation.file for s in found.closed.samples}
    record = {
        "stage": found.closed.stage,
        "round": found.closed.number,
        "epoch": found.closed.epoch,
        "step": found.closed.step,
        "fingerprint": found.closed.fingerprint,
        "right": found.right,
        "limit": LIMIT,
        "note": found.note,
        "shortcuts": [_describe(one, found, files) for one in found.shortcuts],
    }
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    (path / SHORTCUTS_FILE).write_text(text, encoding="utf-8")
    with (path / PICTURES_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in found.shortcuts:
            writer.writerows([_cell(value) for value in row] for row in _rows(one, found, files))


def _describe(one: Shortcut, found: ShortcutsFound, files: dict[int, str | None]) -> dict[str, Any]:
    """Return a shortcut in plain values, every share with its denominator."""
    ends = wilson_interval(one.low, one.right)
    return {
        "class": one.label,
        "label": one.number,
        "text": one.text,
        "is_proven": one.is_proven,
        "low": one.low,
        "right": one.right,
        "lower": ends.lower,
        "upper": ends.upper,
        "other_low": one.other_low,
        "other_right": one.other_right,
        "place": None
        if one.place is None
        else {
            "words": one.place.box.words,
            **one.place.box._asdict(),
            "attended": one.place.attended,
            "others": one.place.others,
            "p": one.place.p,
        },
        "topic": None
        if one.topic is None
        else {
            "phrase": one.topic.phrase,
            "low": one.topic.low,
            "of_low": one.topic.of_low,
            "other": one.topic.other,
            "of_other": one.topic.of_other,
            "lift": _finite(one.topic.lift),
            "lower": _finite(one.topic.interval.lower),
            "upper": _finite(one.topic.interval.upper),
            "q": one.topic.q,
        },
        "is_wide": one.is_wide,
        "likeness": one.likeness and one.likeness._asdict(),
        "bearers": [{"probe": index, "file": files.get(index)} for index in one.bearers],
        "erased": _describe_effect(one.erased, found, files),
        "pasted": _describe_effect(one.pasted, found, files),
        "untried": list(one.untried),
    }


def _describe_effect(
    effect: Effect | None, found: ShortcutsFound, files: dict[int, str | None]
) -> dict[str, Any] | None:
    if effect is None:
        return None
    return {
        "total": effect.total,
        "flipped": effect.flipped,
        "control": effect.control,
        "lower": effect.interval.lower,
        "upper": effect.interval.upper,
        "moved": _finite(effect.moved),
        "control_moved": _finite(effect.control_moved),
        "is_cause": effect.is_cause,
        "pictures": [
            {
                "probe": change.row,
                "file": files.get(change.row),
                "before": found.name(change.before),
                "cue": found.name(change.cue),
                "control": found.name(change.control),
            }
            for change in effect.changes
        ],
    }


def _rows(
    one: Shortcut, found: ShortcutsFound, files: dict[int, str | None]
) -> list[tuple[object, ...]]:
    """Return the pictures that bear the cue, then those onto which it was pasted."""
    name = found.name
    erased: dict[int, Change] = {c.row: c for c in one.erased.changes} if one.erased else {}
    judged = {
        s.explanation.probe_index: s.explanation.prediction_name for s in found.closed.samples
    }
    rows: list[tuple[object, ...]] = []
    for probe in one.bearers:
        head = (one.label, probe, files.get(probe), "yes")
        change = erased.get(probe)
        if change is None:
            rows.append((*head, "", judged.get(probe), judged.get(probe), None, None))
            continue
        before, without, control = map(name, change[1:])
        rows.append((*head, "erased", before, before, without, control))
    for change in one.pasted.changes if one.pasted else ():
        before, pasted, control = map(name, change[1:])
        head = (one.label, change.row, files.get(change.row), "no")
        rows.append((*head, "pasted", before, pasted, before, control))
    return rows


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return "" if value is None else value

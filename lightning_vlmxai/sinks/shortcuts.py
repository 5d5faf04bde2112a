"""Shortcuts that were found, as files of the run folder."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..records import Quadrant, Round
from ..rounds import wilson_interval
from ..shortcuts import LIMIT, Change, Shortcut, TrainingList, count_groups
from .lines import save_picture
from .pictures import to_image

SHORTCUTS_FILE, PICTURES_FILE = "shortcuts.json", "shortcut_pictures.csv"
SHOWN_FOLDER = "images/shortcuts"
TRAINING_FILE = "shortcut_training.csv"
TRAINING_COLUMNS = ("class", "rank", "index", "file", "label", "likeness")
"""Of `shortcut_training.csv`: of each shortcut's class all training pictures that were looked at,
the most alike first; `label` is the picture's own."""
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
    """Write a run folder's `shortcuts.json`, and the lists of pictures beside it, anew.

    `images/shortcuts/` has pictures with the cue erased and pasted, `<label>-<kind>-<probe>.png`.
    `shortcut_training.csv` is there where training pictures were found.

    Args:
        path: Of the folder.
        found: The last look; an earlier one's files are replaced.
    """
    path.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path / SHOWN_FOLDER, ignore_errors=True)
    for one in found.shortcuts:
        for shown in one.shown:
            (path / SHOWN_FOLDER).mkdir(parents=True, exist_ok=True)
            save_picture(to_image(shown.pixels), path / _shown_path(one, shown.kind, shown.probe))
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
    (path / TRAINING_FILE).unlink(missing_ok=True)
    listed = [one for one in found.shortcuts if one.training and one.training.pictures]
    if listed:
        with (path / TRAINING_FILE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(TRAINING_COLUMNS)
            for one in listed:
                writer.writerows([_cell(value) for value in row] for row in _ranked(one, found))


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
        "earlier": one.earlier,
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
        "erased": _describe_effect(one, "erased", found, files),
        "pasted": _describe_effect(one, "pasted", found, files),
        "groups": [group._asdict() for group in count_groups(one, found.closed.samples)],
        "training": one.training and _describe_training(one.training, found),
        "untried": list(one.untried),
    }


def _describe_effect(
    one: Shortcut, kind: str, found: ShortcutsFound, files: dict[int, str | None]
) -> dict[str, Any] | None:
    effect = one.erased if kind == "erased" else one.pasted
    if effect is None:
        return None
    shown = {of.probe: _shown_path(one, kind, of.probe) for of in one.shown if of.kind == kind}
    confidences = [[_finite(value) for value in row] for row in effect.confidences]
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
                "confidences": confidences[place] if confidences else None,
                "image": shown.get(change.row),
            }
            for place, change in enumerate(effect.changes)
        ],
    }


def _describe_training(training: TrainingList, found: ShortcutsFound) -> dict[str, Any]:
    return {
        "text": training.text,
        "note": training.note,
        "looked_at": len(training.pictures),
        "total": training.total,
        "nearest": [
            {
                "index": one.index,
                "file": one.file,
                "label": None if one.label is None else found.name(one.label),
                "likeness": _finite(one.likeness),
            }
            for one in training.pictures[:12]
        ],
    }


def _ranked(one: Shortcut, found: ShortcutsFound) -> list[tuple[object, ...]]:
    """Return the training pictures of a shortcut, numbered from 1."""
    return [
        (
            one.label,
            rank,
            of.index,
            of.file,
            None if of.label is None else found.name(of.label),
            f"{of.likeness:.4f}" if math.isfinite(of.likeness) else None,
        )
        for rank, of in enumerate(one.training.pictures if one.training else (), start=1)
    ]


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


def _shown_path(one: Shortcut, kind: str, probe: int) -> str:
    return f"{SHOWN_FOLDER}/{one.number:04d}-{kind}-{probe:06d}.png"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return "" if value is None else value

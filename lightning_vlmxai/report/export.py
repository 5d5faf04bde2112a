"""Samples of a run for other programs: a table, a list of names, FiftyOne, Label Studio.

The page's script `export.js` makes the same bytes of the same samples.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError, expected
from ..records import Quadrant
from .run import Run, RunRound, RunSample
from .text import one_line

FORMATS = {
    "csv": ("CSV", "csv"),
    "names": ("List of names", "txt"),
    "fiftyone": ("FiftyOne", "json"),
    "label-studio": ("Label Studio", "json"),
}
"""Name and file's extension of each format."""
DIGITS = 4
"""Behind the point of every number."""
COLUMNS = (
    "file", "probe", "part", "round", "epoch", "step", "label", "prediction", "correct",
    "confidence", "score", "quadrant", "reason", "drift", "evaluation", "justification",
)  # fmt: skip
UNSCORED = "unscored"

SORTS: dict[str, tuple[Callable[[RunSample], float | None], int]] = {
    "low": (lambda s: s.score, 1),
    "high": (lambda s: s.score, -1),
    "sure": (lambda s: s.confidence, -1),
    "unsure": (lambda s: s.confidence, 1),
    "drift": (lambda s: s.attention_drift, -1),
    "probe": (lambda s: s.probe, 1),
}
"""The gallery's: what they go by, and in which direction."""

_FIELD = "fiftyone.core.fields."
_LABEL = f"{_FIELD}EmbeddedDocumentField(fiftyone.core.labels.Classification)"
_SAMPLE_FIELDS = {
    "filepath": f"{_FIELD}StringField",
    "tags": f"{_FIELD}ListField({_FIELD}StringField)",
    "ground_truth": _LABEL,
    "prediction": _LABEL,
    **dict.fromkeys(("probe", "part", "epoch", "step"), f"{_FIELD}IntField"),
    **dict.fromkeys(("score", "drift"), f"{_FIELD}FloatField"),
    "correct": f"{_FIELD}BooleanField",
    **dict.fromkeys(
        ("round", "quadrant", "reason", "evaluation", "justification"), f"{_FIELD}StringField"
    ),
}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the gallery shows of a run.

    Args:
        round: Key of a round, as "fit-3"; "all", or "" for the curve's last.
        quadrant: Name of one, or "unscored"; "" for any.
        label: True class; None for any.
        reason: Why samples are unscored; "" for any.
        sort: One of `SORTS`.
    """

    round: str = ""
    quadrant: str = ""
    label: str | None = None
    reason: str = ""
    sort: str = "low"


def list_rows(run: Run, filters: Filters, *, prefix: str = "") -> list[Row]:
    """Return a row of `COLUMNS` for each sample that passes, in order; what isn't known is None.

    Args:
        run: The run.
        filters: What passes.
        prefix: Goes before each file's name.

    Raises:
        ConfigurationError: If the run has no such round, class or reason.
    """
    rounds = choose_rounds(run, filters.round)
    every = [(of, sample) for of in run.rounds for sample in of.samples]
    _check(filters.label, "class", [sample.label_name for _, sample in every])
    _check(filters.reason or None, "reason", [sample.reason for _, sample in every])
    found = [(of, s) for of, s in every if of in rounds and _passes(s, filters)]
    get, direction = SORTS[filters.sort]
    places = {id(of): place for place, of in enumerate(run.rounds)}

    def order(pair: tuple[RunRound, RunSample]) -> tuple[bool, float, int, int]:
        value = get(pair[1])
        return value is None, direction * (value or 0.0), pair[1].probe, places[id(pair[0])]

    return [_to_row(of, sample, prefix) for of, sample in sorted(found, key=order)]


def write_rows(rows: Sequence[Row], kind: str) -> str:
    """Return rows as the text of a file of a format.

    A CSV has a cell for each column, numbers to four digits, and a `'` before text that a
    spreadsheet would take for a formula. The other formats have the rows whose file is known.

    Args:
        rows: Of `list_rows`.
        kind: One of `FORMATS`.
    """
    if kind == "csv":
        return write_table(COLUMNS, rows)
    named = [row for row in rows if row["file"]]
    if kind == "names":
        return "".join(f"{name}\n" for name in dict.fromkeys(row["file"] for row in named))
    made: Any = [_to_task(row) for row in named]
    if kind == "fiftyone":
        made = {
            "name": "vlmxai",
            "media_type": "image",
            "sample_fields": _SAMPLE_FIELDS,
            "samples": [_to_fiftyone(row) for row in named],
        }
    return json.dumps(made, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def write_table(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Return rows as the text of a CSV file, with a `'` before what a spreadsheet would run.

    Args:
        columns: Names, in order.
        rows: A value for each name.
    """
    lines = [",".join(columns)]
    lines += [",".join(_cell(row[name]) for name in columns) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def describe_exports(run: Run) -> dict[str, Any]:
    """Return what a page's script needs to write the same."""
    return {
        "formats": [[kind, name, extension] for kind, (name, extension) in FORMATS.items()],
        "columns": list(COLUMNS),
        "digits": DIGITS,
        "fields": _SAMPLE_FIELDS,
        "files": one_line(str(run.settings.get("files") or ""), 400),
    }


def choose_rounds(run: Run, name: str) -> list[RunRound]:
    """Return the rounds of a key, such as "fit-3"; all of "all", the curve's last one of "".

    Raises:
        ConfigurationError: If the run has no such round.
    """
    if name == "all":
        return list(run.rounds)
    if not name:
        return list(run.curve[-1:])
    found = [of for of in run.rounds if of.key == name]
    if not found:
        _check(name, "round", [of.key for of in run.rounds])
    return found


def _check(asked: str | None, name: str, there: Sequence[str]) -> None:
    known = sorted({one for one in there if one})
    if asked is not None and asked not in known:
        some = ", ".join(one_line(one, 40) for one in known[:12]) or "none"
        raise ConfigurationError(
            expected(name, f"one that the run has ({some})", repr(asked), "Pass one of these")
        )


def _passes(sample: RunSample, filters: Filters) -> bool:
    if filters.quadrant == UNSCORED:
        if sample.score is not None:
            return False
    elif filters.quadrant and sample.quadrant is not Quadrant(filters.quadrant):
        return False
    if filters.label is not None and sample.label_name != filters.label:
        return False
    return not filters.reason or sample.reason == filters.reason


def _to_row(of: RunRound, sample: RunSample, prefix: str) -> Row:
    return {
        "file": f"{prefix}{sample.file}" if sample.file else None,
        "probe": sample.probe,
        "part": sample.part,
        "round": one_line(of.key),
        "epoch": of.epoch,
        "step": of.step,
        "label": sample.label_name,
        "prediction": sample.prediction_name,
        "correct": sample.is_correct,
        "confidence": _number(sample.confidence),
        "score": _number(sample.score),
        "quadrant": None if sample.quadrant is None else sample.quadrant.value,
        "reason": sample.reason or None,
        "drift": _number(sample.attention_drift),
        "evaluation": sample.evaluation,
        "justification": sample.justification,
    }


def _number(value: float | None) -> float | int | None:
    """Return a number as every program writes it: to four digits, whole ones without a point."""
    if value is None:
        return None
    rounded = round(value, DIGITS)
    return int(rounded) if rounded.is_integer() else rounded


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    text = f"'{value}" if value.startswith(("=", "+", "-", "@", "\t")) else value
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in '",\n\r') else text


def _to_fiftyone(row: Row) -> Row:
    truth = {"_cls": "Classification", "tags": [], "label": row["label"]}
    prediction = {**truth, "label": row["prediction"], "confidence": row["confidence"]}
    rest = {name: row[name] for name in _SAMPLE_FIELDS if name in row and name != "prediction"}
    tags = [row["quadrant"] or UNSCORED]
    return {
        "filepath": row["file"], "tags": tags, "ground_truth": truth, "prediction": prediction,
        **rest,
    }  # fmt: skip


def _to_task(row: Row) -> Row:
    chosen = {"choices": [row["prediction"]]}
    result = {"from_name": "class", "to_name": "image", "type": "choices", "value": chosen}
    prediction = {"model_version": row["round"], "score": row["confidence"], "result": [result]}
    rest = {name: row[name] for name in COLUMNS if name != "file"}
    return {"data": {"image": row["file"], **rest}, "predictions": [prediction]}

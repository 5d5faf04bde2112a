"""The lines of a run folder's files, whatever stands in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..judges import read_attended
from ..records import Quadrant
from ..rounds import assign_quadrant, is_borderline
from ..trust import say_partly
from .run import RunSample
from .text import in_folder, visible
from .values import measures as _measures
from .values import number as _number
from .values import text as _text
from .values import whole as _whole

Texts = dict[str, str]
MOST_WORDS = 2_000
"""Words of one caption that are shown."""
_NONE: dict[str, str] = {}
_NO_MEASURES: dict[str, float] = {}


@dataclass(slots=True)
class Reading:
    """Reads the files of a run folder and keeps what there was to be said of them."""

    path: Path
    notices: list[str] = field(default_factory=list)

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the objects of a file of JSON lines; say which lines are none."""
        try:
            file = in_folder(self.path, name).open("rb")
        except OSError:
            return
        broken, is_cut = 0, False
        with file:
            for raw in file:
                try:
                    record = json.loads(raw)
                except (ValueError, RecursionError):
                    record = None
                if isinstance(record, dict):
                    yield record
                elif raw.strip():
                    broken, is_cut = broken + 1, not raw.endswith(b"\n")
        if is_cut:
            broken -= 1
            self.notices.append(f"The last line of {name} is cut off and was left out.")
        if broken:
            lines = "1 line" if broken == 1 else f"{broken:,} lines"
            was = "was" if broken == 1 else "were"
            self.notices.append(f"{lines} of {name} can't be read and {was} left out.")

    def record(self, name: str) -> dict[str, Any]:
        """Return what a JSON file holds; nothing without it, and said if it can't be read."""
        try:
            record = json.loads(in_folder(self.path, name).read_bytes())
        except OSError:
            return {}
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            return record
        self.notices.append(f"{name} can't be read and was left out.")
        return {}

    def settings(self) -> dict[str, Any]:
        """Return `run.json`, or nothing and say why."""
        try:
            settings = json.loads(in_folder(self.path, "run.json").read_bytes())
        except OSError:
            self.notices.append("run.json is missing: how the run was made is not known.")
            return {}
        except (ValueError, RecursionError):
            settings = None
        if isinstance(settings, dict):
            return settings
        self.notices.append("run.json can't be read: how the run was made is not known.")
        return {}


def read_sample(
    line: dict[str, Any], threshold: float, *, rank: int | None = None, texts: Texts | None = None
) -> RunSample:
    """Return a line of `samples.jsonl` as a record.

    Args:
        line: The line.
        threshold: From which a score is High, for lines that don't tell their quadrant.
        rank: Whose file has the line.
        texts: Texts of earlier lines, so that what many lines say is held once; filled.
    """
    once = {} if texts is None else texts

    def name(value: object, limit: int) -> str:
        return keep(visible(_text(value), limit))

    def keep(told: str) -> str:
        return once.setdefault(told, told)

    score, is_correct = _number(line.get("score")), line.get("is_correct")
    if not isinstance(is_correct, bool):
        is_correct = None
    quadrant = None
    if score is not None:
        try:
            quadrant = Quadrant(line.get("quadrant"))
        except ValueError:
            if is_correct is not None:
                quadrant = assign_quadrant(score, is_correct=is_correct, threshold=threshold)
    probe = _whole(line.get("probe")) or 0
    inclusion, expected_score = _number(line.get("inclusion")), _number(line.get("expected_score"))
    if expected_score is None or inclusion is None or not 0 < inclusion < 1:
        inclusion, expected_score = 1.0, None
    spread, measures = _number(line.get("spread")), _measures(line) or _NO_MEASURES
    asked = line.get("asked")
    stage = keep(_text(line.get("stage")) or "fit")
    groups = line.get("groups") if isinstance(line.get("groups"), dict) else None
    return RunSample(
        stage=stage,
        number=_whole(line.get("round")) or 0,
        probe=probe,
        part=_whole(line.get("part")),
        file=_text(line.get("file")).encode("utf-8", "replace").decode(),
        fingerprint=keep(_text(line.get("fingerprint"))),
        label_name=name(line.get("label_name", line.get("label")), 200),
        prediction_name=name(line.get("prediction_name", line.get("prediction")), 200),
        asked=tuple(map(_text, asked)) if isinstance(asked, list) else (),
        reference_mask=_text(line.get("reference_mask")),
        confidence=_number(line.get("confidence")),
        is_correct=is_correct,
        score=score,
        quadrant=quadrant,
        reason=name(line.get("reason"), 80) if score is None else "",
        detail=visible(_text(line.get("detail"))),
        evaluation=visible(_text(line.get("evaluation"))),
        justification=visible(_text(line.get("justification"))),
        attention_drift=_number(line.get("attention_drift")),
        is_cached=line.get("is_cached") is True,
        is_reused=line.get("is_reused") is True,
        calls=_whole(line.get("calls")) or 0,
        tokens=_whole(line.get("tokens")) or 0,
        cost_usd=_number(line.get("cost_usd")),
        latency_s=_number(line.get("latency_s")),
        image=_text(line.get("image")),
        saliency=_text(line.get("saliency")),
        picture=_text(line.get("picture", f"images/{stage}/{probe:06d}.png")),
        measures=measures,
        spread=spread,
        is_borderline=None if score is None else is_borderline(score, spread, threshold),
        partly=say_partly(measures) if quadrant is Quadrant.CORRECT_LOW else "",
        rank=rank,
        row=None if rank is None else _whole(line.get("row")),
        groups={name(key, 80): name(of, 200) for key, of in groups.items()} if groups else _NONE,
        label=_whole(line.get("label")),
        prediction=_whole(line.get("prediction")),
        words=_read_words(line.get("words"), name),
        attends_to=tuple(
            (keep(what), is_part) for what, is_part in read_attended(line.get("attends_to")) or ()
        ),
        inclusion=inclusion,
        expected_score=expected_score,
    )


def _read_words(told: object, name: Callable[[object, int], str]) -> tuple[tuple[str, float], ...]:
    """Return words with their values; none where one is no pair of text and number."""
    if not isinstance(told, list) or len(told) > MOST_WORDS:
        return ()
    found = []
    for one in told:
        if not (isinstance(one, list) and len(one) == 2 and isinstance(one[0], str)):
            return ()
        value = _number(one[1])
        if value is None:
            return ()
        found.append((name(one[0], 200), value))
    return tuple(found)

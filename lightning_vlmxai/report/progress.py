"""How far a run is that still goes on: its last round, and the verdicts of the one that is open."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from .text import one_line
from .values import text, whole

_Key = tuple[str, int]


class Progress:
    """Follows a run folder's growing files, each line read once.

    Args:
        run_dir: The run folder; it need not be there yet.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._read: dict[str, int] = {}
        self._probes: dict[_Key, int] = {}
        self._last: _Key | None = None
        self._answered: defaultdict[_Key, set[tuple[object, object]]] = defaultdict(set)

    def look(self) -> None:
        """Read what was added since the last look."""
        for line in self._lines("rounds.jsonl"):
            self._last = (text(line.get("stage")) or "fit", whole(line.get("number")) or 0)
            self._probes[self._last] = whole(line.get("probes")) or 0
        for line in self._lines("judge_calls.jsonl"):
            number, probe = whole(line.get("round")), whole(line.get("probe"))
            if number is not None and probe is not None:
                key = (text(line.get("stage")) or "fit", number)
                self._answered[key].add((probe, line.get("part")))

    @property
    def words(self) -> str:
        """The last round that is written, and how many verdicts of later ones are in."""
        if self._last is None:
            stage, number = "", -1
            said = "no round is written yet"
        else:
            stage, number = self._last
            said = f"{one_line(stage, 40)} round {number} is the last one"
        newer = [key for key in self._answered if key[0] == (stage or key[0]) and key[1] > number]
        if newer:
            key = max(newer, key=lambda key: key[1])
            of = self._probes.get(self._last) if self._last else None
            verdicts = f"{len(self._answered[key])}{f' of {of}' if of else ''}"
            said += f"; {verdicts} verdicts of round {key[1]} are in"
        return said

    def _lines(self, name: str) -> list[dict[str, Any]]:
        """Return the whole lines that were added to a file; a file that shrank is read anew."""
        path, found = self.run_dir / name, []
        try:
            with path.open("rb") as file:
                at = self._read.get(name, 0)
                file.seek(at if at <= path.stat().st_size else 0)
                while (raw := file.readline()).endswith(b"\n"):
                    self._read[name] = file.tell()
                    try:
                        line = json.loads(raw)
                    except (ValueError, RecursionError):
                        continue
                    if isinstance(line, dict):
                        found.append(line)
        except OSError:
            pass
        return found

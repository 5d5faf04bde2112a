"""Verdicts that were paid for, kept in a file."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..disk import tell_full
from ..errors import ConfigurationError, expected
from ..records import UnscoredReason, Verdict
from .answers import read_attended, tell_attended
from .shared_file import open_shared

_log = logging.getLogger(__name__)

KEPT_REASONS = frozenset(
    {
        UnscoredReason.CONTENT_FILTER,
        UnscoredReason.OUT_OF_RANGE,
        UnscoredReason.REFUSAL,
        UnscoredReason.TRUNCATED,
        UnscoredReason.UNPARSEABLE,
    }
)
"""What the *model* answered with. Faults of the way to it may pass and are not kept."""


def cache_key(facts: Mapping[str, Any]) -> str:
    """Return the name of an answer: the SHA-256 of everything that determines it.

    Args:
        facts: Plain values, writable as JSON; their order does not matter.

    Example:
        >>> cache_key({"a": 1, "b": 2}) == cache_key({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class VerdictCache:
    """A file of verdicts, safe for the processes of one machine; not for network file systems.

    Each verdict is written before it is returned: a run that is killed has lost no answer that
    its judge has given it.

    Args:
        path: Of the SQLite file.

    Raises:
        ConfigurationError: If the file can't be opened or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._database = self._open()
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(path, error) from error

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = open_shared(self._path)
        try:
            database.execute(
                "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict TEXT NOT NULL)"
            )
        except sqlite3.Error:
            database.close()
            raise
        return database

    def get(self, key: str) -> Verdict | None:
        """Return the verdict of that key, marked as cached and free of cost, or None."""
        row = self._database.execute(
            "SELECT verdict FROM verdicts WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        kept = json.loads(row[0])
        reason = None if kept["reason"] is None else UnscoredReason(kept["reason"])
        return Verdict(
            score=kept["score"],
            evaluation=kept["evaluation"],
            justification=kept["justification"],
            reason=reason,
            detail=kept["detail"],
            is_cached=True,
            attends_to=read_attended(kept.get("attends_to")),
        )

    def put(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict, if it is one that the model gave."""
        if verdict.reason is not None and verdict.reason not in KEPT_REASONS:
            return
        kept = {
            "score": verdict.score,
            "evaluation": verdict.evaluation,
            "justification": verdict.justification,
            "reason": None if verdict.reason is None else verdict.reason.value,
            "detail": verdict.detail,
            "attends_to": tell_attended(verdict.attends_to),
        }
        try:
            if not self._path.exists():  # its folder was deleted: what is written would be lost
                self._database.close()
                self._database = self._open()
            self._database.execute(
                "INSERT OR REPLACE INTO verdicts VALUES (?, ?)", (key, json.dumps(kept))
            )
        except (OSError, sqlite3.Error) as error:  # a full disk: the verdict itself is good
            if not tell_full(error):
                _log.warning("A verdict could not be kept for later runs: %s", error)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @staticmethod
    def _unusable(path: Path, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            expected(
                "cache",
                "a file for verdicts that can be written",
                f"{path} ({error})",
                "Delete that file, pass another path, or pass cache=False",
            )
        )

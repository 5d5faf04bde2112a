"""A line for each call to a judge's server."""

from __future__ import annotations

import json
import logging
import os
from datetime import datetime, timezone
from pathlib import Path

from ..disk import tell_full
from ..records import JudgeRequest, Verdict

_log = logging.getLogger(__name__)


class CallLog:
    """Appends records to a file of JSON lines; several processes may share the file.

    A file that can't be written costs its lines and nothing else, and is warned of once; one that
    was deleted is made again.

    Args:
        path: Of the file; nothing is written if None.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._is_told = False

    def add(self, request: JudgeRequest, verdict: Verdict, **more: str | int | None) -> None:
        """Append what became of a request, with the time (UTC).

        Args:
            request: That was judged.
            verdict: That it got, with the tries and tokens that it took.
            more: Further entries.
        """
        if self._path is None:
            return
        record = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "round": request.round_number,
            "probe": request.probe_index,
            **more,
            "tries": verdict.usage.calls,
            "latency_s": round(verdict.latency_s, 4),
            "tokens": verdict.usage.tokens,
            "cost_usd": verdict.usage.cost_usd,
            "score": verdict.score,
            "reason": None if verdict.reason is None else verdict.reason.value,
            "detail": verdict.detail,
            "cached": verdict.is_cached,
        }
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                # One write for a line: appends of several processes don't mix.
                os.write(descriptor, f"{json.dumps(record)}\n".encode("ascii"))
            finally:
                os.close(descriptor)
        except OSError as error:
            if not tell_full(error) and not self._is_told:
                _log.warning("The log of the judge's calls could not be written: %s", error)
            self._is_told = True

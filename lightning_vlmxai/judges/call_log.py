"""A line for each call to a judge's server."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path

from ..records import JudgeRequest, Verdict


class CallLog:
    """Appends records to a file of JSON lines; several processes may share the file.

    Args:
        path: Of the file; nothing is written if None.
    """

    def __init__(self, path: Path | None) -> None:
        self._descriptor: int | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def add(self, request: JudgeRequest, verdict: Verdict, **more: str | int | None) -> None:
        """Append what became of a request, with the time (UTC).

        Args:
            request: That was judged.
            verdict: That it got, with the tries and tokens that it took.
            more: Further entries.
        """
        if self._descriptor is None:
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
            "reused": verdict.is_reused,
        }
        # One write for a line: appends of several processes don't mix.
        os.write(self._descriptor, f"{json.dumps(record)}\n".encode("ascii"))

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

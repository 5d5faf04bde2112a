"""A line for each call to a judge's server."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


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

    def write(self, **record: Any) -> None:
        """Append one record with the time at which it was written (UTC)."""
        if self._descriptor is None:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **record}, ensure_ascii=False)
        # One write for a line: appends of several processes don't mix.
        os.write(self._descriptor, f"{line}\n".encode())

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

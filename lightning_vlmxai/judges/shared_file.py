"""SQLite files that the processes of one machine share."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

_TIMEOUT_S = 30.0


def open_shared(path: Path | str) -> sqlite3.Connection:
    """Return a connection in write-ahead mode, in which readers and a writer don't wait.

    With it a file survives the death of a process; only a power cut may lose the last entries.

    Args:
        path: Of the file; made if need be. ":memory:" for none.

    Raises:
        sqlite3.Error: If the file can't be opened or is none of SQLite's.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=_TIMEOUT_S)
    ends = time.monotonic() + _TIMEOUT_S
    try:
        while not _switch_mode(connection, is_last_try=time.monotonic() > ends):
            time.sleep(0.01)
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _switch_mode(connection: sqlite3.Connection, *, is_last_try: bool) -> bool:
    """Return whether the mode is set; SQLite does not wait by itself where two processes do so."""
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if is_last_try or "locked" not in str(error):
            raise
        return False
    return True

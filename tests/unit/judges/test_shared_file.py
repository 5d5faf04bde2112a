"""Files that several processes make at the same moment."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from lightning_vlmxai.judges.shared_file import open_shared


def test_a_new_file_that_another_writes_to_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself gives up at once there; what the other wrote is read afterwards."""
    path = tmp_path / "new.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE lines (line TEXT)")
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO lines VALUES ('one')")
    threading.Timer(0.2, other.execute, ("COMMIT",)).start()
    connection = open_shared(path)
    assert connection.execute("SELECT line FROM lines").fetchall() == [("one",)]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    other.close()


def test_a_file_of_another_kind_is_refused_at_once(tmp_path: Path) -> None:
    """Waiting would not help."""
    path = tmp_path / "text.sqlite"
    path.write_text("not a database " * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        open_shared(path)

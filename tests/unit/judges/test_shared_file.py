"""Files that several processes open at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lightning_vlmxai.judges.shared_file import open_shared


def test_a_new_file_can_be_opened_by_many_at_once(tmp_path: Path) -> None:
    """None of them finds it locked, and each writes."""

    def write(path: Path, start: threading.Barrier) -> None:
        start.wait(30)
        connection = open_shared(path)
        connection.execute("CREATE TABLE IF NOT EXISTS lines (line TEXT)")
        connection.execute("INSERT INTO lines VALUES ('one')")
        connection.close()

    with ThreadPoolExecutor(8) as threads:
        for number in range(25):
            path, start = tmp_path / f"{number}.sqlite", threading.Barrier(8)
            for job in [threads.submit(write, path, start) for _ in range(8)]:
                job.result(60)
            connection = open_shared(path)
            assert connection.execute("SELECT COUNT(*) FROM lines").fetchone() == (8,)
            connection.close()

"""Signals: what is judged by then is written, with the report, and nobody waits for a server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import interrupted_fit
import lightning_vlmxai
from curves import read_lines
from openai_server import OpenAIServer, Reply, Seen, verdict

ANSWERED = 7
"""The rehearsal's request, the four of the first round, and two of the second."""


def interrupt(folder: Path, where: str, number: int, *, again: bool = False) -> tuple[int, str]:
    """Send a signal to a fit when it is there; return its exit status and what it printed."""
    here = Path(interrupted_fit.__file__).parent
    paths = [str(here), str(Path(lightning_vlmxai.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}

    def answer(seen: Seen) -> Reply:
        if seen.number >= ANSWERED:
            server.closing.wait(900)
        return verdict(3)

    with OpenAIServer(answer) as server:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, interrupted_fit.__file__, str(folder), server.base_url, where],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            while not ((folder / "there").exists() and len(server.requests) > ANSWERED):
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.02)
            process.send_signal(number)
            while again and process.poll() is None:
                time.sleep(0.05)
                process.send_signal(number)
            printed, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, printed


@pytest.mark.parametrize(
    ("where", "number"),
    [
        pytest.param("training", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("training", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("collecting", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("ending", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("ending", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_what_is_judged_is_written(where: str, number: int, tmp_path: Path) -> None:
    """The server hangs and the deadlines are 15 minutes; only the signal can end the process."""
    _, printed = interrupt(tmp_path, where, number)
    run = tmp_path / "run"
    rounds = {r["number"]: r for r in read_lines(run / "rounds.jsonl")}
    assert rounds[0]["judged"] == 4
    assert rounds[1]["judged"] == 2
    reasons: dict[int, list[Any]] = {0: [], 1: []}
    for sample in read_lines(run / "samples.jsonl"):
        reasons.setdefault(sample["round"], []).append(sample["reason"])
    assert reasons[0] == [None] * 4
    assert sorted(reasons[1], key=str) == [None, None, "closed", "closed"]
    assert "interrupted" in (run / "samples.jsonl").read_text()
    assert (run / "report.html").stat().st_size > 10_000
    assert "Correct" in printed


@pytest.mark.slow
def test_the_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    """Where the first waits for what is under way, here for 10 minutes."""
    _, printed = interrupt(tmp_path, "twice", signal.SIGINT, again=True)
    assert "ended at once" in printed
    assert not (tmp_path / "run" / "report.html").exists()

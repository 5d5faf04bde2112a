"""A real disk of a megabyte, which runs full in the middle of a fit."""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from curves import MemoryLogger
from helpers_judge import make_judge
from lightning_vlmxai import Budget, VLMExplainCallback
from openai_server import OpenAIServer, judge_by_light
from tiny import Separable, Squares, loader, make_trainer

SIZE = 1_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount one; skip where that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:  # noqa: S603
        pytest.skip("mounting a disk takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S603, S607


@pytest.mark.parametrize("budget", [None, Budget(max_calls=1000)], ids=["", "with a budget"])
def test_a_full_disk_costs_no_answer_and_one_warning(
    small_disk: Path, budget: Budget | None, caplog: pytest.LogCaptureFixture
) -> None:
    """All that was asked and answered counts in the figures; the training ends as ever.

    With a budget nothing more is asked once its account can't be written.
    """
    logger = MemoryLogger()

    def answer(seen):
        if seen.number == 10:
            with contextlib.suppress(OSError):  # full before all of it is written
                (small_disk / "filling").write_bytes(b"x" * SIZE)
        return judge_by_light(seen)

    with OpenAIServer(answer) as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        callback = VLMExplainCallback(
            make_judge(server.base_url, concurrency=1, budget=budget),
            probe_size=6,
            run_dir=small_disk / "run",
        )
        trainer = make_trainer(small_disk.parent, callback, logger=logger, max_epochs=4)
        with caplog.at_level(logging.WARNING):
            trainer.fit(Separable(), loader(Squares()), loader(Squares(16, seed=1)))
        answered = len(server.requests)
    assert trainer.current_epoch == 4
    assert shutil.disk_usage(small_disk).free < 4096
    coverage = logger.curves["vlmxai/coverage"]
    assert len(coverage) == 4
    # The rehearsal's picture is another: six calls a round and one before.
    assert sum(coverage.values()) * 6 == answered - 1
    assert answered == 25 or (budget is not None and answered >= 11)
    told = [str(w.message) for w in caught if "vlmxai" in str(w.message)]
    told += [r.getMessage() for r in caplog.records if r.name.startswith("lightning_vlmxai")]
    full = [line for line in told if "disk is full" in line or "No space" in line]
    assert len([line for line in full if "unscored" not in line]) == 1
    others = [line for line in told if line not in full]
    assert [line for line in others if "unscored" not in line] == []

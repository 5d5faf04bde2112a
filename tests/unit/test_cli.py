"""The command `vlmxai`."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lightning_vlmxai import cli
from lightning_vlmxai.cli import main
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.report import find_run_dir
from run_folders import make_round, write_run


def test_a_report_is_written_beside_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the run folder, or from the log folder that holds it."""
    write_run(tmp_path / "vlmxai", [make_round(0)])
    assert main(["report", str(tmp_path)]) == 0
    out = tmp_path / "vlmxai" / "report.html"
    assert out.is_file()
    assert capsys.readouterr().out == f"Written: {out}\n"


def test_two_runs_are_compared(tmp_path: Path) -> None:
    """On a page that can be named."""
    for name in "ab":
        write_run(tmp_path / name, [make_round(0)])
    out = tmp_path / "pages" / "ab.html"
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]) == 0
    assert "vlmxai comparison" in out.read_text()


def test_of_several_runs_the_newest_is_meant(tmp_path: Path) -> None:
    """By the last change of their files."""
    for number, name in enumerate(("vlmxai", "vlmxai-2", "vlmxai-1")):
        write_run(tmp_path / name, [make_round(0)])
        for file in (tmp_path / name).glob("*.json*"):
            os.utime(file, (number, number))
    assert find_run_dir(tmp_path).name == "vlmxai-1"


@pytest.mark.parametrize("name", ["empty", "none"])
def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence that says what to pass."""
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / name)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("vlmxai: Expected `run` to be a folder with run.json")
    assert "Pass the vlmxai folder beside the run's logs" in told


def test_a_folder_that_is_not_there_can_not_be_watched(tmp_path: Path) -> None:
    """One in which a run may still appear can."""
    assert main(["report", str(tmp_path / "none"), "--watch"]) == 2


def test_a_port_that_is_taken_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the way out."""
    assert main(["report", str(tmp_path), "--watch", "--port", "99999"]) == 2
    assert "Expected `port` to be free on 127.0.0.1" in capsys.readouterr().err


def test_a_watch_ends_cleanly_when_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that appeared while it was watched has its page at the end; no thread is left."""

    def interrupt(self: threading.Event, timeout: float | None = None) -> bool:
        write_run(tmp_path / "vlmxai", [make_round(0)])
        self.wait = fail  # type: ignore[method-assign]
        return False

    def fail(timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    class Interrupted(threading.Event):
        wait = interrupt

    before = threading.active_count()
    stop = Interrupted()
    cli.watch([tmp_path], 0, None, stop)
    assert threading.active_count() == before
    told = capsys.readouterr().out
    assert "Serving http://127.0.0.1:" in told
    assert f"Written: {tmp_path / 'vlmxai' / 'report.html'}" in told


def test_a_summary_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the run that the folder holds."""
    write_run(tmp_path / "vlmxai")
    assert main(["summary", str(tmp_path)]) == 0
    assert "Correct-Low" in capsys.readouterr().out


def test_find_run_dir_raises_the_packages_own_error(tmp_path: Path) -> None:
    """For who calls it from Python."""
    with pytest.raises(ConfigurationError, match="Expected `run`"):
        find_run_dir(tmp_path)

"""Pages that can be sent: with every picture inside, or with them in a zip file."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest

from lightning_vlmxai.cli import main
from lightning_vlmxai.report import pictures, write_comparison, write_report
from run_folders import PROBES, ROUNDS, make_round, write_run

ALL = PROBES + 2 * PROBES * ROUNDS
"""Pictures of a run: one of each probe, two of each sample."""


@pytest.fixture(autouse=True)
def few_are_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page hold one batch of pictures."""
    monkeypatch.setattr(pictures, "MAX_PICTURES", 64)


def sources(page: str) -> list[str]:
    """Return where a page has its pictures from."""
    (found,) = re.findall(r'id="pictures">(.*?)</script>', page, re.S)
    return [str(source) for source in json.loads(found)]


def test_a_zip_file_holds_the_page_and_what_it_refers_to(tmp_path: Path) -> None:
    """Each picture once: in the page or beside it; unpacked, every address is a file."""
    write_run(tmp_path / "run")
    written = write_report(tmp_path / "run", zips=True)
    assert written == tmp_path / "run" / "report.zip"
    with zipfile.ZipFile(written) as file:
        assert file.testzip() is None
        file.extractall(tmp_path / "sent")
    found = sources((tmp_path / "sent" / "report.html").read_text())
    referred = [unquote(source) for source in found if not source.startswith("data:")]
    assert len(found) == ALL
    assert len(referred) == ALL - 64
    assert all((tmp_path / "sent" / source).is_file() for source in referred)
    files = [path for path in (tmp_path / "sent").rglob("*") if path.is_file()]
    assert len(files) == 1 + len(referred)
    one = tmp_path / "sent" / referred[0]
    assert (
        one.read_bytes() == (tmp_path / "run" / Path(referred[0]).relative_to("run")).read_bytes()
    )


def test_all_pictures_can_be_in_the_page(tmp_path: Path) -> None:
    """By default those beyond the limit are not, and the page says how to send it."""
    write_run(tmp_path)
    page = write_report(tmp_path, embeds_all=True).read_text()
    assert len(sources(page)) == ALL
    assert all(source.startswith("data:") for source in sources(page))
    assert "vlmxai report RUN --zip" not in page
    assert "vlmxai report RUN --zip" in write_report(tmp_path).read_text()


def test_a_comparison_is_sent_with_the_pictures_of_both_runs(tmp_path: Path) -> None:
    """Each in a folder of its run's letter."""
    for name, score in (("a", 5.0), ("b", 0.0)):
        write_run(tmp_path / name, [make_round(0, probes=60, score=lambda *_, s=score: s)])
    written = write_comparison([tmp_path / "a", tmp_path / "b"], zips=True)
    with zipfile.ZipFile(written) as file:
        names = file.namelist()
    assert names[0] == "comparison.html"
    assert {name[0] for name in names[1:]} == {"A", "B"}


def test_the_command_writes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --zip and --embed all, where --out says."""
    write_run(tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), "--zip", "--out", str(tmp_path / "a.zip")]) == 0
    assert zipfile.is_zipfile(tmp_path / "a.zip")
    assert main(["report", str(tmp_path / "run"), "--embed", "all"]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(source.startswith("data:") for source in sources(page))
    assert capsys.readouterr().out.count("Written: ") == 2

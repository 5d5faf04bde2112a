"""`vlmxai labels`: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from label_folders import draw_labels, write_audit
from lightning_vlmxai.cli import main
from run_folders import write_run

pytest.importorskip("cleanlab", reason="the extra `labels` is not installed")
Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def read_table(file: Path) -> list[dict[str, str]]:
    """Return the rows of `suspects.csv`."""
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_it_finds_the_labels_that_were_changed(tmp_path: Path, capsys: Out) -> None:
    """The six of sixty, in the terminal, in the table and on the page."""
    assert main(["labels", str(write_audit(tmp_path)), "--top", "7"]) == 0
    said = capsys.readouterr().out
    assert "test-0: 60 labels" in said
    assert "In the order of Combined:" in said
    rows = read_table(tmp_path / "suspects.csv")
    assert len(rows) == 7
    assert {int(row["probe"]) for row in rows[:6]} == {0, 10, 20, 30, 40, 50}
    assert [row["rank"] for row in rows] == [row["rank_combined"] for row in rows] == [*"1234567"]
    for row in rows[:6]:
        assert f"{row['file']} " in said
        assert "combined confident_learning" in row["flagged_by"]
        assert row["evaluation"] == f"Seen, <b>{row['probe']}</b>."
        assert float(row["label_probability"]) < 0.5 < float(row["suggested_probability"])
    assert (tmp_path / "labels.html").is_file()


def test_another_order_and_place(tmp_path: Path, capsys: Out) -> None:
    """Wrong-High's, highest score first; text that looks like a formula is none in a table."""
    write_audit(tmp_path / "run")
    out = tmp_path / "new/table.csv"
    words = ["labels", str(tmp_path / "run"), "--method", "wrong_high", "--out", str(out)]
    assert main(words) == 0
    rows = read_table(out)
    high = [row for row in rows if row["quadrant"] == "wrong_high"]
    assert rows[: len(high)] == high
    scores = [float(row["score"]) for row in high]
    assert scores == sorted(scores, reverse=True)
    assert {"'=owl"} <= {row["label"] for row in rows} <= {"cat", "dog", "'=owl"}
    assert "In the order of Wrong-High" in capsys.readouterr().out


def test_without_verdicts_there_is_no_wrong_high(tmp_path: Path, capsys: Out) -> None:
    """The others go by probabilities alone; asked for by name it is refused."""
    write_audit(
        tmp_path, change=lambda line: {**line, "score": None, "quadrant": None, "reason": "pending"}
    )
    assert main(["labels", str(tmp_path)]) == 0
    assert "No sample is judged: there is no Wrong-High." in capsys.readouterr().out
    assert "rank_wrong_high" not in read_table(tmp_path / "suspects.csv")[0]
    assert main(["labels", str(tmp_path), "--method", "wrong_high"]) == 2
    assert "Pass --method combined" in capsys.readouterr().err


def test_what_it_refuses_it_says(
    tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With status 2 and nothing written."""
    _, p = draw_labels()
    own = write_audit(tmp_path / "own", p.argmax(axis=1), p)
    few = write_audit(tmp_path / "few", *draw_labels(60, 30))
    write_run(tmp_path / "fit")
    for words, said in (
        ([str(own)], "audit the data with a second model"),
        ([str(few)], "--min-per-class 1"),
        ([str(tmp_path / "fit")], "an audit, which keeps probabilities"),
        ([str(own), "--top", "0"], "Pass --top 200"),
    ):
        assert main(["labels", *words]) == 2
        assert said in capsys.readouterr().err
    assert main(["labels", str(few), "--min-per-class", "1"]) == 0
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    assert main(["labels", str(write_audit(tmp_path / "bare"))]) == 2
    assert 'pip install "cleanlab>=2.9"' in capsys.readouterr().err
    assert not list(tmp_path.glob("[!f]*/suspects.csv"))

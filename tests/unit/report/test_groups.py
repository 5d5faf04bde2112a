"""A user's table is matched to samples, and rates by its columns are told, shown and written."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from audit_folders import audit_line, draw_lines, write_audit
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lightning_vlmxai.cli import main
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.report import (
    GROUP_COLUMNS,
    group_round,
    print_summary,
    read_metadata,
    read_run,
    write_report,
)
from lightning_vlmxai.report.lines import read_sample
from lightning_vlmxai.report.metadata import Metadata, match_metadata
from lightning_vlmxai.report.run import RunSample
from run_folders import unpack, write_run


def samples_of(files: Sequence[str]) -> list[RunSample]:
    """Return samples with these files, numbered from 10 on."""
    return [read_sample(audit_line(10 + i, file=file), 2.5, rank=0) for i, file in enumerate(files)]


def table(key: str, *rows: tuple[str, str | None]) -> Metadata:
    """Return a table with a column `site`."""
    cells = tuple((name, (site,)) for name, site in rows)
    return Metadata(name="meta.csv", key=key, columns=("site",), rows=cells)


def test_paths_match_by_their_ends() -> None:
    """Of either side; part of a name is no end of a path."""
    samples = samples_of(["/data/val/cat/1.jpg", "val\\dog\\1.jpg", "2.jpg", "xx2.jpg"])
    rows = (
        ("cat/1.jpg", "A"),
        ("./val/dog/1.jpg", "B"),
        ("/mnt/x/2.jpg", "C"),
        ("x2.jpg", "D"),
    )
    groups, notices = match_metadata(table("file", *rows), samples)
    assert groups == {"site": ["A", "B", "C", None]}
    assert notices == [
        "meta.csv: 1 row fitting no sample, left out (x2.jpg).",
        "meta.csv: 1 sample without a row: in none of its groups (xx2.jpg).",
    ]


def test_what_is_not_sure_is_in_no_group() -> None:
    """A row for several samples, rows that differ; rows that agree are one."""
    samples = samples_of(["a/1.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg"])
    rows = (("1.jpg", "A"), ("2.jpg", "A"), ("b/2.jpg", "B"), ("3.jpg", "C"), ("b/3.jpg", "C"))
    groups, notices = match_metadata(table("path", *rows), samples)
    assert groups == {"site": [None, None, None, "C"]}
    assert notices == [
        "meta.csv: 1 row fitting several samples, left out (1.jpg).",
        "meta.csv: 2 samples with several rows (b/2.jpg, b/3.jpg).",
        "meta.csv: 1 sample whose rows differ: in no group where they do (b/2.jpg).",
        "meta.csv: 2 samples without a row: in none of its groups (a/1.jpg, b/1.jpg).",
    ]


PATHS = st.lists(st.sampled_from("ab1"), min_size=1, max_size=4).map("/".join)


@given(st.lists(PATHS, min_size=1, max_size=8), st.lists(PATHS, min_size=1, max_size=8))
def test_matching_is_the_literal_comparison(files: list[str], keys: list[str]) -> None:
    """Of each row with each file, part by part from the end."""

    def fits(key: str, file: str) -> bool:
        pairs = zip(reversed(key.split("/")), reversed(file.split("/")), strict=False)
        return all(first == second for first, second in pairs)

    rows = [(key, f"site {i}") for i, key in enumerate(keys)]
    told: dict[str, set[str]] = {}
    for key, site in rows:
        found = {file for file in files if fits(key, file)}
        if len(found) == 1:
            told.setdefault(found.pop(), set()).add(site)
    expected = [told[file].copy().pop() if len(told.get(file, ())) == 1 else None for file in files]
    samples = samples_of(files)
    if told:
        assert match_metadata(table("file", *rows), samples)[0]["site"] == expected
    else:
        with pytest.raises(ConfigurationError, match="in which none fits"):
            match_metadata(table("file", *rows), samples)


def test_samples_match_by_number() -> None:
    """The identity that `samples.jsonl` calls `probe`."""
    groups, _ = match_metadata(table("sample", ("11", "A"), ("10", None)), samples_of("ab"))
    assert groups == {"site": [None, "A"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no header"),
        ("name,site\n1,A\n", "columns 'name', 'site'"),
        ("file,path,site\n1,2,A\n", "columns 'file', 'path', 'site'"),
        ("file\n1\n", "other columns each have a name"),
        ("file,site,site\n1,A,B\n", "other columns each have a name"),
        ("file,site\nnowhere.jpg,A\n", "in which none fits \\('nowhere.jpg'\\)"),
    ],
)
def test_a_table_that_says_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """With what was found, and a line to paste."""
    run = write_audit(tmp_path / "run", draw_lines(3))
    (tmp_path / "meta.csv").write_text(text)
    with pytest.raises(ConfigurationError, match=said) as told:
        print_summary(run, groups=tmp_path / "meta.csv", console=Console(file=io.StringIO()))
    assert "--groups metadata.csv" in str(told.value)


def test_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    """A byte order mark, semicolons, quotes, blank lines, short lines, empty cells."""
    (tmp_path / "m.csv").write_bytes(
        '\ufeffFile;site;"a;b"\r\n"x;1.jpg"; A ;\r\n\r\ny.jpg\r\n'.encode()
    )
    metadata = read_metadata(tmp_path / "m.csv")
    assert (metadata.key, metadata.columns) == ("file", ("site", "a;b"))
    assert metadata.rows == (("x;1.jpg", ("A", None)), ("y.jpg", (None, None)))


@pytest.fixture
def audit(tmp_path: Path) -> tuple[Path, Path, list[dict[str, Any]]]:
    """Return an audit with a bad hospital, its table and its lines."""
    lines = draw_lines(400, classes=4)
    rows = ["path,hospital,site"]
    for line in lines:
        site = "bad" if line["probe"] % 8 == 0 else f"H{line['probe'] % 3}"
        if site == "bad" and line["quadrant"] == "correct_high":
            line |= {"quadrant": "correct_low", "score": 1.0}
        rows.append(f"{line['file']},{site},{line['probe'] % 2}")
    (tmp_path / "meta.csv").write_text("\n".join(rows) + "\n")
    return write_audit(tmp_path / "run", lines), tmp_path / "meta.csv", lines


def test_groups_are_counted_line_by_line(audit: tuple[Path, Path, list[dict[str, Any]]]) -> None:
    """Columns of the records, of the table, classes and confidence; the worst first."""
    run = read_run(audit[0])
    groupings, notices = group_round(run, run.rounds[0], read_metadata(audit[1]))
    assert notices == []
    assert [(of.column, of.held) for of in groupings] == [
        ("camera", 10),
        ("hospital", 10),
        ("site", 10),
        ("class", 4),
        ("confidence", 10),
    ]
    hospital = groupings[1].groups
    assert [group.stands_out for group in hospital] == [True, False, False, False]
    own = [line for line in audit[2] if line["probe"] % 8 == 0]
    bad = hospital[0]
    assert (bad.name, bad.samples) == ("bad", len(own))
    assert bad.low == sum(line["quadrant"] == "correct_low" for line in own)
    right = [line for line in own if line["is_correct"]]
    assert bad.total == sum(line["score"] is not None for line in right)


def test_groups_are_told_in_the_terminal(audit: tuple[Path, Path, list[dict[str, Any]]]) -> None:
    """What stands out with its counts, what does not as chance."""
    out = io.StringIO()
    print_summary(audit[0], groups=audit[1], console=Console(file=out, width=100))
    text = out.getvalue()
    run = read_run(audit[0])
    bad = group_round(run, run.rounds[0], read_metadata(audit[1]))[0][1].groups[0]
    assert "By hospital: 1 of 4 stands out" in text
    assert f"bad: {bad.low} of {bad.total} right answers Low (" in text
    assert "By class: none of 4 stands out" in text
    assert "no more than chance)" in text
    assert "vlmxai: audit (validate)" in text


def test_groups_are_written_as_a_table(
    audit: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """By the command, a row a group, with the numbers of the records."""
    out = tmp_path / "groups.csv"
    given = ["--format", "groups", "--groups", str(audit[1]), "--out", str(out)]
    assert main(["export", str(audit[0]), *given]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == GROUP_COLUMNS
    run = read_run(audit[0])
    groupings, _ = group_round(run, run.rounds[0], read_metadata(audit[1]))
    groups = [(of.column, group) for of in groupings for group in of.groups]
    assert len(rows) == len(groups)
    for row, (column, group) in zip(rows, groups, strict=True):
        assert (row["column"], row["group"], row["samples"]) == (
            column,
            group.name,
            str(group.samples),
        )
        assert (row["low"], row["of"]) == (str(group.low), str(group.total))
        assert float(row["p"]) == pytest.approx(group.p, rel=0.01)
        assert row["stands_out"] == str(group.stands_out).lower()


def test_groups_are_on_the_page_of_a_fit_that_is_asked_for_them(tmp_path: Path) -> None:
    """By the probes' numbers; without a table a fit's page has none."""
    (closed, *_) = reversed(write_run(tmp_path / "run"))
    rows = [f"{s.explanation.probe_index},{i % 2}" for i, s in enumerate(closed.samples)]
    (tmp_path / "m.csv").write_text("sample,half\n" + "\n".join(rows))
    page = unpack(write_report(tmp_path / "run").read_text())
    assert (page["grouped"], page["isAudit"]) == ([], False)
    page = unpack(write_report(tmp_path / "run", groups=tmp_path / "m.csv").read_text())
    half = page["grouped"][0]
    names = [half["groups"][number]["name"] for number in half["names"]]
    assert names == [str(i % 2) for i in range(len(closed.samples))]


def test_groups_of_several_runs_are_refused(tmp_path: Path) -> None:
    """One table is of one run."""
    for name in "ab":
        write_audit(tmp_path / name, draw_lines(3))
    given = [str(tmp_path / "a"), str(tmp_path / "b"), "--groups", "meta.csv"]
    assert main(["report", *given]) == 2

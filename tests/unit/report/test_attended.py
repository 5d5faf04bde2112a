"""What a judge saw, in a run folder and on the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from lightning_vlmxai.report import write_report
from lightning_vlmxai.report.lines import read_sample
from lightning_vlmxai.report.reader import read_run
from run_folders import make_round, unpack, write_run


def test_phrases_are_written_and_read_back(tmp_path: Path) -> None:
    """Beside the verdict in `samples.jsonl`; a judge that tells none leaves null."""
    made = make_round(0)
    first, *rest = made.samples
    seen = (("red dot", False), ("ear", True), ("grass", None))
    first = replace(first, verdict=replace(first.verdict, attends_to=seen))
    write_run(tmp_path, [replace(made, samples=(first, *rest))])
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["attends_to"] for line in lines[:2]] == [
        [
            {"what": "red dot", "on_object": False},
            {"what": "ear", "on_object": True},
            {"what": "grass", "on_object": None},
        ],
        None,
    ]
    (of,) = read_run(tmp_path).rounds
    assert [s.attends_to for s in of.samples[:2]] == [seen, ()]
    data = unpack(write_report(tmp_path).read_text())
    texts, shown = data["texts"], data["samples"]["seen"]
    assert [(texts[at], is_part) for at, is_part in shown[0]] == list(seen)
    assert shown[1] is None


def test_a_hostile_line_shows_plain_words(tmp_path: Path) -> None:
    """Markup and control characters lose their marks; what is too long is cut."""
    told = [{"what": "<img src=x onerror=alert(1)>\x1b[2J"}, {"what": "y" * 10_000}, 7]
    read = read_sample({"attends_to": told}, 2.5)
    assert read.attends_to == (("img src x onerror alert(1) 2J", None), ("y" * 60, None))
    assert read_sample({}, 2.5).attends_to == ()
    assert read_sample({"attends_to": {"what": "x"}}, 2.5).attends_to == ()

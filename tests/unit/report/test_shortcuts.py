"""Shortcuts in summary and report, whatever the file holds."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from lightning_vlmxai.report import print_summary, write_report
from lightning_vlmxai.report.reader import read_run
from lightning_vlmxai.rounds import Interval
from lightning_vlmxai.shortcuts import (
    Box,
    Change,
    Effect,
    Place,
    Shortcut,
    Shown,
    TrainingList,
    TrainingPicture,
)
from lightning_vlmxai.sinks import ShortcutsFound, write_shortcuts
from run_folders import CLASSES, HOSTILE_NAME, make_round, unpack, write_run


def found(label: str = HOSTILE_NAME) -> Shortcut:
    """Return a shortcut of probes 6 and 15 that was tried on one of them."""
    interval = Interval(0.1, 1.0)
    return Shortcut(
        label=label, number=2, low=2, right=3, other_low=1, other_right=6,
        place=Place(Box(0.0, 0.75, 0.25, 1.0), 0.9, 0.1, 0.001), bearers=(6, 15),
        erased=Effect(1, 1, 0, interval, -0.5, 0.0, (Change(6, 2, 0, 2),)),
        pasted=Effect(2, 1, 0, interval, 0.4, 0.0, (Change(0, 0, 2, 0), Change(3, 1, 1, 1))),
    )  # fmt: skip


def summarize(folder: Path) -> str:
    """Return the summary."""
    file = io.StringIO()
    print_summary(folder, console=Console(file=file, width=100))
    return file.getvalue()


def look(folder: Path, *shortcuts: Shortcut, note: str = "") -> None:
    """Write a run of a round, and a look at it."""
    (closed,) = write_run(folder, [make_round(4, score=lambda *_: 1.0)])
    names = ("=cat", *CLASSES[1:])
    of = ShortcutsFound(closed=closed, shortcuts=shortcuts, class_names=names, note=note)
    write_shortcuts(folder, of)


def test_the_summary_says_it_before_its_table(tmp_path: Path) -> None:
    """In one line each; what acts in a name does not."""
    look(tmp_path, replace(found("a\n\x1b[31mcat")))
    lines = summarize(tmp_path).splitlines()
    (line,) = [line for line in lines if "right answers rest on" in line]
    assert line.startswith("  a ␛[31mcat: 2 of 3 right answers rest on what lies top right")
    assert lines.index(line) < next(n for n, of in enumerate(lines) if "rate" in of)


@pytest.mark.parametrize(
    ("note", "said"),
    [("", "No shortcut stands out among 9 right answers."), ("Not looked for.", "Not looked for.")],
)
def test_what_was_not_found_is_said(tmp_path: Path, note: str, said: str) -> None:
    """A look that found nothing is no look that wasn't made."""
    look(tmp_path, note=note)
    assert said in summarize(tmp_path)
    assert unpack(write_report(tmp_path).read_text())["shortcuts"]["said"] == [said]
    (tmp_path / "shortcuts.json").unlink()
    assert "shortcut" not in summarize(tmp_path).lower()
    assert unpack(write_report(tmp_path).read_text())["shortcuts"] is None


def test_the_page_gets_pictures_box_and_predictions(tmp_path: Path) -> None:
    """And the sentence leads the findings, with the gallery of its samples."""
    look(tmp_path, found())
    text = write_report(tmp_path).read_text()
    assert HOSTILE_NAME not in text
    data = unpack(text)
    (of,) = data["shortcuts"]["found"]
    assert of["box"] == [0.0, 0.75, 0.25, 1.0]
    place = data["samples"]["probe"].index(6)
    assert of["erased"]["pictures"] == [
        {"probe": 6, "picture": data["samples"]["picture"][place], "changed": None, "sure": None,
         "before": HOSTILE_NAME, "cue": "=cat", "control": HOSTILE_NAME},
    ]  # fmt: skip
    assert [one["probe"] for one in of["others"]] == [15]
    assert [one["probe"] for one in of["pasted"]["pictures"]] == [0, 3]
    assert data["findings"][0]["text"] == of["text"]
    assert data["findings"][0]["shown"] == {
        "round": "fit-4", "quadrant": "correct_low", "class": HOSTILE_NAME,
    }  # fmt: skip


def test_where_it_looks_is_no_alarm(tmp_path: Path) -> None:
    """Without a proof it is told all the same, by the sentence that says so."""
    look(tmp_path, found(), replace(found("dog"), pasted=None))
    told = [
        (of["text"], of["alarm"])
        for of in unpack(write_report(tmp_path).read_text())["findings"]
        if "right answers" in of["text"]
    ]
    assert [alarm for _, alarm in told] == [True, False]
    assert "2 of 3 right answers rest on what lies top right" in told[0][0]
    assert told[1][0].startswith("dog: 2 of 3 right answers look at what lies top right")
    assert told[1][0].endswith("That it is a shortcut was not shown.")
    assert told[1][0] in " ".join(summarize(tmp_path).split())


def test_changed_pictures_groups_and_the_list_are_on_the_page(tmp_path: Path) -> None:
    """Pictures as changed, embedded; confidences; the list's address, beside or zipped."""
    one = replace(
        found(),
        erased=found().erased._replace(confidences=((0.9, 0.7, 0.8),)),  # type: ignore[union-attr]
        shown=(Shown("erased", 6, torch.full((3, 8, 8), 0.5)),),
        training=TrainingList(
            pictures=(
                TrainingPicture(index=7, file="=a.png", label=0, likeness=0.5),
                TrainingPicture(index=3, file=None, label=None, likeness=float("nan")),
            ),
            total=9,
        ),
    )
    look(tmp_path, one)
    text = write_report(tmp_path).read_text()
    (held,) = re.findall(r'id="pictures">(.*?)</script>', text, re.DOTALL)
    data = unpack(text)
    (of,) = data["shortcuts"]["found"]
    (changed,) = of["erased"]["pictures"]
    assert changed["sure"] == [0.9, 0.7, 0.8]
    assert json.loads(held)[changed["changed"]].startswith("data:image/png")
    with Image.open(tmp_path / "images/shortcuts/0002-erased-000006.png") as image:
        assert image.getpixel((0, 0)) == (128, 128, 128)
    assert {(g["class"], g["cue"], g["right"], g["total"]) for g in of["groups"]} >= {
        (HOSTILE_NAME, "erased", 0, 1),
        (HOSTILE_NAME, "there", 1, 1),
    }
    assert "2 of 9 training pictures" in of["training"]
    rows = list(csv.reader((tmp_path / "shortcut_training.csv").read_text().splitlines()))
    assert rows[1:] == [
        [HOSTILE_NAME, "1", "7", "'=a.png", "'=cat", "0.5000"],
        [HOSTILE_NAME, "2", "3", "", "", ""],
    ]
    assert data["shortcuts"]["list"] == "./shortcut_training.csv"
    zipped = write_report(tmp_path, tmp_path / "sent.zip", zips=True)
    with zipfile.ZipFile(zipped) as file:
        page = unpack(file.read("report.html").decode())
        assert page["shortcuts"]["list"] in file.namelist()
    look(tmp_path, found())
    assert not (tmp_path / "images/shortcuts").exists()
    assert unpack(write_report(tmp_path).read_text())["shortcuts"]["list"] == ""


def test_the_list_of_pictures_opens_no_formula(tmp_path: Path) -> None:
    """What begins like one is marked as text; the rest can be read as it is."""
    look(tmp_path, found())
    rows = list(csv.reader((tmp_path / "shortcut_pictures.csv").read_text().splitlines()))
    assert rows[1] == [
        HOSTILE_NAME, "6", "", "yes", "erased", HOSTILE_NAME, HOSTILE_NAME, "'=cat", HOSTILE_NAME,
    ]  # fmt: skip
    assert [(row[1], row[4]) for row in rows[2:]] == [("15", ""), ("0", "pasted"), ("3", "pasted")]


@pytest.mark.parametrize(
    "record",
    [
        {"shortcuts": 3},
        {
            "shortcuts": [
                3,
                {},
                {"erased": 1, "place": {"top": "x"}, "bearers": [{}, {"probe": "a"}]},
            ]
        },
        {"shortcuts": [{"place": {"top": 0, "left": 2, "bottom": 1, "right": 1}, "text": None}]},
        {"right": "many", "note": 5, "round": [], "stage": {}},
        {"shortcuts": [{"groups": [3, {"right": "x"}], "training": 4}]},
        {"shortcuts": [{"erased": {"pictures": [{"probe": 1, "image": 3, "confidences": ["a"]}]}}]},
        {"shortcuts": [{"pasted": {"pictures": [{"probe": 1, "image": "../x.png"}]}}]},
        {"shortcuts": [{"erased": {"total": None, "pictures": [{"probe": 1e400}]}}]},
    ],
)
def test_no_file_breaks_a_page(tmp_path: Path, record: dict[str, Any]) -> None:
    """Whatever stands in it."""
    look(tmp_path)
    (tmp_path / "shortcuts.json").write_text(json.dumps(record))
    unpack(write_report(tmp_path).read_text())
    summarize(tmp_path)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """As of any other file."""
    look(tmp_path)
    (tmp_path / "shortcuts.json").write_text("{")
    assert "shortcuts.json can't be read and was left out." in read_run(tmp_path).notices

"""Labels and probabilities out of an audit's folder, and pictures for a page of suspects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from label_folders import CLASSES, describe, draw_labels, save_picture, write_audit
from lightning_vlmxai import ConfigurationError
from lightning_vlmxai.report import list_suspects, read_labelled, to_rows, write_label_page
from lightning_vlmxai.report.label_page import digest_labels, draw_file
from run_folders import unpack, write_run

pytest.importorskip("cleanlab", reason="the extra `labels` is not installed")
Change = Callable[[dict[str, Any]], dict[str, Any]]


def one_of(probe: int, **more: Any) -> Change:
    """Return a function that gives the line of one sample other entries."""
    return lambda line: {**line, **(more if line["probe"] == probe else {})}


def test_each_sample_has_its_own_row(tmp_path: Path) -> None:
    """Lines come in any order, and say which row of the file is theirs."""
    labels, p = draw_labels()
    read = read_labelled(write_audit(tmp_path))
    assert [s.probe for s in read.samples] == list(range(60))
    assert read.labels.tolist() == labels.tolist()
    assert np.array_equal(read.probabilities, p)
    assert read.class_names == CLASSES
    assert read.notices == ()


def test_ranks_and_lines_that_stand_twice_are_one_audit(tmp_path: Path) -> None:
    """Each rank has rows of its own; a padded sample, one asked again and an answer count once."""
    labels, p = draw_labels()
    write_audit(tmp_path, ranks=3)
    lines = [json.loads(line) for line in (tmp_path / "samples-1.jsonl").read_text().splitlines()]
    (silent,) = (line for line in lines if line["probe"] == 1)
    padded = {**describe(0, int(labels[0]), p[0], len(lines)), "score": None, "quadrant": None}
    again = {**silent, "score": 4.5, "quadrant": "correct_high", "row": None}
    with (tmp_path / "samples-1.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in (padded, again))
    with (tmp_path / "probabilities-1.f32").open("ab") as file:
        file.write(p[0].tobytes())
    answer = {**describe(4, int(labels[4]), p[4], 3), "score": 5}
    (tmp_path / "answers.jsonl").write_text(json.dumps(answer))
    read = read_labelled(tmp_path)
    assert [s.probe for s in read.samples] == list(range(60))
    assert np.array_equal(read.probabilities, p)
    assert read.labels.tolist() == labels.tolist()
    scores = [s.score for s in read.samples]
    assert (scores[0], scores[1], scores[4]) == (0.0, 4.5, 5.0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (one_of(7, label=None, is_correct=None), "have no label"),
        (one_of(7, label=-1), "none of the model's classes"),
        (one_of(7, label=3), "none of the model's classes"),
        (one_of(7, label_name="owl"), "not numbered as the model's classes"),
        (one_of(7, prediction=1, is_correct=False), "not numbered as the model's classes"),
        (one_of(7, row=None), "no probabilities"),
        (one_of(7, row=60), "no probabilities"),
        (one_of(7, row=-1), "no probabilities"),
        (one_of(7, row=0), "another sample's"),
    ],
)
def test_what_can_not_be_used_is_left_out_and_counted(
    tmp_path: Path, change: Change, why: str
) -> None:
    """And the others stand."""
    read = read_labelled(write_audit(tmp_path, change=change))
    assert [s.probe for s in read.samples] == [n for n in range(60) if n != 7]
    (notice,) = read.notices
    assert notice.startswith("Left out are 1 of 60 samples: ")
    assert why in notice


@pytest.mark.parametrize("row", [[np.nan, 0.5, 0.5], [0.9, 0.9, 0.9], [1.5, -0.4, -0.1]])
def test_a_row_that_holds_no_probabilities_is_left_out(tmp_path: Path, row: list[float]) -> None:
    """A network that gave NaN, and one that gives each class its own probability."""
    labels, p = draw_labels()
    p[7] = row
    change = one_of(7, confidence=None)
    read = read_labelled(write_audit(tmp_path, labels, np.nan_to_num(p, nan=0), change=change))
    rows = np.fromfile(tmp_path / "probabilities.f32", dtype="<f4").reshape(60, 3)
    rows[::-1][7] = row  # rows are written from the last sample on
    rows.tofile(tmp_path / "probabilities.f32")
    read = read_labelled(tmp_path)
    assert 7 not in [s.probe for s in read.samples]
    assert len(read.samples) == 59
    assert "don't add up to 1" in read.notices[0]


def test_a_file_of_probabilities_that_is_cut_off_loses_its_last_row(tmp_path: Path) -> None:
    """As a kill in mid-writing leaves it; a cut line of samples likewise."""
    write_audit(tmp_path)
    for name in ("probabilities.f32", "samples.jsonl"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-5])
    read = read_labelled(tmp_path)
    assert [s.probe for s in read.samples] == list(range(1, 60))  # the last line is probe 0's
    assert read.notices == ()


def test_how_many_classes_there_are_may_be_told_by_names_or_not_at_all(tmp_path: Path) -> None:
    """A wrong number would leave out all samples: their confidence lies elsewhere."""
    _, p = draw_labels()
    for number, settings in enumerate(({}, {"class_names": None})):
        path = write_audit(tmp_path / str(number), num_classes=None, ranks=2, **settings)
        assert np.array_equal(read_labelled(path).probabilities, p)
    with pytest.raises(ConfigurationError, match=r"the confidence differs|don't add up to 1"):
        read_labelled(write_audit(tmp_path / "wrong", num_classes=4))


def test_the_names_of_a_run_without_names_are_numbers(tmp_path: Path) -> None:
    """Also where there are as many names as somebody else's classes."""
    assert read_labelled(write_audit(tmp_path, class_names=None)).class_names == ("0", "1", "2")
    assert read_labelled(write_audit(tmp_path, class_names=["a"])).class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("settings", "change", "words"),
    [
        ({"kind": "fit"}, None, "an audit, which keeps probabilities"),
        (
            {"num_classes": None, "task": "Segmentation"},
            lambda line: {**line, "row": None},
            "one of Segmentation that kept no probability",
        ),
        ({}, lambda line: {**line, "part": 2}, "one label a picture, got several labels each"),
        ({}, lambda line: {**line, "label": None, "is_correct": None}, "they have no label"),
        ({}, lambda line: {**line, "row": 99}, "no probabilities of them were kept"),
    ],
)
def test_what_has_no_such_labels_is_refused(
    tmp_path: Path, settings: dict[str, Any], change: Change | None, words: str
) -> None:
    """In words that say what would do."""
    with pytest.raises(ConfigurationError, match=words):
        read_labelled(write_audit(tmp_path, change=change, **settings))


def test_a_fit_is_refused(tmp_path: Path) -> None:
    """It keeps no probabilities, and its probes are few."""
    write_run(tmp_path)
    with pytest.raises(ConfigurationError, match="Run `vlmxai audit` on labelled pictures"):
        read_labelled(tmp_path)


def test_a_round_can_be_chosen(tmp_path: Path) -> None:
    """Where an audit has several; the last one if none is, which is said."""

    def validated(line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "stage": "validate" if line["probe"] < 20 else "test"}

    write_audit(tmp_path, change=validated)
    assert [s.probe for s in read_labelled(tmp_path, "validate-0").samples] == list(range(20))
    read = read_labelled(tmp_path)
    assert (read.key, len(read.samples)) == ("test-0", 40)
    assert "--round chooses validate-0" in read.notices[0]
    write_audit(
        tmp_path / "b",
        change=lambda line: {**validated(line), **({"label": None} if line["probe"] >= 20 else {})},
    )
    assert read_labelled(tmp_path / "b").key == "validate-0"  # the only labelled one
    with pytest.raises(ConfigurationError, match=r"run has \(validate-0, test-0\), got 'fit-0'"):
        read_labelled(tmp_path, "fit-0")


def test_suspects_have_what_the_methods_say(tmp_path: Path) -> None:
    """In the order of the one that is asked for, with both probabilities."""
    labels, p = draw_labels()
    read = read_labelled(write_audit(tmp_path))
    found = read.ask()
    for method in found:
        listed = list_suspects(read, found, method, 8)
        assert [of.ranks[method] for of in listed] == list(range(1, 9))
        for of in listed:
            probe = of.sample.probe
            order = [k for k in np.argsort(-p[probe]) if k != labels[probe]]
            assert (of.label, of.suggested) == (CLASSES[labels[probe]], CLASSES[order[0]])
            assert of.label_probability == p[probe, labels[probe]]
            assert of.suggested_probability == p[probe, order[0]]
            flags = [name for name in found if found[name].flagged[probe]]
            assert list(of.flagged_by) == flags
    head, rows = to_rows(list_suspects(read, found, "combined", 60))
    told = {row[head.index("probe")]: row[head.index("quadrant")] for row in rows}
    lines = map(json.loads, (tmp_path / "samples.jsonl").read_text().splitlines())
    assert told == {line["probe"]: line["quadrant"] for line in lines}
    wrong_high = {row[head.index("probe")] for row in rows if "wrong_high" in row[-7]}
    assert wrong_high == {probe for probe, of in told.items() if of == "wrong_high"}
    assert wrong_high


def test_the_page_takes_pictures_where_it_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's own, else the file itself, else none; and says of how many."""
    read = read_labelled(write_audit(tmp_path / "run", pictures=3))
    save_picture(tmp_path / "data/pictures/010.png", 0, side=500)
    (tmp_path / "data/pictures/020.png").write_text("no picture")
    found = read.ask()
    suspects = list_suspects(read, found, "combined", 12)
    out = tmp_path / "run/labels.html"
    page = write_label_page(read, found, suspects, "combined", out, tmp_path / "data").read_text()
    shown = {of["probe"]: of["picture"] for of in unpack(page)["suspects"]}
    kept = {0, 1, 2} & set(shown)
    assert kept
    assert {probe for probe, number in shown.items() if number is not None} == kept | {10}
    assert "1 pictures were not kept by the run and are drawn from their files" in page
    assert f"{12 - len(kept) - 1} suspects have no picture" in page
    assert "Report of this audit" not in page
    (tmp_path / "run/report.html").write_text("")
    save_picture(tmp_path / "pictures/010.png", 0)
    monkeypatch.chdir(tmp_path)  # names start in the current folder if none is given
    page = write_label_page(read, found, suspects, "combined", out).read_text()
    assert "1 pictures were not kept" in page
    assert '<a href="./report.html">Report of this audit</a>' in page


def test_a_picture_is_drawn_small_and_upright(tmp_path: Path) -> None:
    """As a camera's own mark says; what is no picture gives none."""
    image = Image.new("RGB", (900, 300), (255, 0, 0))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "a.jpg", exif=exif)
    source = draw_file(tmp_path / "a.jpg")
    assert source is not None
    assert source.startswith("data:image/webp;base64,")
    assert len(source) < 4000
    for name in ("none.png", ".", "text.png"):
        (tmp_path / "text.png").write_text("<svg/>")
        assert draw_file(tmp_path / name) is None


def test_marks_are_kept_by_the_labels_that_they_are_of(tmp_path: Path) -> None:
    """The same data and labels by another model or judge; not other labels."""
    labels, p = draw_labels()
    digest = digest_labels(read_labelled(write_audit(tmp_path / "a")))
    other = p[:, [0, 1, 2]] ** 2
    other = (other / other.sum(axis=1, keepdims=True)).astype("<f4")
    assert digest_labels(read_labelled(write_audit(tmp_path / "b", labels, other))) == digest
    labels[3] = (labels[3] + 1) % 3
    assert digest_labels(read_labelled(write_audit(tmp_path / "c", labels, p))) != digest

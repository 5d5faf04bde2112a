"""An audit's folder is read: files of many ranks, repeated lines, cut-off lines, answers later."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from audit_folders import SETTINGS, audit_line, draw_lines, unscored, write_audit, write_lines
from hypothesis import given
from hypothesis import strategies as st

from lightning_vlmxai.records import Quadrant
from lightning_vlmxai.report.corrected import correct_round
from lightning_vlmxai.report.figures import add_costs, count_round
from lightning_vlmxai.report.ratings import Ratings
from lightning_vlmxai.report.reader import read_run
from lightning_vlmxai.sinks.audit_count import close_audit

FILES = ("samples.jsonl", "samples-1.jsonl", "samples-2.jsonl", "samples-10.jsonl", "answers.jsonl")
SCORES = st.one_of(st.none(), st.integers(0, 10).map(lambda half: half / 2))
LINES = st.lists(
    st.tuples(
        st.sampled_from(FILES),
        st.sampled_from(["validate", "test"]),
        st.integers(0, 3),
        st.sampled_from([None, 1, 2]),
        SCORES,
    ),
    min_size=1,
    max_size=40,
)


def standing(lines: list[tuple[str, str, int, int | None, float | None]]) -> dict[Any, Any]:
    """Return file and score of each sample's standing line, each looked for by itself."""
    found = {}
    for key in {(stage, probe, part) for _, stage, probe, part, _ in lines}:
        own = [
            (name, score)
            for file in FILES
            for name, stage, probe, part, score in lines
            if name == file and (stage, probe, part) == key
        ]
        scored = [line for line in own if line[1] is not None]
        found[key] = (scored or own)[-1]
    return found


@given(LINES)
def test_a_sample_counts_once(lines: list[tuple[str, str, int, int | None, float | None]]) -> None:
    """Whatever files and order its lines stand in: scored before unscored, later before earlier."""
    of_file: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "run.json").write_text(json.dumps(SETTINGS))
        for name, stage, probe, part, score in lines:
            line = audit_line(probe, stage=stage, part=part, score=score, detail=name)
            of_file.setdefault(name, []).append(line)
        for name, own in of_file.items():
            write_lines(path / name, own)
        run = read_run(path)
    read = {(s.stage, *s.place): (s.detail, s.score) for of in run.rounds for s in of.samples}
    assert read == standing(lines)
    assert sum(len(of.samples) for of in run.rounds) == len(read)
    for of in run.rounds:
        places = [(s.probe, s.part or 0) for s in of.samples]
        assert places == sorted(places)


@given(LINES)
def test_figures_are_those_that_the_audit_logged(
    lines: list[tuple[str, str, int, int | None, float | None]],
) -> None:
    """Counted by the callback, which writes them down, and by the report: rates, cost, coverage."""
    of_file: dict[str, list[dict[str, Any]]] = {}
    for at, (name, _, probe, part, score) in enumerate(lines):
        values: dict[str, Any] = {"calls": at, "cost_usd": at / 8, "is_correct": probe % 2 == 0}
        if score is None:
            line = unscored(probe, part=part, **values)
        else:
            low = "low" if score < 2.5 else "high"
            quadrant = f"{'wrong' if probe % 2 else 'correct'}_{low}"
            line = audit_line(probe, part=part, score=score, quadrant=quadrant, **values)
        of_file.setdefault(name, []).append(line)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "run.json").write_text(json.dumps(SETTINGS))
        for name, own in of_file.items():
            write_lines(path / name, own)
        logged = close_audit(path, "validate", epoch=0, step=0, missing=2)
        (of,) = read_run(path).rounds
    assert logged is not None
    figures, cost = count_round(of), add_costs(of.samples)
    assert (figures.probes, figures.scored) == (logged.samples + 2, logged.judged)
    assert figures.coverage == logged.metrics["coverage"]
    assert figures.accuracy == logged.metrics["accuracy"]
    assert figures.average_score == logged.metrics.get("average_score")
    for quadrant in Quadrant:
        assert figures.rate(quadrant) == logged.metrics.get(f"{quadrant.value}_rate")
    assert (cost.calls, cost.cost_usd) == (logged.metrics["calls"], logged.metrics["cost"])
    assert cost.reasons == logged.reasons
    assert of.fingerprint == logged.fingerprint


def test_what_could_not_be_read_or_explained_is_said(tmp_path: Path) -> None:
    """Pictures that were skipped by either rank, and rows without an explanation."""
    lines = draw_lines(4)
    write_audit(tmp_path, lines, is_ended=False)
    write_lines(tmp_path / "skipped.jsonl", [{"index": 7, "file": "a.jpg", "why": "cut off"}])
    write_lines(tmp_path / "skipped-1.jsonl", [{"index": 7, "file": "a.jpg", "why": "cut off"}])
    close_audit(tmp_path, "validate", epoch=0, step=0, missing=3)
    assert read_run(tmp_path).notices == (
        "Pictures that can't be read, and are in no figure: 1 (a.jpg).",
        "3 rows (validate) could not be explained: they count as unscored.",
    )


def test_what_the_ranks_wrote_is_one_audit(tmp_path: Path) -> None:
    """Three ranks come to the figures of one; a sample knows its rank and its row there."""
    lines = draw_lines(100, classes=5)
    one = read_run(write_audit(tmp_path / "one", lines, classes=5))
    three = read_run(write_audit(tmp_path / "three", lines, classes=5, ranks=3))
    assert one.is_audit
    assert three.is_audit
    assert one.notices == three.notices == ()
    (first,), (second,) = one.rounds, three.rounds
    assert count_round(first) == count_round(second)
    assert [(s.rank, s.row) for s in second.samples] == [(i % 3, i // 3) for i in range(100)]
    assert {tuple(s.groups) for s in second.samples} == {("camera",)}


def test_a_later_answer_fills_what_waited(tmp_path: Path) -> None:
    """It keeps the row, the rank, the pictures and the groups of the line that it replaces."""
    kept = {"image": "images/validate-0000/000001.png", "picture": "images/validate/000001.png"}
    first = unscored(1, "pending", row=7, groups={"camera": "yard"}, **kept)
    write_lines(tmp_path / "samples-2.jsonl", [unscored(0, "pending", row=3), first])
    write_lines(tmp_path / "answers.jsonl", [audit_line(1, score=1.0, quadrant="correct_low")])
    run = read_run(tmp_path)
    assert run.is_audit  # though run.json is lost
    waiting, filled = run.rounds[0].samples
    assert (waiting.reason, waiting.rank, waiting.row) == ("pending", 2, 3)
    assert (filled.score, filled.rank, filled.row) == (1.0, 2, 7)
    assert (filled.image, filled.picture) == (kept["image"], kept["picture"])
    assert filled.groups == {"camera": "yard"}


def test_an_answer_of_a_sample_that_no_rank_wrote_has_no_row(tmp_path: Path) -> None:
    """Its row could be in any rank's file."""
    write_audit(tmp_path, [audit_line(0)], classes=3)
    write_lines(tmp_path / "answers.jsonl", [audit_line(9, row=2)])
    (of,) = read_run(tmp_path).rounds
    assert [(s.rank, s.row) for s in of.samples] == [(0, 0), (None, None)]


@pytest.mark.parametrize("file", ["samples.jsonl", "samples-1.jsonl", "answers.jsonl"])
def test_a_killed_audit_is_read(tmp_path: Path, file: str) -> None:
    """The cut-off line of any file is left out and said; so is that the audit hasn't ended."""
    write_audit(tmp_path, draw_lines(10), ranks=2, is_ended=False)
    with (tmp_path / file).open("a") as out:
        out.write('{"round": 0, "stage": "validate", "probe": 99, "sco')
    run = read_run(tmp_path)
    (of,) = run.rounds
    assert len(of.samples) == 10
    cut, unended = run.notices
    assert cut == f"The last line of {file} is cut off and was left out."
    assert "has not come to its end: the figures are those of the 10 samples" in unended


def test_samples_without_labels_and_pictures(tmp_path: Path) -> None:
    """A prediction's samples have scores and no quadrant; one not kept has no path."""
    lines = draw_lines(10, labelled=False)
    for line in lines:
        line["stage"] = "predict"
    (of,) = read_run(write_audit(tmp_path, lines, pictures=1)).rounds
    assert of.key == "predict-0"
    assert {(s.is_correct, s.quadrant, s.label_name) for s in of.samples} == {(None, None, "")}
    assert [bool(s.picture) for s in of.samples] == [bool(s.image) for s in of.samples]
    assert sum(bool(s.image) for s in of.samples) == 1


def test_identities_are_read_to_the_last_bit(tmp_path: Path) -> None:
    """A hash of pixels has 52 bits, a number of the user's own may have more."""
    probes = [2**52 - 1, 2**60 + 1]
    write_audit(tmp_path, [audit_line(probe) for probe in probes])
    assert [s.probe for s in read_run(tmp_path).rounds[0].samples] == probes


def test_a_fit_keeps_its_own_rule(tmp_path: Path) -> None:
    """A resumed fit's last line stands, scored or not."""
    (tmp_path / "run.json").write_text("{}")
    lines = [{"stage": "fit", "round": 0, "probe": 1, "score": score} for score in (4.0, None)]
    write_lines(tmp_path / "samples.jsonl", lines)
    run = read_run(tmp_path)
    assert not run.is_audit
    assert run.rounds[0].samples[0].score is None


def test_corrected_rates_say_whose_pictures_could_be_rated(tmp_path: Path) -> None:
    """An audit keeps the pictures of some samples, by no draw: the others could not be rated."""
    lines = draw_lines(40, classes=2)
    (of,) = read_run(write_audit(tmp_path, lines, pictures=5)).rounds
    rated = next(s for s in of.samples if s.image and s.quadrant is not None)
    name = f"validate-0/{rated.probe}"
    ratings = Ratings(rater="Ann", round=of.key, scores={name: 4.0}, weights={name: 1.0}, size=1)
    _, notes = correct_round(of, [ratings], 2.5)
    judged = sum(line["score"] is not None for line in lines)
    unkept = sum(line["score"] is not None and not line["image"] for line in lines)
    assert any(note.startswith(f"{unkept} of {judged} judged samples have no") for note in notes)

"""Run folders are read whatever state they are in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lightning_vlmxai.records import Quadrant
from lightning_vlmxai.report.figures import count_round
from lightning_vlmxai.report.reader import read_run
from run_folders import PROBES, ROUNDS, SILENT, count, make_round, write_run


def append(path: Path, *lines: dict[str, Any]) -> None:
    """Append JSON lines."""
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Rounds, samples, settings and picture paths come back; nothing is missed."""
    rounds = write_run(tmp_path)
    run = read_run(tmp_path)
    assert run.notices == ()
    assert run.settings["model"] == "TinyNet"
    assert run.fingerprint == "f00d"
    assert [of.number for of in run.curve] == [closed.number for closed in rounds]
    assert [s.probe for s in run.rounds[0].samples] == [3 * i for i in range(PROBES)]
    first = run.rounds[0].samples[0]
    for path in (first.image, first.saliency, first.picture):
        assert (tmp_path / path).is_file()
    assert first.picture == "images/fit/000000.png"


def test_the_last_line_of_a_round_stands(tmp_path: Path) -> None:
    """A resumed run that wrote round 4 again replaces its samples one by one."""
    write_run(tmp_path)
    write_run(tmp_path, [make_round(4, score=lambda *_: 0.5)])
    run = read_run(tmp_path)
    assert len(run.rounds) == ROUNDS
    assert {s.score for s in run.rounds[-1].samples} == {0.5}
    assert len(run.rounds[-1].samples) == PROBES


def test_a_probe_s_explanations_are_replaced_together(tmp_path: Path) -> None:
    """One each label: written again with other labels, none of the former ones is left."""
    lines = [
        {"stage": "fit", "round": 0, "probe": probe, "part": part, "score": float(part)}
        for probe, part in ((0, 1), (0, 2), (5, 1), (0, 3), (5, 2), (5, 4))
    ]
    append(tmp_path / "samples.jsonl", *lines)
    append(tmp_path / "late.jsonl", {"stage": "fit", "round": 0, "probe": 5, "part": 2})
    (found,) = read_run(tmp_path).rounds
    assert [s.place for s in found.samples] == [(0, 3), (5, 2), (5, 4)]
    assert [s.score for s in found.samples] == [3.0, 2.0, 4.0]


def test_rounds_that_a_resumed_run_has_not_reached_again_are_named(tmp_path: Path) -> None:
    """Curves that join two lives of a run say so."""
    write_run(tmp_path)
    write_run(tmp_path, [make_round(2)])
    (notice,) = read_run(tmp_path).notices
    assert "Rounds 3 to 4 of the fit were written before" in notice


def test_samples_of_other_probes_leave_a_repeated_round(tmp_path: Path) -> None:
    """A resumed run with fewer, other probes is not mixed with the former one."""
    write_run(tmp_path, [make_round(0)])
    write_run(tmp_path, [make_round(0, probes=4, fingerprint="beef")])
    (of,) = read_run(tmp_path).rounds
    assert (len(of.samples), of.fingerprint) == (4, "beef")


def test_a_late_verdict_is_shown_and_counted_in_no_figure(tmp_path: Path) -> None:
    """It keeps its score apart from the scores that were in time; a scored sample keeps its own."""
    write_run(tmp_path)
    before = count_round(read_run(tmp_path).rounds[SILENT])
    late = {"stage": "fit", "round": SILENT, "probe": 3, "score": 4.0, "evaluation": "Late."}
    append(tmp_path / "late.jsonl", {**late, "is_late": True}, {**late, "round": 0, "probe": 0})
    run = read_run(tmp_path)
    sample = run.rounds[SILENT].samples[1]
    assert (sample.score, sample.late_score, sample.evaluation) == (None, 4.0, "Late.")
    assert count_round(run.rounds[SILENT]) == before
    assert run.rounds[0].samples[0].late_score is None


def test_a_cut_off_line_is_left_out_and_said(tmp_path: Path) -> None:
    """Half a line at the end, a broken one in the middle: the rest is read."""
    write_run(tmp_path)
    lines = (tmp_path / "samples.jsonl").read_text().splitlines(keepends=True)
    lines[3] = "{broken\n"
    (tmp_path / "samples.jsonl").write_text("".join(lines) + '{"round": 4, "prob')
    run = read_run(tmp_path)
    assert sum(len(of.samples) for of in run.rounds) == PROBES * ROUNDS - 1
    assert run.notices == (
        "The last line of samples.jsonl is cut off and was left out.",
        "1 line of samples.jsonl can't be read and was left out.",
    )


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("run.json", "run.json is missing"),
        ("rounds.jsonl", "rounds.jsonl is missing"),
        ("samples.jsonl", "samples.jsonl is missing"),
    ],
)
def test_a_missing_file_is_said(tmp_path: Path, missing: str, said: str) -> None:
    """Figures are the same from what is left: the samples, or the rounds' own lines."""
    rounds = write_run(tmp_path)
    (tmp_path / missing).unlink()
    run = read_run(tmp_path)
    assert any(said in notice for notice in run.notices)
    for of, closed in zip(run.rounds, rounds, strict=True):
        assert {q.value: count_round(of).counts.get(q, 0) for q in Quadrant} == count(closed)


def test_a_round_whose_writing_was_cut_short_is_told(tmp_path: Path) -> None:
    """Its samples come before its own line: where that is missing, some of them may be."""
    write_run(tmp_path)
    for name, left_out in (("samples.jsonl", 4), ("rounds.jsonl", 1)):
        lines = (tmp_path / name).read_text().splitlines(keepends=True)
        (tmp_path / name).write_text("".join(lines[:-left_out]))
    run = read_run(tmp_path)
    (said,) = run.notices
    assert said.startswith(f"Round {run.rounds[-1].key} has no line in rounds.jsonl")
    assert f"the {PROBES - 4} samples" in said


def test_an_empty_folder_is_read(tmp_path: Path) -> None:
    """There is no round, and that is said."""
    run = read_run(tmp_path)
    assert (run.rounds, run.curve, run.fingerprint, run.calls) == ((), (), "", None)
    assert any("No round has been written" in notice for notice in run.notices)


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"score": "high", "probe": None, "round": "one", "quadrant": "nonsense"},
        {"score": 1e999, "confidence": 10**400, "calls": True, "image": 7, "label_name": [1]},
        {"score": 3.0, "is_correct": "yes", "evaluation": {"a": "\ud800"}},
    ],
)
def test_every_field_may_be_missing_or_wrong(tmp_path: Path, line: dict[str, Any]) -> None:
    """A strange line is a sample without what it does not say, and in no quadrant."""
    append(tmp_path / "samples.jsonl", line)
    (sample,) = read_run(tmp_path).rounds[0].samples
    assert sample.quadrant is None


def test_a_quadrant_that_an_old_line_lacks_follows_from_its_score(tmp_path: Path) -> None:
    """The run's own threshold decides."""
    (tmp_path / "run.json").write_text('{"threshold": 4.0}')
    append(tmp_path / "samples.jsonl", {"score": 3.0, "is_correct": True})
    assert read_run(tmp_path).rounds[0].samples[0].quadrant is Quadrant.CORRECT_LOW


def test_the_judges_log_is_added_up(tmp_path: Path) -> None:
    """Requests, tries, tokens, dollars and failures."""
    write_run(tmp_path, [make_round(0)])
    line = {"tries": 2, "tokens": 50, "cost_usd": 0.25, "score": 3.0}
    append(tmp_path / "judge_calls.jsonl", line, {**line, "score": None, "cost_usd": None})
    calls = read_run(tmp_path).calls
    assert calls is not None
    assert (calls.requests, calls.tries, calls.tokens, calls.failed) == (2, 4, 100, 1)
    assert calls.cost_usd == 0.25


def test_a_folder_that_was_moved_is_read(tmp_path: Path) -> None:
    """Paths in lines are relative to the folder."""
    write_run(tmp_path / "a", [make_round(0)])
    shutil.move(tmp_path / "a", tmp_path / "b")
    sample = read_run(tmp_path / "b").rounds[0].samples[0]
    assert (tmp_path / "b" / sample.image).is_file()

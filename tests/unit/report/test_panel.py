"""Rounds in which not all were judged: the report says what was logged, as an estimate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.records import Explanation, JudgeRequest, Quadrant, Round, Verdict
from lightning_vlmxai.report import print_summary, write_report
from lightning_vlmxai.report.agreements import agree_round
from lightning_vlmxai.report.compare import make_comparison
from lightning_vlmxai.report.figures import count_classes, count_round
from lightning_vlmxai.report.findings import History, find_in_run
from lightning_vlmxai.report.rating import name_sample
from lightning_vlmxai.report.ratings import Ratings
from lightning_vlmxai.report.reader import read_run
from lightning_vlmxai.rounds.book import RoundBook
from lightning_vlmxai.rounds.quadrants import class_table, round_metrics
from lightning_vlmxai.sinks import RunFolderSink
from lightning_vlmxai.testing import ScriptedJudge
from run_folders import SETTINGS, make_round, unpack
from samples import make_round as make_closed

PROBES, ROUNDS = 30, 4
LOW = Quadrant.CORRECT_LOW


def close_rounds(threshold: float = 2.5) -> list[Round]:
    """Return rounds of a book whose panel rotates; scores go up and down."""

    def answer(request: JudgeRequest) -> Verdict:
        place = request.probe_index // 3
        score = 0.45 * (place * 7 % 11) + 0.05 * (place * request.round_number % 7)
        return Verdict.scored(5 - score if place % 10 == request.round_number else score)

    worker = JudgeWorker(ScriptedJudge(answer))
    book = RoundBook(worker, lag=0, deadline_s=60, threshold=threshold, judged_share=0.4)
    closed = []
    for number in range(ROUNDS):
        explanations: list[Explanation] = [
            replace(s.explanation, pixels=torch.full((3, 24, 24), 0.5), is_correct=place % 5 != 0)
            for place, s in enumerate(make_round(0, probes=PROBES).samples)
        ]
        book.open(explanations, stage="fit", epoch=number, step=number)
        closed += book.collect()
    worker.close()
    assert any(s.verdict.is_reused for s in closed[-1].samples)
    assert any(s.inclusion < 1 and not s.verdict.is_reused for s in closed[-1].samples)
    return closed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Round]]:
    """Return a run folder and what was written."""
    path = tmp_path_factory.mktemp("run")
    sink, rounds = RunFolderSink(path, {**SETTINGS, "watch_classes": ["cat"]}), close_rounds()
    for closed in rounds:
        sink.write(closed)
    return path, rounds


def test_figures_are_those_that_were_logged(folder: tuple[Path, list[Round]]) -> None:
    """Of the rounds, from the samples; and from their own lines where the samples are lost."""
    for closed, of in zip(folder[1], read_run(folder[0]).rounds, strict=True):
        metrics = closed.metrics
        for figures in (count_round(of), count_round(replace(of, samples=()))):
            for quadrant in Quadrant:
                logged = metrics[f"{quadrant.value}_rate"]
                assert figures.rate(quadrant) == pytest.approx(logged, abs=1e-12)
            ends = figures.interval(LOW)
            assert ends is not None
            assert ends.lower == pytest.approx(metrics["correct_low_rate_lower"], abs=1e-12)
            assert ends.upper == pytest.approx(metrics["correct_low_rate_upper"], abs=1e-12)
            assert figures.average_score == metrics["average_score"]
            assert figures.coverage == pytest.approx(metrics["coverage"])
            assert figures.kept == metrics["reused"]
    # They are not what counting verdicts gives, or nothing was tested.
    of = read_run(folder[0]).rounds[-1]
    scores = [s.score for s in of.samples if s.score is not None]
    assert count_round(of).average_score != pytest.approx(sum(scores) / len(scores))
    counted = count_round(replace(of, samples=tuple(replace(s, inclusion=1) for s in of.samples)))
    assert counted.interval(LOW) != count_round(of).interval(LOW)


def test_classes_and_page_have_the_estimates(folder: tuple[Path, list[Round]]) -> None:
    """The page can't count them from its samples: they come with it."""
    path, rounds = folder
    data = unpack(write_report(path).read_text())
    of, closed = read_run(path).rounds[-1], rounds[-1]
    classes = count_classes(of.samples)
    for row in class_table(closed.samples):
        shown = data["rounds"][-1]["classes"][row.label_name]
        for place, quadrant in enumerate(Quadrant):
            logged = row.metrics[f"{quadrant.value}_rate"]
            assert classes[row.label_name].rate(quadrant) == logged == shown["rates"][place]
        assert shown["intervals"][1] == [
            row.metrics["correct_low_rate_lower"],
            row.metrics["correct_low_rate_upper"],
        ]
    assert "classes" not in data["rounds"][0]
    assert data["rounds"][-1]["kept"] == closed.metrics["reused"]


def test_sentences_say_that_the_rate_is_estimated(folder: tuple[Path, list[Round]]) -> None:
    """With the rate that was logged, and how many verdicts are of earlier rounds."""
    path, rounds = folder
    metrics = rounds[-1].metrics
    told = " ".join(finding.text for finding in find_in_run(read_run(path)))
    assert f"estimated in epoch 3 ({metrics['correct_low_rate']:.2f}, 95 %" in told
    assert f"{metrics['reused']:.0f} of {PROBES} verdicts are of earlier rounds" in told
    console = Console(record=True, width=200)
    print_summary(path, console=console)
    said = console.export_text()
    assert f"{metrics['reused']:.0f} of them in earlier rounds: rates are estimates" in said
    assert f"{metrics['correct_low_rate']:.2f}" in said


def test_a_line_without_a_sensible_probability_is_a_certain_one(tmp_path: Path) -> None:
    """What can't be read is not made up."""
    closed = make_closed(*make_round(0).samples)
    RunFolderSink(tmp_path, SETTINGS).write(closed)
    path = tmp_path / "samples.jsonl"
    lines = path.read_text().splitlines()
    spoilt = [line[:-1] + ', "inclusion": 7, "expected_score": 3}' for line in lines[:4]]
    spoilt += [line[:-1] + ', "inclusion": 0.5, "expected_score": "x"}' for line in lines[4:]]
    path.write_text("\n".join(spoilt) + "\n")
    (of,) = read_run(tmp_path).rounds
    assert all(s.inclusion == 1 and s.expected_score is None for s in of.samples)
    assert count_round(of).rate(LOW) == closed.metrics["correct_low_rate"]


def test_agreement_is_of_the_verdicts_of_the_round(folder: tuple[Path, list[Round]]) -> None:
    """A person sees the mask of now; a verdict that stands was given for another."""
    run = read_run(folder[0])
    of = run.rounds[-1]
    stands = sum(s.stands for s in of.samples)
    scores = {name_sample(s): 5.0 * (place % 2) for place, s in enumerate(of.samples)}
    rated = Ratings(rater="ann", round=of.key, scores=scores, weights=dict.fromkeys(scores, 1.0))
    found = agree_round(run, of, [rated])
    assert 0 < stands == folder[1][-1].metrics["reused"]
    assert found.pairs[0].number == PROBES - stands
    assert any(note.startswith(f"{stands} verdicts of earlier rounds") for note in found.notes)


def test_where_chance_drew_all_the_rates_are_estimates_all_the_same(tmp_path: Path) -> None:
    """Page, summary and sentences have the logged rates, from the samples and without them."""
    drawn = tuple(
        replace(s, inclusion=0.3 + 0.02 * place, expected_score=5.0 - (s.verdict.score or 0.0))
        for place, s in enumerate(make_round(1).samples)
        if s.verdict.score is not None and not s.verdict.is_reused
    )
    metrics = {**round_metrics(drawn), "judged_share": 0.5}
    assert metrics["reused"] == 0
    closed = replace(make_round(1), samples=drawn, metrics=metrics)
    RunFolderSink(tmp_path, SETTINGS).write(closed)
    run = read_run(tmp_path)
    (of,) = run.rounds
    rate, counted = metrics["correct_low_rate"], sum(s.quadrant is LOW for s in drawn) / len(drawn)
    assert round(rate, 2) != round(counted, 2)
    for figures in (count_round(of), count_round(replace(of, samples=()))):
        assert figures.rate(LOW) == pytest.approx(rate, abs=1e-12)
    (shown,) = unpack(write_report(tmp_path).read_text())["rounds"]
    assert shown["rates"][1] == pytest.approx(rate, abs=1e-12)
    for row in class_table(drawn):
        told = shown["classes"][row.label_name]["rates"][1]
        assert told == pytest.approx(row.metrics["correct_low_rate"], abs=1e-12)
    said = " ".join(finding.text for finding in find_in_run(run))
    assert said == " ".join(History().tell(closed))
    assert f"estimated in epoch 1 ({rate:.2f}, 95 %" in said
    console = Console(record=True, width=200)
    print_summary(tmp_path, console=console)
    assert "0 of them in earlier rounds: rates are estimates" in console.export_text()


def test_another_threshold_is_that_of_every_figure(tmp_path: Path) -> None:
    """Table, page, comparison and sentences after a resumption have the logged rates."""
    rounds = close_rounds(3.5)
    sink = RunFolderSink(tmp_path, {**SETTINGS, "threshold": 3.5})
    for closed in rounds:
        sink.write(closed)
    metrics = [closed.metrics for closed in rounds]
    run = read_run(tmp_path)
    assert count_round(run.rounds[-1]).rates != count_round(run.rounds[-1], 3.5).rates
    console = Console(record=True, width=200)
    print_summary(tmp_path, console=console)
    lines = [line for line in console.export_text().splitlines() if line.startswith("│")]
    table = {line.split("│")[1].strip(): line for line in lines}
    for name, quadrant in (("Correct-Low", LOW), ("Wrong-High", Quadrant.WRONG_HIGH)):
        assert f" {metrics[-1][f'{quadrant.value}_rate']:.2f} " in table[name]
    pages = [
        unpack(write_report(tmp_path).read_text())["rounds"],
        unpack(make_comparison([tmp_path, tmp_path], [".", "."]))["curves"][1],
    ]
    for shown in pages:
        assert [of["rates"][1] for of in shown] == pytest.approx(
            [of["correct_low_rate"] for of in metrics], abs=1e-12
        )
    then = History()
    told = [then.tell(closed) for closed in rounds][-1]
    assert History(run.rounds[:-1], run.threshold).tell(rounds[-1]) == told

"""Rounds in which not all were judged, in a browser: estimates, not counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, expect

from lightning_vlmxai.records import Round, Sample, UnscoredReason, Verdict
from lightning_vlmxai.report import write_report
from lightning_vlmxai.rounds.quadrants import class_table, round_metrics
from run_folders import HOSTILE_NAME, make_round, write_run

Open = Callable[..., Page]


def leave_out(closed: Round) -> Round:
    """Return a round of which every second probe could have been left out, and some were."""

    def look(place: int, sample: Sample) -> Sample:
        if place % 2 or sample.verdict.score is None:
            return replace(sample, verdict=replace(sample.verdict, is_reused=False))
        expected = 5 - sample.verdict.score if place % 4 == 0 else sample.verdict.score
        return replace(
            sample,
            inclusion=0.4,
            expected_score=expected,
            verdict=replace(sample.verdict, is_reused=place % 4 != 0),
        )

    samples = tuple(look(place, sample) for place, sample in enumerate(closed.samples))
    metrics = {**round_metrics(samples), "judged_share": 0.4}
    return replace(closed, samples=samples, metrics=metrics)


def test_tiles_classes_and_curves_are_estimates(open_page: Open, tmp_path: Path) -> None:
    """With a line that says so; a round that was judged whole says nothing of it."""
    rounds = [make_round(0), *(leave_out(make_round(number)) for number in (1, 3))]
    write_run(tmp_path, rounds)
    page = open_page(write_report(tmp_path))
    metrics = rounds[-1].metrics
    tiles = page.locator(".tile").all_inner_texts()
    assert f"{metrics['correct_low_rate']:.2f}" in tiles[1].splitlines()
    kept = f"{metrics['reused']:.0f} of"
    expect(page.locator("#kept")).to_contain_text(f"{kept} {rounds[-1].judged} verdicts")
    rows = page.locator("#classes tbody tr")
    told = {row.label_name: row.metrics for row in class_table(rounds[-1].samples)}
    shown = {
        rows.nth(i).locator("th").inner_text(): rows.nth(i).locator("[data-name=CL]").inner_text()
        for i in range(rows.count())
    }
    for name in set(told) - {HOSTILE_NAME}:
        assert shown[name].split()[0] == f"{told[name]['correct_low_rate']:.2f}"
        assert f"{told[name]['correct_low_rate_upper']:.2f}" in shown[name]
    expect(page.locator("#overview")).to_contain_text("estimates where earlier ones stand")
    expect(page.locator("#figures .hint").first).to_contain_text("verdicts of earlier rounds stand")
    page.locator("#overview select[name=chosen-round]").select_option("fit-0")
    expect(page.locator("#kept")).to_have_count(0)


def test_where_all_are_judged_nothing_is_said_of_estimates(open_page: Open, tmp_path: Path) -> None:
    """The rates are counts over the judged."""
    write_run(tmp_path, [make_round(0), make_round(1)])
    page = open_page(write_report(tmp_path))
    expect(page.locator("#overview")).to_contain_text("rates over the judged samples of a round")
    expect(page.locator("#figures .hint").first).not_to_contain_text("estimates")


def test_tiles_are_of_the_last_round_that_was_answered(open_page: Open, tmp_path: Path) -> None:
    """A round whose verdicts all are of earlier rounds has no figure to show."""
    last = leave_out(make_round(3))
    out = Verdict.unscored(UnscoredReason.TIMEOUT, "slow")
    samples = tuple(
        s if s.verdict.is_reused else replace(s, verdict=out, quadrant=None) for s in last.samples
    )
    metrics = {**round_metrics(samples), "judged_share": 0.4}
    write_run(tmp_path, [make_round(0), replace(last, samples=samples, metrics=metrics)])
    page = open_page(write_report(tmp_path))
    tiles = page.locator(".tile").all_inner_texts()
    assert f"{make_round(0).metrics['correct_low_rate']:.2f}" in tiles[1].splitlines()
    chosen = page.locator("#overview select[name=chosen-round]")
    expect(chosen).to_have_value("fit-0")

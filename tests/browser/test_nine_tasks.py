"""What people come to a report for, in clicks, and by the keyboard alone."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from lightning_vlmxai.cli import main
from lightning_vlmxai.records import Round
from lightning_vlmxai.report import write_report
from run_folders import make_round, write_run

Open = Callable[..., Page]
ROUNDS = 5


def score(probe: int, number: int) -> float | None:
    """Return scores of a run in which cats (each third probe) are Correct-Low from round 1 on."""
    if (probe, number) == (4, 4):
        return None
    return 1.0 + probe / 60 if probe % 3 == 0 and number >= 1 else 4.5


def named(closed: Round) -> Round:
    """Return a round whose samples have files."""
    samples = tuple(
        replace(
            s, explanation=replace(s.explanation, file=f"val/{s.explanation.probe_index:03d}.png")
        )
        for s in closed.samples
    )
    return replace(closed, samples=samples)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Round]]:
    """Return the folders of runs with a shortcut and without, and the first one's rounds."""
    folder = tmp_path_factory.mktemp("runs")
    rounds = [named(make_round(n, probes=60, score=score)) for n in range(ROUNDS)]
    write_run(folder / "bad", rounds)
    good = [named(make_round(n, probes=60, score=lambda *_: 4.5)) for n in range(ROUNDS)]
    write_run(folder / "good", good)
    write_report(folder / "bad")
    return folder / "bad", folder / "good", rounds


class Hand:
    """Clicks or presses what a person would, and counts.

    Args:
        page: The page.
        by_keyboard: With the tab key alone, up to each place.
    """

    def __init__(self, page: Page, *, by_keyboard: bool) -> None:
        self.page, self.by_keyboard, self.clicks = page, by_keyboard, 0

    def press(self, target: Locator) -> None:
        """Follow a link or push a button."""
        self.clicks += 1
        if not self.by_keyboard:
            target.click()
            return
        self._reach(target)
        self.page.keyboard.press("Enter")

    def choose(self, target: Locator, value: str) -> None:
        """Choose an option of a list: one click for opening and choosing it."""
        self.clicks += 1
        if not self.by_keyboard:
            target.select_option(value)
            return
        self._reach(target)
        values = target.locator("option").evaluate_all("all => all.map(o => o.value)")
        self.page.keyboard.press("Home")
        for _ in range(values.index(value)):
            self.page.keyboard.press("ArrowDown")
        expect(target).to_have_value(value)

    def _reach(self, target: Locator) -> None:
        element = target.element_handle()
        for _ in range(260):
            if self.page.evaluate("element => document.activeElement === element", element):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError("The tab key does not lead there.")


@pytest.fixture(params=[False, True], ids=["clicks", "keyboard"])
def hand(
    request: pytest.FixtureRequest, open_page: Open, runs: tuple[Path, Path, list[Round]]
) -> Hand:
    """Return what looks at the report of the run with a shortcut."""
    page = open_page(runs[0] / "report.html")
    return Hand(page, by_keyboard=request.param)


def correct_low(closed: Round) -> list[int]:
    """Return the probes that are Correct-Low, lowest score first."""
    low = [
        s for s in closed.samples if s.quadrant is not None and s.quadrant.value == "correct_low"
    ]
    low.sort(key=lambda s: s.verdict.score or 0.0)
    return [s.explanation.probe_index for s in low]


def cards(page: Page) -> list[int]:
    """Return the probes of the cards in view, in order."""
    texts = page.locator("section:not([hidden]) .card .row .small").all_inner_texts()
    return [int(t.removeprefix("probe ")) for t in texts if t.startswith("probe ")]


def test_class_and_since_when_are_read_on_top(hand: Hand) -> None:
    """Without a click, and before any figure."""
    first = hand.page.locator("main section:not([hidden]) p, main .tile").first
    expect(first).to_contain_text(
        "cat: 15 of 20 right for the wrong reason in epoch 4, and standing"
    )
    expect(first).to_contain_text("since epoch 1 (15 of 20)")
    assert hand.clicks == 0


def test_the_five_worst_with_reasons_are_one_click_away(
    hand: Hand, runs: tuple[Path, Path, list[Round]]
) -> None:
    """The sentence leads to them, lowest score first, with the judge's words."""
    hand.press(hand.page.locator("#finding a").first)
    worst = correct_low(runs[2][-1])
    expect(hand.page.locator("#gallery .card")).to_have_count(len(worst))
    assert cards(hand.page)[:5] == worst[:5]
    assert all("Seen" in t for t in hand.page.locator(".card .words").all_inner_texts()[1:5])
    assert hand.clicks == 1


def test_whether_a_probe_drifted_and_when_takes_two(hand: Hand) -> None:
    """Its page has a curve of drift and of the score."""
    hand.press(hand.page.get_by_role("link", name="Gallery"))
    hand.press(hand.page.locator('.card[href*="#/probe/9?"]'))
    chart = hand.page.locator("#probe .chart").filter(has_text="Drift")
    expect(chart.locator("path.mark")).not_to_have_count(0)
    expect(hand.page.locator("#strip li")).to_have_count(ROUNDS)
    assert hand.clicks == 2


def test_whether_two_runs_differ_is_the_first_line_of_one_command(
    runs: tuple[Path, Path, list[Round]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without opening the page."""
    out = ["--out", str(tmp_path / "page.html")]
    assert main(["report", str(runs[1]), str(runs[0]), *out]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("At epoch 4. B against A, on the same 60 probes: Correct-High")
    assert "Correct-Low 0.00 and 0.25" in first


def test_cost_and_failures_are_one_click_away(hand: Hand) -> None:
    """Of each round and of all."""
    hand.press(hand.page.get_by_role("link", name="Figures"))
    total = hand.page.locator("#round-cost tfoot")
    expect(total).to_contain_text("$")
    expect(total).to_contain_text("1 timeout")
    assert hand.clicks == 1


def test_whether_the_judge_can_be_trusted_is_one_click_away(hand: Hand) -> None:
    """Also where the run cannot tell."""
    hand.press(hand.page.get_by_role("link", name="Figures"))
    expect(hand.page.locator("#untested + p")).to_contain_text("This run does not tell")
    assert hand.clicks == 1


def test_what_flipped_and_its_files_take_two_clicks_each(
    hand: Hand, runs: tuple[Path, Path, list[Round]], tmp_path: Path
) -> None:
    """Between rounds of choice; then a table of their names; then a link to what is seen."""
    hand.press(hand.page.get_by_role("link", name="Changes"))
    hand.choose(hand.page.locator("#changes select[name=to]"), "fit-2")
    moved = {
        a.explanation.probe_index
        for a, b in zip(runs[2][0].samples, runs[2][2].samples, strict=True)
        if a.quadrant is not b.quadrant
    }
    assert len(moved) > 10
    expect(hand.page.locator("#changes .card")).to_have_count(len(moved))
    assert set(cards(hand.page)) == moved
    assert hand.clicks == 2
    hand.press(hand.page.get_by_role("link", name="filter them in the gallery"))
    with hand.page.expect_download() as download:
        hand.press(hand.page.locator("button[name=export]"))
    download.value.save_as(tmp_path / "moved.csv")
    with (tmp_path / "moved.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == {f"val/{probe:03d}.png" for probe in moved}
    assert hand.clicks == 4
    again = hand.page.context.new_page()  # the address alone
    again.goto(hand.page.url)
    again.wait_for_selector(".card")
    assert cards(again) == cards(hand.page)

"""The "Rate" page: what a person sees, does and takes away."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from lightning_vlmxai.records import Round
from lightning_vlmxai.report import write_report
from run_folders import make_round, write_run

Open = Callable[..., Page]
SCORES = [3, 5, 0, 2, 4, 1, 5, 5, 3, 2, 0, 4, 4, 1, 3, 5, 2, 2, 0, 4]
QUADRANTS = ("correct_high", "correct_low", "wrong_high", "wrong_low")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Round]:
    """Return the path of a report, and its last round."""
    folder = tmp_path_factory.mktemp("run")
    return folder, write_run(folder, [make_round(n, probes=90, side=12) for n in (0, 1)])[-1]


@pytest.fixture(scope="module")
def report(run: tuple[Path, Round]) -> Path:
    """Return the path of a report."""
    return write_report(run[0])


def begin(page: Page, size: int = 20, name: str = "Ann B.") -> None:
    """Choose how many samples, say who rates, and start."""
    page.locator("select[name=rate-size]").select_option(str(size))
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Start").click()


def download(page: Page, into: Path) -> dict[str, Any]:
    """Return what the page hands out as a file."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").first.click()
    out = into / waiting.value.suggested_filename
    waiting.value.save_as(out)
    told: dict[str, Any] = json.loads(out.read_text())
    return told


def predictions(closed: Round) -> dict[str, str]:
    """Return the predicted class of each sample by its name in files of ratings."""
    return {
        f"fit-{closed.number}/{s.explanation.probe_index}": s.explanation.prediction_name
        for s in closed.samples
    }


def test_twenty_samples_by_keyboard(
    open_page: Open, run: tuple[Path, Round], report: Path, tmp_path: Path
) -> None:
    """Scores, a note, something taken back, a reload in the middle; then the file."""
    page = open_page(report, "#/rate")
    begin(page)
    asked = []
    for number, score in enumerate(SCORES):
        asked.append((page.locator("#rate-label bdi").text_content(), score))
        if number == 3:
            page.keyboard.press("0")
            page.keyboard.press("u")
            page.keyboard.press("n")
            page.keyboard.type("5 legs")
            page.keyboard.press("Enter")
        if number == 11:
            page.reload()
            page.wait_for_selector("html[data-ready]")
            expect(page.locator("#rate-count")).to_have_text("11 of 20")
        page.keyboard.press(str(score))
    expect(page.locator("#rate-label")).to_have_text("Done: 20 samples rated")
    expect(page.locator("#rate-label")).to_be_focused()
    page.keyboard.press("3")  # nothing is left to score
    told = download(page, tmp_path)
    assert (tmp_path / "ratings-fit-1-ann-b.json").is_file()
    assert (told["rater"], told["round"], told["skipped"]) == ("Ann B.", "fit-1", [])
    assert [of["score"] for of in told["ratings"]] == SCORES
    assert [of["note"] for of in told["ratings"] if of["note"]] == ["5 legs"]
    names = predictions(run[1])
    assert [(names[of["sample"]], of["score"]) for of in told["ratings"]] == asked
    assert len({of["sample"] for of in told["ratings"]}) == 20


def test_the_weights_are_those_of_the_quadrants(
    open_page: Open, run: tuple[Path, Round], report: Path, tmp_path: Path
) -> None:
    """20 by the root of each quadrant's size, in an order that is not that of the probes."""
    page = open_page(report, "#/rate")
    begin(page)
    for _ in range(20):
        page.keyboard.press("2")
    told = download(page, tmp_path)
    quadrant = {
        f"fit-1/{s.explanation.probe_index}": s.quadrant.value
        for s in run[1].samples
        if s.quadrant is not None
    }
    sizes = Counter(quadrant.values())
    roots = sum(size**0.5 for size in sizes.values())
    for of in told["ratings"]:
        size = sizes[quadrant[of["sample"]]]
        assert of["weight"] == pytest.approx(size / (20 * size**0.5 / roots), abs=1e-6)
    assert told["draw"] == {"size": 20, "of": len(quadrant), "hidden": 0}
    probes = [int(of["sample"].split("/")[1]) for of in told["ratings"]]
    assert probes != sorted(probes)


def test_nothing_on_the_page_tells_what_the_judge_said(open_page: Open, report: Path) -> None:
    """Neither score nor quadrant, true class, probe or words, in text and in attributes."""
    page = open_page(report, "#/rate")
    begin(page)
    for _ in range(20):
        html = page.locator("#rate").evaluate('of => of.innerHTML.replace(/src="[^"]*"/g, \'src\')')
        shown = page.locator("#rate").inner_text()
        for word in (*QUADRANTS, "badge", "unscored", "probe", "Seen", "So.", "data-", "title="):
            assert word not in html, word
        assert "Correct" not in shown
        page.keyboard.press("4")


def test_a_phone_rates_by_touch(open_page: Open, report: Path, tmp_path: Path) -> None:
    """All that is needed for a sample is on one screen, and large enough for a finger."""
    page = open_page(report, "#/rate", width=390, touch=True)
    begin(page)
    for score in SCORES[:7]:
        button = page.locator(f"[name=score-{score}]")
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert 0 <= box["y"] <= 900 - box["height"]
        assert 0 <= box["x"] <= 390 - box["width"]
        button.tap()
    page.get_by_role("button", name="I can't tell").tap()
    page.get_by_role("button", name="Undo").tap()
    page.get_by_role("button", name="Undo").tap()
    expect(page.locator("#rate-count")).to_have_text("6 of 20")
    page.get_by_role("button", name="I can't tell").tap()
    told = download(page, tmp_path)
    assert [of["score"] for of in told["ratings"]] == SCORES[:6]
    assert [of["score"] for of in told["skipped"]] == [None]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_ratings_are_kept_by_round_and_run(open_page: Open, report: Path) -> None:
    """Another round and another run begin empty; deleting asks once more."""
    page = open_page(report, "#/rate")
    begin(page)
    page.keyboard.press("4")
    page.get_by_role("button", name="Round, name").click()
    page.locator("select[name=rate-round]").select_option("fit-0")
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    page.evaluate("location.hash = '#/rate?round=fit-1'")
    expect(page.locator("#rate-count")).to_have_text("1 of 20")
    other = report.parent / "other"  # pages of one home are let through
    write_run(other, [make_round(1, probes=90, side=12, score=lambda probe, _: 5.0 - probe % 6)])
    page.goto(write_report(other).as_uri() + "#/rate")
    page.wait_for_selector("html[data-ready]")
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    page.goto(report.as_uri() + "#/rate")
    page.wait_for_selector("html[data-ready]")
    page.get_by_role("button", name="Round, name").click()
    page.get_by_role("button", name="Delete 1 rating").click()
    page.get_by_role("button", name="Really delete 1 rating?").click()
    expect(page.get_by_role("button", name="Start")).to_be_visible()


def test_a_browser_that_keeps_nothing_is_told(open_page: Open, report: Path) -> None:
    """So that nobody closes a page with an hour's work."""
    page = open_page(report, "#/")
    page.evaluate(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })"
    )
    page.evaluate("location.hash = '#/rate'")
    begin(page)
    expect(page.get_by_role("alert")).to_contain_text("download before you close it")


@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_read(open_page: Open, report: Path, dark: bool) -> None:
    """Contrast of at least 4.5 (WCAG 2.2, AA) of every text that is not disabled."""
    page = open_page(report, "#/rate", dark=dark)
    for step in ("setup", "rate", "done"):
        if step == "rate":
            begin(page)
            page.keyboard.press("1")
        if step == "done":
            for _ in range(19):
                page.keyboard.press("1")
        page.wait_for_timeout(200)  # transitions
        ratios = page.evaluate(CONTRASTS)
        assert len(ratios) >= 5
        assert {text: ratio for text, ratio in ratios.items() if ratio < 4.5} == {}


CONTRASTS = """() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = (of) => {
    const own = getComputedStyle(of).backgroundColor;
    return own === "rgba(0, 0, 0, 0)" ? paper(of.parentElement) : own;
  };
  const found = {};
  for (const of of document.querySelectorAll("#rate *")) {
    const texts = [...of.childNodes].filter((n) => n.nodeType === 3);
    const text = texts.map((n) => n.data).join("").trim();
    if (!text || !of.checkVisibility() || of.closest(":disabled, option, .unseen")) continue;
    const [a, b] = [light(getComputedStyle(of).color), light(paper(of))].sort((x, y) => y - x);
    found[text] = (a + 0.05) / (b + 0.05);
  }
  return found;
}"""


def test_controls_have_names_and_the_progress_is_said(open_page: Open, report: Path) -> None:
    """For who hears the page: every field and button, and where one is."""
    page = open_page(report, "#/rate")
    begin(page)
    expect(page.locator("#rate-label")).to_be_focused()
    expect(page.get_by_role("status").last).to_contain_text("Sample 1 of 20: ")
    page.get_by_role("button", name="3 object recognisable, other things as well").click()
    expect(page.get_by_role("status").last).to_contain_text("Sample 2 of 20: ")
    expect(page.get_by_role("progressbar", name="rated")).to_have_attribute("value", "1")
    page.get_by_label("Note, kept with the score").fill("odd")
    expect(page.get_by_role("group", name="How well do the visible parts show")).to_be_visible()
    expect(page.get_by_role("img", name="the masked picture")).to_be_visible()

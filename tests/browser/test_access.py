"""Every view by axe's rules and WCAG's contrast, in light and dark; scores as Python has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from audit_folders import draw_lines, write_audit
from playwright.sync_api import Page, expect

import label_folders
from lightning_vlmxai.cli import main
from lightning_vlmxai.records import Quadrant, Round, Sample
from lightning_vlmxai.report import write_comparison, write_report
from lightning_vlmxai.rounds import PALETTE, Interval, assign_quadrant, show_score
from lightning_vlmxai.shortcuts import Box, Change, Effect, Place, Shortcut
from lightning_vlmxai.sinks import ShortcutsFound, write_shortcuts
from run_folders import count, make_round, write_run

Open = Callable[..., Page]
VIEWS = ("#/", "#/gallery", "#/probe/3?round=fit-1", "#/changes", "#/shortcuts", "#/figures",
         "#/rate", "#/made")  # fmt: skip
NEAR = {4: 2.49, 5: 2.4996, 7: 2.5}
"""Scores of probes at these positions of the last round, near the threshold."""
SPREADS = {4: 0.5, 5: 0.0, 7: 1.0, 8: 2.0, 9: 0.25}
WORDS = (("a", 0.0), ("zebra", 0.05), ("on", -0.02), ("grass", -0.05))

# Letters of every text that can be seen, their colour laid over what stands behind them.
CONTRASTS = """() => {
  const parse = (css) => {
    const n = css.match(/-?[\\d.]+(e-?\\d+)?/g).map(Number);
    const scale = css.startsWith("color(") ? 255 : 1;
    return [n[0] * scale, n[1] * scale, n[2] * scale, n[3] ?? 1];
  };
  const over = (top, under) =>
    under.map((c, i) => (i < 3 ? top[i] * top[3] + c * (1 - top[3]) : 1));
  const luminance = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.unshift(parse(getComputedStyle(at).backgroundColor));
    }
    return layers.reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const poor = new Map();
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.textContent.trim() || element.closest("script, style, option")) continue;
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest(":disabled")) continue; // WCAG leaves out what can't be used
    const style = getComputedStyle(element), isSvg = element instanceof SVGElement;
    const ink = parse(isSvg ? style.fill : style.color);
    for (let at = element; at; at = at.parentElement)
      ink[3] *= Number(getComputedStyle(at).opacity);
    const paper = behind(element), found = ratio(over(ink, paper), paper);
    seen += 1;
    const name = `${element.tagName} ${element.className.baseVal ?? element.className}`;
    if (found < 4.5) poor.set(name, `${found.toFixed(2)} ${node.textContent.slice(0, 30)}`);
  }
  return { seen, poor: [...poor] };
}"""


def near_the_threshold(closed: Round) -> Round:
    """Return a round with scores near the threshold, spreads, and masks on part of the object."""
    samples = []
    for position, sample in enumerate(closed.samples):
        e, verdict = sample.explanation, sample.verdict
        if verdict.score is not None:
            score = NEAR.get(position, verdict.score)
            verdict = replace(verdict, score=score, spread=SPREADS.get(position))
        reference, mask = torch.zeros_like(e.mask).bool(), torch.zeros_like(e.mask)
        reference[:12] = True
        mask[2:4] = 1.0
        samples.append(
            Sample(
                explanation=replace(e, mask=mask, reference_mask=reference, words=WORDS),
                verdict=verdict,
                quadrant=None
                if verdict.score is None
                else assign_quadrant(verdict.score, is_correct=e.is_correct),
            )
        )
    return replace(closed, samples=tuple(samples))


@pytest.fixture(scope="module")
def closed() -> Round:
    """Return the last round."""
    return near_the_threshold(make_round(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, closed: Round) -> Path:
    """Return a run of two rounds."""
    path = tmp_path_factory.mktemp("access")
    write_run(path, [make_round(0), closed], watch_classes=["cat"])
    change = Change(6, 2, 0, 2)
    shortcut = Shortcut(
        label="cat", number=0, low=2, right=3, other_low=1, other_right=6,
        place=Place(Box(0.0, 0.75, 0.25, 1.0), 0.9, 0.1, 0.001), bearers=(6, 15),
        erased=Effect(1, 1, 0, Interval(0.1, 1.0), -0.5, 0.0, (change,)),
    )  # fmt: skip
    write_shortcuts(path, ShortcutsFound(closed=closed, shortcuts=[shortcut]))
    return path


def violations(page: Page, *rules: str) -> list[Any]:
    """Return what axe finds against the page as it is, by these rules or by all."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options = {"resultTypes": ["violations"], "preload": False}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = axe.run(page, options=options).response["violations"]
    return [(of["id"], [node["html"][:160] for node in of["nodes"][:4]]) for of in found]


def look(page: Page) -> dict[str, Any]:
    """Return what is wrong with a view, in light and in dark: the document is the same in both."""
    found: dict[str, Any] = {}
    for scheme, rules in (("light", ()), ("dark", ("color-contrast", "link-in-text-block"))):
        page.emulate_media(color_scheme=scheme)
        contrasts = page.evaluate(CONTRASTS)
        assert contrasts["seen"] > 15
        if wrong := [*violations(page, *rules), *contrasts["poor"]]:
            found[scheme] = wrong
    return found


@pytest.mark.slow
def test_every_view_can_be_read_by_all(open_page: Open, folder: Path) -> None:
    """No violation by axe, and no text with a contrast below 4.5."""
    page = open_page(write_report(folder))
    found = {}
    for route in VIEWS:
        page.evaluate(f"location.hash = '{route}'")
        page.wait_for_timeout(60)
        found[route] = look(page)
    page.goto(write_comparison([folder, folder]).as_uri())
    page.wait_for_selector("html[data-ready]")
    found["comparison"] = look(page)
    assert {view: wrong for view, wrong in found.items() if wrong} == {}


@pytest.mark.slow
def test_an_audit_can_be_read_by_all(open_page: Open, tmp_path: Path) -> None:
    """Groups that stand out, samples with and without a picture."""
    lines = draw_lines(60, classes=20, bad={"camera=yard": 0.9})
    page = open_page(write_report(write_audit(tmp_path, lines, pictures=3)))
    found = {}
    for route in ("#/", "#/gallery", "#/probe/3"):
        page.evaluate(f"location.hash = '{route}'")
        page.wait_for_timeout(60)
        found[route] = look(page)
    assert {view: wrong for view, wrong in found.items() if wrong} == {}


def test_a_poor_contrast_is_seen(open_page: Open, folder: Path) -> None:
    """Grey on grey, half-transparent ink, and a curve's name too pale."""
    page = open_page(write_report(folder))
    for rule in (
        "#legend span { color: #999 !important }",
        ".tile .more { opacity: .4 }",
        ".chart .axis { fill: #ccc !important }",
    ):
        page.evaluate("rule => document.styleSheets[0].insertRule(rule, 9)", rule)
    told = " ".join(name for name, _ in page.evaluate(CONTRASTS)["poor"])
    assert "more" in told
    assert "axis" in told
    assert "SPAN " in told


def test_the_page_shows_scores_as_the_sheets_do(open_page: Open, folder: Path) -> None:
    """On a grid of scores and thresholds, near and far, as the same texts."""
    page = open_page(write_report(folder), "#/gallery?sort=probe")
    thresholds = [2.5, 2.55, 2.1, 0.3, 5.0]
    grid = [
        (score, t)
        for t in thresholds
        for score in [*(i / 64 for i in range(321)), *(i / 100 for i in range(501)),
                      *(t - 10.0**-k for k in range(1, 17)), *(t + 10.0**-k for k in range(1, 17))]
        if score >= 0
    ]  # fmt: skip
    source = Path(__file__).parents[2] / "lightning_vlmxai/report/assets/dom.js"
    body = source.read_text().split("function showScore")[1].split("\n}")[0]
    shown = page.evaluate(
        f"grid => {{ function showScore{body}\n}} return grid.map(([s, t]) => showScore(s, t)); }}",
        grid,
    )
    assert shown == [show_score(score, t) for score, t in grid]


def test_cards_and_probe_page_never_contradict_the_threshold(
    open_page: Open, folder: Path, closed: Round
) -> None:
    """2.49 beside Low, borderline where the judge's spread crosses, partly attended as measured."""
    page = open_page(write_report(folder), "#/gallery?sort=probe")
    for sample in closed.samples:
        if sample.verdict.score is None:
            continue
        score, spread = sample.verdict.score, sample.verdict.spread
        card = page.locator(".card", has_text=f"probe {sample.explanation.probe_index}").filter(
            has=page.get_by_text(f"probe {sample.explanation.probe_index}", exact=True)
        )
        text = card.locator(".score").inner_text()
        shown = float(text.split()[0])
        assert (shown >= 2.5) == (sample.quadrant in (Quadrant.CORRECT_HIGH, Quadrant.WRONG_HIGH))
        is_close = spread is not None and spread > 0 and abs(score - 2.5) <= spread
        assert ("borderline" in text) == is_close
        is_partly = sample.quadrant is Quadrant.CORRECT_LOW
        assert ("partly attended: 100 % of the kept region" in card.inner_text()) == is_partly
    page.evaluate("location.hash = '#/probe/12?round=fit-1'")
    expect(page.locator(".verdict .value")).to_have_text("2.49")
    expect(page.locator(".verdict")).to_contain_text("borderline: the judge's own answers are 0.50")
    expect(page.locator(".verdict")).to_contain_text("17 % of the object is kept")


def test_the_overview_counts_borderline_and_partly_attended(
    open_page: Open, folder: Path, closed: Round
) -> None:
    """Beside the rates, and a link to the partly attended ones; the head counts the probes."""
    page = open_page(write_report(folder))
    told = [
        (s.verdict.score, s.verdict.spread)
        for s in closed.samples
        if s.verdict.score is not None and s.verdict.spread is not None
    ]
    close = sum(spread > 0 and abs(score - 2.5) <= spread for score, spread in told)
    assert 0 < close < len(told)
    expect(page.locator("#borderline")).to_contain_text(f"{close} of {len(told)} asked about more")
    low = count(closed)["correct_low"]
    page.locator("#partly").get_by_role("link", name=f"{low} of {low} Correct-Low").click()
    expect(page.locator("#gallery .card")).to_have_count(low)
    expect(page.locator(".facts div", has_text="Probes")).to_have_text("Probes12")
    page.evaluate("location.hash = '#/'")
    page.locator("select[name=chosen-round]").select_option("fit-0")
    expect(page.locator("#borderline")).to_contain_text("asked once")
    expect(page.locator("#partly")).to_have_count(0)


def test_legend_and_badges_have_the_one_palette(open_page: Open, folder: Path) -> None:
    """By day and by night, as the module has it that pictures are drawn with."""
    page = open_page(write_report(folder))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for quadrant, shades in PALETTE.items():
            own = page.locator(f"#legend .badge.{quadrant.value}")
            rgb = ", ".join(map(str, bytes.fromhex(getattr(shades, scheme)[1:])))
            expect(own).to_have_css("background-color", f"rgb({rgb})")


@pytest.mark.slow
def test_the_page_of_suspicious_labels_can_be_read_by_all(open_page: Open, tmp_path: Path) -> None:
    """With a suspect open, marked, and when all are done."""
    pytest.importorskip("cleanlab", reason="the extra `labels` is not installed")
    assert (
        main(["labels", str(label_folders.write_audit(tmp_path, pictures=60)), "--top", "5"]) == 0
    )
    page = open_page(tmp_path / "labels.html")
    page.locator("summary").click()
    expect(page.locator("details table")).to_be_visible()
    found = {"open": look(page)}
    page.keyboard.press("w")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".marks [name=wrong]")).to_have_attribute("aria-pressed", "true")
    found["marked"] = look(page)
    for _ in range(5):
        page.keyboard.press("r")
    expect(page.locator("#review-label")).to_contain_text("Done")
    found["done"] = look(page)
    assert {view: wrong for view, wrong in found.items() if wrong} == {}

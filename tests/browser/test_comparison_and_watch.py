"""Two runs on one page, and a page that follows a run, in a browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from lightning_vlmxai import cli
from lightning_vlmxai.report import ReportServer, write_comparison
from run_folders import make_round, score_of, write_run

Open = Callable[..., Page]


def opposite(probe: int, number: int) -> float | None:
    """Return the scores of a run that attends to what the other leaves out."""
    score = score_of(probe, number)
    return None if score is None else 5.0 - score


@pytest.mark.slow
def test_two_runs_are_side_by_side(open_page: Open, tmp_path: Path) -> None:
    """Curves of both, and the pictures of each probe whose quadrant differs."""
    (*_, a) = write_run(tmp_path / "a")
    (*_, b) = write_run(tmp_path / "b", [make_round(n, score=opposite) for n in range(5)])
    differing = [
        (one.quadrant, other.quadrant)
        for one, other in zip(a.samples, b.samples, strict=True)
        if one.quadrant is not other.quadrant
    ]
    page = open_page(write_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / "page.html"))
    expect(page.locator("#warnings")).to_have_count(0)
    expect(page.locator(".chart")).to_have_count(7)
    expect(page.locator(".chart").nth(2).locator("path.line")).to_have_count(4)  # 2 runs, 2 pieces
    cards = page.locator("#differ li")
    expect(cards).to_have_count(len(differing))
    expect(cards.first.locator(".sides > div")).to_have_count(2)
    expect(cards.first.locator("img")).to_have_count(6)
    options = page.locator("select[name=transition]").locator("option").all_inner_texts()
    assert options[0] == f"any ({len(differing)})"
    low = sum(
        q.value == "correct_low" and p.value == "correct_high" for p, q in differing if p and q
    )
    page.locator("select[name=transition]").select_option("CH → CL")
    assert 0 < low < len(differing)
    expect(cards).to_have_count(low)
    assert "change=CH" in page.evaluate("location.hash")
    page.reload()
    expect(cards).to_have_count(low)
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("window.pwned") is None


def test_runs_of_other_samples_are_said_to_be(open_page: Open, tmp_path: Path) -> None:
    """In the first thing on the page."""
    write_run(tmp_path / "a", [make_round(0)])
    write_run(tmp_path / "b", [make_round(0, fingerprint="beef")])
    page = open_page(write_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / "page.html"))
    expect(page.get_by_role("alert")).to_contain_text("not explained on the same samples")


def test_a_watched_page_takes_in_the_round_that_arrives(open_page: Open, tmp_path: Path) -> None:
    """Without being loaded again: view, filters and focus stay, and it says that it is live."""
    write_run(tmp_path, [make_round(0)])

    def make(folders: object, addresses: object, build: str) -> str:
        return cli.make_report(tmp_path, "files/0", build=build)

    server, stop = ReportServer(0, lambda: [tmp_path], make), threading.Event()
    thread = threading.Thread(target=server.watch, args=(stop, 0.05))
    thread.start()
    try:
        page = open_page(server.url, "#/gallery?round=all")
        page.evaluate("window.unbroken = true")
        expect(page.locator("#live")).to_contain_text("Live · fit round 0 is the last one")
        page.locator("input[name=find]").fill("probe-less")
        page.locator("input[name=find]").fill("")
        expect(page.locator("#gallery .card")).to_have_count(12)
        calls = [{"round": 1, "probe": probe} for probe in (0, 3, 3, 6)]
        with (tmp_path / "judge_calls.jsonl").open("w") as file:
            file.writelines(f"{json.dumps(call)}\n" for call in calls)
        expect(page.locator("#live")).to_contain_text(
            "3 of 12 verdicts of round 1 are in", timeout=15_000
        )
        write_run(tmp_path, [make_round(1)])
        expect(page.locator("#gallery .card")).to_have_count(24, timeout=15_000)
        expect(page.locator("#live")).to_contain_text("fit round 1 is the last one")
        assert page.evaluate("[window.unbroken, location.hash, document.activeElement.name]") == [
            True,
            "#/gallery?round=all",
            "find",
        ]
        expect(page.locator("#round-figures tbody tr")).to_have_count(2)
        page.context.close()
    finally:
        stop.set()
        thread.join(10)


def test_a_page_whose_server_has_ended_says_so(browser: Browser, tmp_path: Path) -> None:
    """It stays as it is, and is not taken for a live one."""
    write_run(tmp_path, [make_round(0)])
    server = ReportServer(
        0, lambda: [tmp_path], lambda *_: cli.make_report(tmp_path, "files/0", build="1")
    )
    server.refresh()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    page = browser.new_page()  # a refused request is an error on the console
    try:
        page.goto(server.url)
        expect(page.locator("#live")).to_contain_text("Live · ")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
    expect(page.locator("#live")).to_contain_text("No longer live", timeout=15_000)
    expect(page.locator("#tiles")).to_be_visible()
    page.close()

"""The page of suspicious labels: what a person sees, marks and takes away."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from label_folders import write_audit
from lightning_vlmxai.report import list_suspects, read_labelled, write_label_page

pytest.importorskip("cleanlab", reason="the extra `labels` is not installed")
Open = Callable[..., Page]
FIRST = 12


def write_page(folder: Path) -> tuple[Path, dict[str, list[int]]]:
    """Return the page of the first suspects, and their probes in the order of each method."""
    read = read_labelled(write_audit(folder, pictures=60))
    found = read.ask()
    suspects = list_suspects(read, found, "combined", FIRST)
    page = write_label_page(read, found, suspects, "combined", folder / "labels.html")
    orders = {
        name: [of.sample.probe for of in sorted(suspects, key=lambda of: of.ranks[name])]
        for name in found
    }
    scored = [(s.sample.score is None, -(s.sample.score or 0), k) for k, s in enumerate(suspects)]
    orders["score"] = [suspects[k].sample.probe for *_, k in sorted(scored)]
    return page, orders


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]]]:
    """Return the page and the orders."""
    return write_page(tmp_path_factory.mktemp("audit"))


def download(page: Page, into: Path) -> list[dict[str, str]]:
    """Return the rows of the file that the page hands out."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    out = into / waiting.value.suggested_filename
    waiting.value.save_as(out)
    assert out.name == "label-marks.csv"
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_labels_are_marked_by_keyboard(
    open_page: Open, made: tuple[Path, dict[str, list[int]]], tmp_path: Path
) -> None:
    """In the order that is shown; one taken back, a reload in the middle; then the file."""
    path, orders = made
    page = open_page(path)
    probes = orders["combined"]
    keys = "wrsw" + "W" * 8
    for number, key in enumerate(keys):
        file = f"pictures/{probes[number]:03d}.png"
        expect(page.locator("#review-facts")).to_contain_text(file)
        if number == 2:
            page.keyboard.press("r")
            expect(page.locator("#review-count")).to_have_text("3 of 12")
            page.keyboard.press("u")
            expect(page.locator("#review-count")).to_have_text("2 of 12")
            expect(page.locator("#review-facts")).to_contain_text(file)
            expect(page.locator("#review-said")).to_contain_text("Taken back: right.")
        if number == 6:
            page.reload()
            page.wait_for_selector("html[data-ready]")
            expect(page.locator("#review-facts")).to_contain_text(file)
        page.keyboard.press(key)
        expect(page.locator("#review-count")).to_have_text(f"{number + 1} of 12")
    expect(page.locator("#review-label")).to_contain_text("Done: 12 labels marked")
    page.keyboard.press("r")  # nothing is left to mark
    rows = download(page, tmp_path)
    marks = {"w": "wrong", "r": "right", "s": "unsure"}
    assert [int(row["probe"]) for row in rows] == probes
    assert [row["mark"] for row in rows] == [marks[key.lower()] for key in keys]
    assert [row["file"] for row in rows] == [f"pictures/{probe:03d}.png" for probe in probes]
    assert {"'=owl"} <= {row["label"] for row in rows} <= {"cat", "dog", "'=owl"}


def test_a_mark_is_changed_and_counts_once(
    open_page: Open, made: tuple[Path, dict[str, list[int]]], tmp_path: Path
) -> None:
    """By going back with the arrow, or by a button; taking it back brings the first one again."""
    path, orders = made
    page = open_page(path)
    page.keyboard.press("w")
    expect(page.locator("#review-count")).to_have_text("1 of 12")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".marks [name=wrong]")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Right").click()
    expect(page.locator("#review-facts")).to_contain_text(f"{orders['combined'][1]:03d}.png")
    (row,) = download(page, tmp_path)
    assert (int(row["probe"]), row["mark"]) == (orders["combined"][0], "right")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".marks [name=wrong]")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#review-count")).to_have_text("0 of 12")
    expect(page.get_by_role("button", name="Download")).to_be_disabled()


def test_orders_and_filters_are_in_the_address(
    open_page: Open, made: tuple[Path, dict[str, list[int]]]
) -> None:
    """Each method's order, the score's, and the marks; a link to a sample opens it."""
    path, orders = made
    page = open_page(path)
    cards = page.locator("#suspects .card")
    for name, probes in orders.items():
        page.locator("select[name=sort]").select_option(name)
        first = cards.first
        expect(first).to_have_attribute("href", f"#/test-0/{probes[0]}?sort={name}&show=all")
        shown = [link.get_attribute("href") for link in cards.all()]
        assert shown == [f"#/test-0/{probe}?sort={name}&show=all" for probe in probes]
    page.keyboard.press("w")
    expect(page.locator("#review-count")).to_have_text("1 of 12")
    page.locator("select[name=show]").select_option("wrong")
    expect(cards).to_have_count(1)
    page.locator("select[name=show]").select_option("unmarked")
    expect(cards).to_have_count(FIRST - 1)
    assert page.evaluate("location.hash").endswith("?sort=score&show=unmarked")
    cards.nth(4).click()
    expect(page.locator("#review-label")).to_be_focused()
    expect(cards.nth(4)).to_have_attribute("aria-current", "true")
    page.evaluate("location.hash = '#/test-0/9999'")
    expect(page.locator("#unknown")).to_contain_text('a sample "test-0/9999"')


def test_what_is_shown_is_text(open_page: Open, made: tuple[Path, dict[str, list[int]]]) -> None:
    """The judge's words, with tags in them; pictures are there."""
    page = open_page(made[0])
    expect(page.locator("#review-facts")).to_contain_text("Seen, <b>")
    expect(page.locator("#review-pictures img")).to_have_count(4)  # one lies over another
    page.wait_for_function(
        "[...document.querySelectorAll('#review-pictures img')].every((i) => i.naturalWidth > 0)"
    )


def test_keys_are_left_to_boxes_and_to_the_browser(
    open_page: Open, made: tuple[Path, dict[str, list[int]]]
) -> None:
    """Ctrl-R is no mark, nor is a letter typed to choose an order."""
    page = open_page(made[0])
    page.locator("select[name=sort]").focus()
    page.keyboard.press("w")
    page.evaluate("document.activeElement.blur()")
    page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', "
        "{ key: 'w', ctrlKey: true, bubbles: true }))"
    )
    page.keyboard.press("ArrowRight")
    expect(page.locator("#review-facts")).to_contain_text(f"{made[1]['combined'][1]:03d}.png")
    expect(page.locator("#review-count")).to_have_text("0 of 12")


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off(
    open_page: Open, made: tuple[Path, dict[str, list[int]]], width: int
) -> None:
    """The page is not wider than the window."""
    page = open_page(made[0], width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width

"""What the page saves is what the command writes, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from exported import write_named_run
from lightning_vlmxai.cli import main
from lightning_vlmxai.report import FORMATS, write_report
from run_folders import write_run

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with a report."""
    folder = tmp_path_factory.mktemp("run")
    write_named_run(folder)
    write_report(folder)
    return folder


def save(page: Page, kind: str) -> bytes:
    """Return the file that the page saves."""
    page.locator("select[name=export-format]").select_option(kind)
    with page.expect_download() as download:
        page.locator("button[name=export]").click()
    name = f"vlmxai-samples.{FORMATS[kind][1]}"
    assert download.value.suggested_filename == name
    return Path(download.value.path()).read_bytes()


def write(folder: Path, *options: str) -> bytes:
    """Return the file that the command writes."""
    out = folder / "exported"
    assert main(["export", str(folder), *options, "--out", str(out)]) == 0
    return out.read_bytes()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", ()),
        ("?round=all", ("--round", "all")),
        ("?round=all&sort=drift", ("--round", "all", "--sort", "drift")),
        ("?round=fit-1&sort=sure", ("--round", "fit-1", "--sort", "sure")),
        ("?round=all&quadrant=correct_low", ("--round", "all", "--quadrant", "correct_low")),
        ("?class=dog&sort=high", ("--class", "dog", "--sort", "high")),
        ("?round=all&reason=timeout", ("--round", "all", "--reason", "timeout")),
    ],
)
def test_the_page_saves_what_the_command_writes(
    open_page: Open, folder: Path, kind: str, query: str, options: tuple[str, ...]
) -> None:
    """Of each filter, whatever stands in names and words, and where a number lies."""
    page = open_page(folder / "report.html", f"#/gallery{query}")
    written = write(folder, "--format", kind, *options)
    assert len(written) > 10
    assert save(page, kind) == written


def test_all_pages_of_a_filter_are_saved(open_page: Open, tmp_path: Path) -> None:
    """Not only the cards that are shown."""
    write_named_run(tmp_path, range(6))
    page = open_page(write_report(tmp_path), "#/gallery?round=all&page=2")
    expect(page.locator("#gallery .card")).to_have_count(12)
    assert save(page, "csv") == write(tmp_path, "--round", "all")


def test_chosen_samples_are_saved_by_keyboard(open_page: Open, folder: Path) -> None:
    """The boxes are reached and ticked by keys; the choice lasts while one looks elsewhere."""
    page = open_page(folder / "report.html", "#/gallery?sort=probe")
    page.locator("#gallery .card").nth(1).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.locator("#gallery .pick").nth(4).check()
    expect(page.locator("button[name=export]")).to_have_text("Save 2 chosen samples")
    page.reload()  # the address has them
    expect(page.locator("#gallery .pick:checked")).to_have_count(2)
    page.locator("#gallery .card").nth(1).click()
    page.locator("#back").click()
    expect(page.locator("#gallery .pick:checked")).to_have_count(2)
    page.locator("select[name=sort]").select_option("sure")
    expect(page.locator("#gallery .pick:checked")).to_have_count(2)
    page.locator("select[name=sort]").select_option("probe")
    assert save(page, "names").decode() == "=HYPERLINK(1).png\n-2.jpg\n"
    page.locator("button[name=clear-chosen]").click()
    expect(page.locator("#gallery .pick:checked")).to_have_count(0)
    expect(page.locator("button[name=export]")).to_have_text("Save 11 samples")
    expect(page.locator(".export .hint")).to_have_text("11 of 12 with a known file")


def test_cards_and_probe_name_the_file(open_page: Open, folder: Path) -> None:
    """The file's own name on the card, all of it on the probe's page, to be copied."""
    page = open_page(folder / "report.html", "#/gallery?sort=probe")
    name = page.locator("#gallery .card").nth(0).locator(".file")
    expect(name).to_have_text("1.png")
    expect(name).to_have_attribute("title", "val/zero/1.png")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#gallery .card").nth(0).click()
    expect(page.locator("#probe code.file")).to_have_text("val/zero/1.png")
    page.locator("button[name=copy-file]").click()
    expect(page.locator("button[name=copy-file]")).to_have_text("copied")
    assert page.evaluate("navigator.clipboard.readText()") == "val/zero/1.png"


def test_a_folder_without_names_says_so(open_page: Open, tmp_path: Path) -> None:
    """The table can be saved all the same; the rest can't."""
    write_run(tmp_path, files="12 of 12 not known: the loader shuffles")
    page = open_page(write_report(tmp_path), "#/gallery")
    expect(page.locator("#gallery .file")).to_have_count(0)
    hint = page.locator(".export .hint")
    expect(hint).to_contain_text("0 of 12 with a known file")
    expect(hint).to_contain_text("the loader shuffles")
    assert save(page, "csv") == write(tmp_path)
    page.locator("select[name=export-format]").select_option("names")
    expect(page.locator("button[name=export]")).to_be_disabled()

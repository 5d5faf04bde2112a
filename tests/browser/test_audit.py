"""The report of an audit in a browser, against its lines counted one by one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audit_folders import draw_lines, write_audit
from playwright.sync_api import Page, expect

from lightning_vlmxai.report import group_round, read_run, write_report
from lightning_vlmxai.rounds import wilson_interval

Open = Callable[..., Page]
Audit = tuple[Path, list[dict[str, Any]]]
QUADRANTS = ("correct_high", "correct_low", "wrong_high", "wrong_low")
BAD = {"class 0003": 0.8, "camera=yard": 0.5}


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Return the report of an audit of 900 samples in 30 classes, and its lines."""
    lines = draw_lines(900, classes=30, bad=BAD)
    folder = write_audit(tmp_path_factory.mktemp("audit"), lines, pictures=20, ranks=2)
    return write_report(folder), lines


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Return the report of an audit without labels that was cut off, and its lines."""
    lines = draw_lines(200, classes=4, bad=BAD, labelled=False)
    for line in lines:
        line["stage"] = "predict"
    folder = write_audit(tmp_path_factory.mktemp("audit"), lines, is_ended=False)
    return write_report(folder), lines


def numbers(page: Page) -> list[int]:
    """Return the numbers of the cards' samples, in order."""
    texts = page.locator("#gallery .card .row .small").all_inner_texts()
    return [int(text.removeprefix("sample ")) for text in texts if text.startswith("sample ")]


def test_the_overview_is_of_one_round(open_page: Open, audit: Audit) -> None:
    """Four rates with their intervals, and no curve, no change, no round to choose."""
    page = open_page(audit[0])
    judged = [line for line in audit[1] if line["score"] is not None]
    for place, quadrant in enumerate(QUADRANTS):
        count = sum(line["quadrant"] == quadrant for line in judged)
        ends = wilson_interval(count, len(judged))
        tile = page.locator("#tiles .tile").nth(place)
        expect(tile.locator(".value")).to_have_text(f"{count / len(judged):.2f}")
        expect(tile).to_contain_text(f"95 %: {ends.lower:.2f}–{ends.upper:.2f}")  # noqa: RUF001
        expect(tile).to_contain_text(f"{count} of {len(judged)}")
    expect(page.locator("#tiles")).to_contain_text(f"{len(judged)} of 900 judged")
    for left in (".chart", "select[name=chosen-round]", 'nav a[data-view="changes"]'):
        expect(page.locator(left)).to_have_count(0)


def test_what_stands_out_leads_and_goes_to_its_samples(open_page: Open, audit: Audit) -> None:
    """The class and the camera that are worse than the rest, first sentences and first rows."""
    page = open_page(audit[0])
    expect(page.locator("#finding p").nth(0)).to_contain_text("class 0003:")
    yard = page.locator("#finding p").nth(1)
    own = [line for line in audit[1] if line["groups"]["camera"] == "yard"]
    low = sum(line["quadrant"] == "correct_low" for line in own)
    total = sum(line["score"] is not None and line["is_correct"] for line in own)
    expect(yard).to_contain_text(f"camera yard: {low} of {total} right answers are Low")
    for column, name in (("class", "class 0003"), ("camera", "yard")):
        row = page.locator(f'[data-group="{column}"] tbody tr').first
        expect(row).to_have_class("worse")
        expect(row.locator("th")).to_have_text(name)
    yard.locator("a").click()
    expect(page.locator("#gallery .count")).to_have_text(f"{low} of 900 samples")


def test_groups_are_sorted_turned_and_found(open_page: Open, audit: Audit) -> None:
    """The address keeps the table that was last touched."""
    page = open_page(audit[0])
    table = page.locator('[data-group="class"]')
    run = read_run(audit[0].parent)
    groups = next(of for of in group_round(run, run.rounds[0])[0] if of.column == "class").groups
    rows = table.locator("tbody th")
    expect(rows).to_have_text([group.name for group in groups[:15]])
    table.get_by_role("button", name="Next").click()
    expect(rows).to_have_text([group.name for group in groups[15:]])
    table.locator("thead [data-column=Accuracy]").click()
    by_accuracy = sorted(groups, key=lambda group: -(group.accuracy or 0.0))
    expect(rows.first).to_have_text(by_accuracy[0].name)
    assert "by=class&sort=-Accuracy" in page.url
    page.reload()
    page.wait_for_selector("html[data-ready]")
    expect(rows.first).to_have_text(by_accuracy[0].name)
    page.locator('input[name="find class"]').fill("0017")
    expect(rows).to_have_text(["class 0017"])


def test_kept_pictures_come_first(open_page: Open, audit: Audit) -> None:
    """Of the others it is said that none was kept, and which file it is."""
    page = open_page(audit[0], "#/gallery?quadrant=correct_low&sort=probe")
    low = [line for line in audit[1] if line["quadrant"] == "correct_low"]
    kept = [line["probe"] for line in low if line["image"]]
    assert 0 < len(kept) < len(low)
    assert numbers(page)[: len(kept)] == kept
    assert (
        numbers(page)[len(kept) :] == [s["probe"] for s in low if not s["image"]][: 60 - len(kept)]
    )
    expect(page.locator("#kept")).to_contain_text(f"of {len(kept)} of these {len(low)} samples")
    last = page.locator(".card").nth(len(kept))
    expect(last).to_contain_text("picture not kept")
    expect(last.locator(".file")).to_have_text(re.compile(r"\d{6}\.jpg"))
    last.click()
    expect(page.locator("#unkept")).to_contain_text("data/val/")


def test_a_group_filters_the_gallery(open_page: Open, audit: Audit) -> None:
    """Together with quadrant, class and words; a group that is none is said."""
    page = open_page(audit[0], "#/gallery?sort=probe")
    page.locator("#gallery select[name=group]").select_option("camera=gate")
    own = [line for line in audit[1] if line["groups"]["camera"] == "gate"]
    expect(page.locator("#gallery .count")).to_have_text(f"{len(own)} of 900 samples")
    page.locator("#gallery select[name=quadrant]").select_option("wrong_high")
    own = [line for line in own if line["quadrant"] == "wrong_high"]
    expect(page.locator("#gallery .count")).to_have_text(f"{len(own)} of 900 samples")
    assert sorted(numbers(page)) == [line["probe"] for line in own][:60]
    page.locator("#gallery input[name=find]").fill("THING (")
    found = [line for line in own if "thing (" in line["evaluation"]]
    expect(page.locator("#gallery .count")).to_have_text(f"{len(found)} of 900 samples")
    page.evaluate("location.hash = '#/gallery?group=camera%3Dmoon'")
    expect(page.locator("#unknown")).to_contain_text('group "camera=moon"')


def test_a_sample_says_its_groups(open_page: Open, audit: Audit) -> None:
    """And has no curve over rounds; arrow keys go on."""
    page = open_page(audit[0], "#/probe/7")
    expect(page.locator("#probe h2").first).to_contain_text("Sample 7")
    expect(page.locator("#groups-of")).to_contain_text(audit[1][7]["groups"]["camera"])
    expect(page.locator("#probe .chart, #strip")).to_have_count(0)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#probe h2").first).to_contain_text("Sample 8")


def test_scores_without_labels(open_page: Open, unlabelled: Audit) -> None:
    """Low among the judged, classes as predicted, and no quadrant."""
    page = open_page(unlabelled[0])
    judged = [line for line in unlabelled[1] if line["score"] is not None]
    low = [line for line in judged if line["score"] < 2.5]
    expect(page.locator("#tiles .tile").first).to_contain_text(f"{len(low)} of {len(judged)}")
    expect(page.locator("#finding")).to_contain_text("There are no labels")
    expect(page.locator("#head")).to_contain_text("has not come to its end")
    expect(page.locator("#matrix")).to_have_count(0)
    expect(page.locator('[data-group="predicted class"] tbody tr')).to_have_count(4)
    page.evaluate("location.hash = '#/gallery?quadrant=low'")
    expect(page.locator("#gallery .count")).to_have_text(f"{len(low)} of 200 samples")
    expect(page.locator("#gallery .card .badge").first).to_have_text("L")

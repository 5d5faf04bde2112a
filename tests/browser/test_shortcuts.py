"""The page of shortcuts: boxes over pictures, hostile names as text, by keyboard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from playwright.sync_api import Page, expect

from lightning_vlmxai.report import write_report
from lightning_vlmxai.rounds import Interval
from lightning_vlmxai.shortcuts import (
    Box,
    Change,
    Effect,
    Place,
    Shortcut,
    Shown,
    TrainingList,
    TrainingPicture,
)
from lightning_vlmxai.sinks import ShortcutsFound, write_shortcuts
from run_folders import CLASSES, HOSTILE_NAME, make_round, write_run

Open = Callable[..., Page]


def write(folder: Path) -> Path:
    """Write a run of 48 probes with a shortcut of 16, and return its report."""
    (closed,) = write_run(folder, [make_round(4, probes=48, side=96, score=lambda *_: 1.0)])
    bearers = tuple(range(6, 144, 9))
    interval = Interval(0.8, 1.0)
    changes = tuple(Change(probe, 2, 0, 2) for probe in bearers[:14])
    of = Shortcut(
        label=HOSTILE_NAME, number=2, low=16, right=16, other_low=1, other_right=20,
        place=Place(Box(0.0, 0.75, 0.25, 1.0), 0.9, 0.1, 0.001), bearers=bearers,
        erased=Effect(14, 14, 0, interval, -0.5, 0.0, changes, ((0.98, 0.71, 0.97),) * 14),
        pasted=Effect(2, 1, 0, interval, 0.4, 0.0, (Change(0, 0, 2, 0), Change(3, 1, 1, 1))),
        shown=tuple(
            Shown(kind, probe, torch.full((3, 96, 96), 0.5))
            for kind, probes in (("erased", bearers[:12]), ("pasted", (0, 3)))
            for probe in probes
        ),
        training=TrainingList(
            pictures=(TrainingPicture(index=7, file=HOSTILE_NAME, label=0, likeness=0.5),), total=1
        ),
    )  # fmt: skip
    write_shortcuts(folder, ShortcutsFound(closed=closed, shortcuts=[of], class_names=CLASSES))
    return write_report(folder)


def test_cue_pictures_and_effects_are_shown(tmp_path: Path, open_page: Open) -> None:
    """The box lies where the file says, over the picture and not over the frame."""
    page = open_page(write(tmp_path), "#/shortcuts")
    view = page.locator("#shortcuts")
    expect(view.locator("h2")).to_have_text(HOSTILE_NAME)
    assert page.evaluate("window.pwned") is None
    expect(view.locator("table:not(.groups) tbody tr")).to_have_count(2)
    expect(view.locator("tbody tr").first).to_contain_text("14 of 14")
    cards = view.locator(".cards").first.locator("li")
    expect(cards).to_have_count(12)
    expect(cards.first).to_contain_text(f"without it: {HOSTILE_NAME} 0.98 → cat 0.71")
    expect(cards.first).to_contain_text(f"control: stays {HOSTILE_NAME} 0.98 → 0.97")
    expect(cards.first.get_by_alt_text("the cue erased")).to_be_visible()
    expect(view.get_by_alt_text("the cue pasted")).to_have_count(2)
    groups = view.locator(".groups tbody tr")
    expect(groups.first).to_contain_text("0 of ")
    expect(groups.filter(has_text="erased")).to_contain_text(f"{HOSTILE_NAME}erased")
    expect(groups.filter(has_text="erased")).to_contain_text("0 of 14")
    link = view.get_by_role("link", name="Training pictures that look like it")
    assert link.get_attribute("href") == "./shortcut_training.csv"
    box = cards.first.locator(".cue path").last.bounding_box()
    picture = cards.first.locator("img").first.bounding_box()
    assert box is not None
    assert picture is not None
    # The line is up to 3.2 pixels wide, half of it outside.
    assert abs(box["x"] - picture["x"] - 0.75 * picture["width"]) < 4
    assert abs(box["y"] - picture["y"]) < 4
    assert abs(box["height"] - 0.25 * picture["height"]) < 5
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_it_is_reached_and_left_by_keyboard(tmp_path: Path, open_page: Open) -> None:
    """From the navigation to a picture's own page, and what is folded by Enter."""
    page = open_page(write(tmp_path))
    link = page.locator('nav a[data-view="shortcuts"]')
    expect(link).to_be_visible()
    link.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#shortcuts")).to_be_visible()
    button = page.locator("#shortcuts button")
    expect(button).to_have_text("Show all 14")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Show all 14":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#shortcuts .cards").first.locator("li")).to_have_count(14)
    assert page.evaluate("document.activeElement.tagName") == "A"
    page.keyboard.press("Enter")
    expect(page.locator("#probe h2").first).to_contain_text(str(6 + 9 * 12))


def test_a_run_without_a_look_has_no_such_link(tmp_path: Path, open_page: Open) -> None:
    """An address that names it says what to pass."""
    write_run(tmp_path)
    page = open_page(write_report(tmp_path), "#/shortcuts")
    expect(page.locator('nav a[data-view="shortcuts"]')).to_be_hidden()
    expect(page.locator("#shortcuts")).to_contain_text("find_shortcuts=True")


def test_what_the_judge_saw_is_on_the_probe_page(tmp_path: Path, open_page: Open) -> None:
    """As text, each with whether it is of the object; nothing where the judge told none."""
    made = make_round(0)
    told = (("red dot", False), ("ear", True), ("grass", None))
    verdict = replace(made.samples[0].verdict, attends_to=told)
    samples = (replace(made.samples[0], verdict=verdict), *made.samples[1:])
    write_run(tmp_path, [replace(made, samples=samples)])
    page = open_page(write_report(tmp_path), "#/probe/0?round=fit-0")
    expect(page.locator("#seen li")).to_have_text(
        ["red dot (off the object)", "ear (of the object)", "grass"]
    )
    page.goto(page.url.split("#")[0] + "#/probe/3?round=fit-0")
    expect(page.locator("#seen")).to_have_count(0)

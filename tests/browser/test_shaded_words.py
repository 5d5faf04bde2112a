"""Words of captions on the probe page, as `samples.jsonl` has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lightning_vlmxai.records import Round
from lightning_vlmxai.report import write_report
from run_folders import HOSTILE_NAME, make_round, unpack, write_run

Open = Callable[..., Page]
WORDS = (("A", 0.0), ("zebra,", 0.0512), (HOSTILE_NAME, -0.0256), ("\u202egrass", 3.2e-5))
SHOWN = ["A 0", "zebra, +0.051", f"{HOSTILE_NAME} \N{MINUS SIGN}0.026", "⟨U+202E⟩grass +0.000032"]
"""With the values that a screen reader is told."""


def with_words(closed: Round, words: tuple[tuple[str, float], ...]) -> Round:
    """Return a round whose first probe has words."""
    first, *rest = closed.samples
    told = replace(first, explanation=replace(first.explanation, words=words))
    return replace(closed, samples=(told, *rest))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report of two rounds, the last with words."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, [make_round(0), with_words(make_round(1), WORDS)])
    return write_report(folder)


def test_words_are_shown_with_their_values(open_page: Open, report: Path) -> None:
    """In order, as text whatever stands in them, each with its value for eye and ear."""
    page = open_page(report, "#/probe/0?round=fit-1")
    words = page.locator("#carry li")
    assert words.all_text_contents() == SHOWN
    assert [w.get_attribute("title") for w in words.all()] == [s.split(" ")[-1] for s in SHOWN]
    expect(page.get_by_role("list", name="Which words carry the similarity")).to_be_visible()
    assert page.evaluate("window.pwned") is None


@pytest.mark.parametrize("dark", [False, True])
def test_signs_differ_by_more_than_colour_and_strength_by_shade(
    open_page: Open, report: Path, dark: bool
) -> None:
    """A line below, dotted where a word takes away; a stronger word has more of a shade."""
    page = open_page(report, "#/probe/0?round=fit-1", dark=dark)
    styles = page.locator("#carry li").evaluate_all(
        "all => all.map(of => { const s = getComputedStyle(of);"
        " return [s.borderBottomStyle, s.backgroundColor, s.borderBottomColor]; })"
    )
    assert [style[0] for style in styles] == ["none", "solid", "dotted", "solid"]
    assert styles[1][2] != styles[2][2]
    # "color(srgb r g b / alpha)": the alpha is the shade.
    alphas = [float(s[1].rsplit("/", 1)[1].rstrip(")")) if "/" in s[1] else 0.0 for s in styles]
    assert alphas[1] == pytest.approx(0.34, abs=0.01)
    assert alphas[2] == pytest.approx(0.17, abs=0.01)
    assert alphas[3] < 0.01
    assert alphas[0] == 0


def test_probes_without_words_show_none(open_page: Open, report: Path) -> None:
    """Of another round, or another probe."""
    page = open_page(report, "#/probe/0?round=fit-0")
    expect(page.locator(".verdict")).to_be_visible()
    expect(page.locator("#carry")).to_have_count(0)


@pytest.mark.parametrize(
    "told", [None, "a", [["a"]], [["a", None]], [["a", 1.0], [2, 1.0]], [["a", 1.0]] * 3000]
)
def test_whatever_stands_in_the_file_is_read(told: object, tmp_path: Path) -> None:
    """Old folders have no words; what is no list of pairs is none."""
    write_run(tmp_path, [with_words(make_round(0), WORDS)])
    file = tmp_path / "samples.jsonl"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert lines[0]["words"] == [list(word) for word in WORDS]
    assert "words" not in lines[1]
    data = unpack(write_report(tmp_path).read_text("utf-8"))
    first, *rest = data["samples"]["carry"]
    assert [value for _, value in first] == [value for _, value in WORDS]
    assert set(rest) == {None}
    lines[0]["words"] = told
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    data = unpack(write_report(tmp_path).read_text("utf-8"))
    assert "carry" not in data["samples"]

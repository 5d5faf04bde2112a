"""What changed between rounds, addresses and search, in a browser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from lightning_vlmxai.records import Round, Sample
from lightning_vlmxai.report import write_report
from lightning_vlmxai.rounds import wilson_interval
from run_folders import ROUNDS, SILENT, count, make_round, write_run

Open = Callable[..., Page]
SHORT = {"correct_high": "CH", "correct_low": "CL", "wrong_high": "WH", "wrong_low": "WL"}
JUDGED = [n for n in range(ROUNDS) if n != SILENT]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Round]]:
    """Return the path of a report, and the rounds that it reports."""
    folder = tmp_path_factory.mktemp("run")
    rounds = write_run(folder, watch_classes=["dog", "unicorn"])
    return write_report(folder), rounds


def sign(sample: Sample) -> str:
    """Return the letters of a sample's quadrant."""
    return "–" if sample.quadrant is None else SHORT[sample.quadrant.value]  # noqa: RUF001 - as it is shown


def flows(a: Round, b: Round) -> Counter[str]:
    """Return how many probes went from one quadrant to another, counted one by one."""
    return Counter(f"{sign(x)}-{sign(y)}" for x, y in zip(a.samples, b.samples, strict=True))


def shown(page: Page) -> list[int]:
    """Return the probes of the cards in the view."""
    texts = page.locator("section:not([hidden]) .card .row .small").all_inner_texts()
    return sorted(int(t.removeprefix("probe ")) for t in texts if t.startswith("probe "))


def test_what_flipped_between_two_rounds(open_page: Open, run: tuple[Path, list[Round]]) -> None:
    """First and last judged round at first; each cell leads to just these probes."""
    report, rounds = run
    page = open_page(report)
    page.get_by_role("link", name="Changes").click()
    first, last = rounds[JUDGED[0]], rounds[JUDGED[-1]]
    expected = flows(first, last)
    cells = page.locator("#flow td a")
    expect(cells).to_have_count(len(expected))
    for flow, number in expected.items():
        address = "change=" + quote(flow)
        expect(page.locator(f'#flow a[href*="{address}"]')).to_have_text(str(number))
    changed = {k: n for k, n in expected.items() if len(set(k.split("-"))) > 1}
    moved = [
        x.explanation.probe_index
        for x, y in zip(first.samples, last.samples, strict=True)
        if sign(x) != sign(y)
    ]
    expect(page.locator("#moved")).to_contain_text(f"{sum(changed.values())} of 12 probes")
    assert shown(page) == moved
    page.locator('#flow a[href*="change=CH-CL"]').click()
    expect(page.locator("#gallery .card")).to_have_count(expected["CH-CL"])
    assert shown(page) == [
        x.explanation.probe_index
        for x, y in zip(first.samples, last.samples, strict=True)
        if (sign(x), sign(y)) == ("CH", "CL")
    ]
    expect(page.locator("#gallery .card").first.locator(".badge")).to_have_text(["CH", "CL"])


def test_other_rounds_are_chosen_and_kept_in_the_address(
    open_page: Open, run: tuple[Path, list[Round]]
) -> None:
    """A silent round is one of unscored samples, not of unchanged ones."""
    report, rounds = run
    moved = [sample for sample in rounds[0].samples if sample.quadrant is not None]
    assert 0 < len(moved) < len(rounds[0].samples)
    page = open_page(report, "#/changes")
    page.locator("#changes select[name=to]").select_option(f"fit-{SILENT}")
    expect(page.locator("#moved")).to_contain_text(f"{len(moved)} of 12 probes")
    address = page.evaluate("location.hash")
    assert f"to=fit-{SILENT}" in address
    page.reload()
    expect(page.locator("#moved")).to_contain_text(f"{len(moved)} of 12 probes")


def test_rounds_of_other_probes_are_not_held_against_each_other(
    open_page: Open, tmp_path: Path
) -> None:
    """A resumed run may have had others: the same index is then another picture."""
    write_run(tmp_path, [make_round(0), make_round(1, fingerprint="beef")])
    page = open_page(write_report(tmp_path), "#/changes")
    expect(page.locator("#moved")).to_contain_text("0 of 0 probes")
    expect(page.locator("#changes .notices")).to_contain_text("of different probes")
    expect(page.locator("#flow")).to_have_count(0)


@pytest.mark.parametrize(
    ("route", "named"),
    [
        ("#/nowhere", 'a view "/nowhere"'),
        ("#/?round=fit-77", 'round "fit-77"'),
        ("#/?sort=Beauty", 'column "Beauty"'),
        ("#/gallery?round=fit-77", 'round "fit-77"'),
        ("#/gallery?quadrant=upper_left", 'quadrant "upper_left"'),
        ("#/gallery?class=unicorn", 'class "unicorn"'),
        ("#/gallery?reason=moon", 'reason "moon"'),
        ("#/gallery?sort=moon&view=x", 'sort "moon", view "x"'),
        ("#/gallery?page=9", "page 9"),
        ("#/gallery?from=fit-9", 'from "fit-9"'),
        ("#/gallery?from=fit-0&change=CH-XX", 'change "CH-XX"'),
        ("#/gallery?pick=fit-4%2F3,fit-4%2F4", 'sample "fit-4/4"'),
        ("#/changes?from=fit-9", 'round "fit-9"'),
        ("#/probe/3?round=fit-77", 'round "fit-77"'),
    ],
)
def test_an_address_that_names_what_is_not_there_says_so(
    open_page: Open, run: tuple[Path, list[Round]], route: str, named: str
) -> None:
    """Nothing is silently replaced."""
    page = open_page(run[0], route)
    expect(page.locator("#unknown")).to_have_count(1)
    expect(page.locator("#unknown")).to_contain_text(f"is not in this page: {named}.")


@pytest.mark.slow
def test_every_view_is_named_in_the_title_and_a_good_address_says_nothing(
    open_page: Open, run: tuple[Path, list[Round]]
) -> None:
    """Titles differ, and the sorting of the class table survives a reload."""
    titles = set()
    for route in ("", "#/gallery", "#/gallery?quadrant=correct_low&round=fit-1", "#/changes",
                  "#/figures", "#/rate", "#/made", "#/probe/3?round=fit-1"):  # fmt: skip
        page = open_page(run[0], route)
        titles.add(page.title())
        expect(page.locator("#unknown")).to_have_count(0)
    assert len(titles) == 8
    assert "Gallery · Correct-Low · fit-1 · " in " ".join(titles)
    page = open_page(run[0])
    page.locator("[data-column=Score]").click()
    page.locator("select[name=chosen-round]").select_option("fit-1")
    rows = page.locator("#classes tbody").inner_text()
    page.reload()
    assert page.locator("#classes tbody").inner_text() == rows
    assert page.evaluate("location.hash") == "#/?round=fit-1&sort=-Score"


def test_a_probe_a_class_and_a_word_are_found(
    open_page: Open, run: tuple[Path, list[Round]]
) -> None:
    """A number leads to the probe; a word to what has it."""
    page = open_page(run[0])
    box = page.locator("input[name=everywhere]")
    box.fill("9")
    box.press("Enter")
    expect(page.locator("#probe h2").first).to_contain_text("Probe 9")
    box.fill("Seen 7 in 3.")
    box.press("Enter")
    expect(page.locator("#gallery .card")).to_have_count(1)
    assert shown(page) == [21]
    page.locator("input[name=find]").fill("seen 7")
    expect(page.locator("#gallery .card")).to_have_count(len(JUDGED))
    assert page.evaluate("document.activeElement.name") == "find"


def test_classes_have_their_own_intervals_and_curves(
    open_page: Open, run: tuple[Path, list[Round]]
) -> None:
    """Counted in the page, against the samples; a watched class that never came has no chart."""
    report, rounds = run
    page = open_page(report)
    for name in ("cat", "dog"):
        counts = count(rounds[-1], name)
        ends = wilson_interval(counts["correct_low"], sum(counts.values()))
        row = page.locator("#classes tbody tr").filter(has_text=name)
        expect(row.locator(".ends")).to_have_text(f"{ends.lower:.2f}–{ends.upper:.2f}")  # noqa: RUF001
        rates = [
            own["correct_low"] / total
            for closed in rounds
            if (total := sum((own := count(closed, name)).values()))
        ]
        told = row.locator(".spark").get_attribute("aria-label")
        assert (
            told == f"Correct-Low from {rates[0]:.2f} to {rates[-1]:.2f}, at most {max(rates):.2f}"
        )
    expect(page.locator("figcaption", has_text="watched class")).to_have_count(1)
    expect(page.locator("figcaption", has_text="Coverage")).to_have_count(1)


def test_full_coverage_has_no_chart(open_page: Open, tmp_path: Path) -> None:
    """A constant line says nothing."""
    write_run(tmp_path, [make_round(n, score=lambda *_: 4.0) for n in range(3)])
    page = open_page(write_report(tmp_path))
    expect(page.locator("figcaption", has_text="Coverage")).to_have_count(0)
    expect(page.locator("figcaption", has_text="Average score")).to_have_count(1)


def test_a_probes_drift_has_a_curve(open_page: Open, run: tuple[Path, list[Round]]) -> None:
    """A point for each round but the first."""
    page = open_page(run[0], "#/probe/6")
    chart = page.locator("#probe .chart").filter(has_text="Drift")
    marks = chart.locator("path.mark").evaluate_all(
        "paths => paths.map(p => p.getAttribute('d').split('M').length - 1)"
    )
    assert sum(marks) == ROUNDS - 1

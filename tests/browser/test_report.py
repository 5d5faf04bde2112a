"""The report in a browser, against the samples counted one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lightning_vlmxai.records import Round, Sample
from lightning_vlmxai.report import pictures, write_report
from lightning_vlmxai.rounds.quadrants import quadrant_metrics, wilson_interval
from run_folders import HOSTILE_NAME, PROBES, ROUNDS, SILENT, count, make_round, write_run

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Round]]:
    """Return the path of a report, and the rounds that it reports."""
    folder = tmp_path_factory.mktemp("run")
    return folder, write_run(folder)


@pytest.fixture(scope="module")
def report(run: tuple[Path, list[Round]]) -> Path:
    """Return the path of a report."""
    return write_report(run[0])


@pytest.fixture(scope="module")
def rounds(run: tuple[Path, list[Round]]) -> list[Round]:
    """Return what is reported."""
    return run[1]


def shown_probes(page: Page) -> list[int]:
    """Return the probes of the cards, in order."""
    texts = page.locator("#gallery .card .row .small").all_inner_texts()
    return [int(text.removeprefix("probe ")) for text in texts if text.startswith("probe ")]


def choose(page: Page, name: str, value: str) -> None:
    """Choose an option of a list."""
    page.locator(f"#overview select[name={name}], #gallery select[name={name}]").select_option(
        value
    )


def probes(samples: list[Sample]) -> list[int]:
    """Return the probes of samples, in order."""
    return [s.explanation.probe_index for s in samples]


def test_the_overview_shows_the_last_rounds_figures(
    open_page: Open, report: Path, rounds: list[Round]
) -> None:
    """Rates, interval, average score and coverage."""
    tiles = open_page(report).locator(".tile").all_inner_texts()
    counts, samples = count(rounds[-1]), rounds[-1].samples
    judged = sum(counts.values())
    for text, number in zip(tiles, counts.values(), strict=False):
        assert f"{number / judged:.2f}" in text.splitlines()
    low = wilson_interval(counts["correct_low"], judged)
    assert f"{low.lower:.2f}–{low.upper:.2f}" in tiles[1]  # noqa: RUF001 - as it is shown
    assert f"{sum(s.explanation.is_correct for s in samples) / PROBES:.2f}" in tiles[4].splitlines()
    assert f"{quadrant_metrics(samples)['average_score']:.2f}" in tiles[5]
    assert f"{judged} of {PROBES} judged" in tiles[6]


def test_the_matrix_is_that_of_the_chosen_round(
    open_page: Open, report: Path, rounds: list[Round]
) -> None:
    """Chosen in the list, or with the arrow keys on a curve."""
    page = open_page(report)

    def check(closed: Round) -> None:
        judged = sum(count(closed).values())
        for key, number in count(closed).items():
            cell = page.locator(f"#matrix .{key}.cell")
            expect(cell).to_contain_text(f"{number} of {judged}")
            if judged:
                expect(cell.locator(".value")).to_have_text(f"{number / judged:.2f}")

    check(rounds[-1])
    choose(page, "chosen-round", "fit-1")
    check(rounds[1])
    page.locator(".chart.wide [tabindex]").focus()
    page.keyboard.press("ArrowRight")
    check(rounds[SILENT])
    assert "0.00" not in page.locator("#matrix").inner_text()


def test_curves_have_a_gap_where_nothing_was_judged(open_page: Open, report: Path) -> None:
    """Two pieces of line on either side, and no point at zero."""
    page = open_page(report)
    lines = page.locator(".chart.wide g.correct_low path.line")
    expect(lines).to_have_count(2)
    marks = page.locator(".chart.wide g.correct_low path.mark").evaluate_all(
        "paths => paths.map(p => p.getAttribute('d').split('M').length - 1)"
    )
    assert sum(marks) == ROUNDS - 1
    expect(page.locator(".chart.wide polygon.band")).to_have_count(2)


def test_the_class_table_counts_each_class(
    open_page: Open, report: Path, rounds: list[Round]
) -> None:
    """Worst Correct-Low first; a click on a column sorts by it; a class leads to its samples."""
    page = open_page(report)
    rows = page.locator("#classes tbody tr")
    rates = [float(t.split()[0]) for t in rows.locator("td:nth-child(4)").all_inner_texts()]
    assert rates == sorted(rates, reverse=True)
    for name in ("cat", "dog"):
        counts = count(rounds[-1], name)
        row = rows.filter(has_text=name)
        expect(row.locator("td").nth(1)).to_have_text(str(sum(counts.values())))
        low = counts["correct_low"] / sum(counts.values())
        expect(row.locator("td").nth(2)).to_contain_text(f"{low:.2f}")
    page.get_by_role("button", name="Class").click()
    names = rows.locator("th").all_inner_texts()
    assert names == sorted(names)
    rows.filter(has_text="dog").get_by_role("link").click()
    expect(page.locator("#gallery")).to_be_visible()
    assert {p // 3 % 3 for p in shown_probes(page)} == {1}


def test_filters_show_what_passes_them(open_page: Open, report: Path, rounds: list[Round]) -> None:
    """Quadrant, class, round and reason, alone and together."""
    page = open_page(report, "#/gallery")
    last = list(rounds[-1].samples)
    assert sorted(shown_probes(page)) == probes(last)
    choose(page, "quadrant", "correct_low")
    low = [s for s in last if s.quadrant is not None and s.quadrant.value == "correct_low"]
    assert sorted(shown_probes(page)) == probes(low)
    assert len(low) >= 2
    choose(page, "class", "=dog")
    assert sorted(shown_probes(page)) == probes(
        [s for s in low if s.explanation.label_name == "dog"]
    )
    choose(page, "quadrant", "")
    choose(page, "round", "fit-0")
    assert sorted(shown_probes(page)) == probes(
        [s for s in rounds[0].samples if s.explanation.label_name == "dog"]
    )
    choose(page, "class", "*")
    choose(page, "round", "all")
    choose(page, "reason", "deadline")
    assert sorted(shown_probes(page)) == probes(list(rounds[SILENT].samples))
    expect(page.get_by_role("status").last).to_have_text(f"{PROBES} of {PROBES * ROUNDS} samples")
    page.reload()  # the address holds the filters
    page.wait_for_selector("html[data-ready]")
    assert len(shown_probes(page)) == PROBES


def test_a_class_with_a_hostile_name_can_be_filtered(open_page: Open, report: Path) -> None:
    """By its link, whatever characters are in the name."""
    page = open_page(report)
    page.locator("#classes a").filter(has_text=HOSTILE_NAME).click()
    expect(page.locator("#gallery")).to_be_visible()
    assert {p // 3 % 3 for p in shown_probes(page)} == {2}


def test_cards_are_sorted(open_page: Open, report: Path, rounds: list[Round]) -> None:
    """What has no score comes last; ties go by probe."""
    page = open_page(report, "#/gallery?sort=probe")
    keys: dict[str, Callable[[Sample], float]] = {
        "low": lambda s: 9.0 if s.verdict.score is None else s.verdict.score,
        "high": lambda s: 9.0 if s.verdict.score is None else -s.verdict.score,
        "sure": lambda s: -s.explanation.confidence,
        "unsure": lambda s: s.explanation.confidence,
        "drift": lambda s: -(s.attention_drift or 0.0),
        "probe": lambda s: s.explanation.probe_index,
    }
    for sort, key in keys.items():
        choose(page, "sort", sort)
        assert shown_probes(page) == probes(sorted(rounds[-1].samples, key=key)), sort


def test_a_probe_is_followed_over_the_rounds(
    open_page: Open, report: Path, rounds: list[Round]
) -> None:
    """Its strip has every round; keys go between rounds and probes, and back to its card."""
    page = open_page(report, "#/gallery?sort=probe")
    page.locator(".card").nth(4).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#probe h2").first).to_contain_text("Probe 12")
    assert page.evaluate("document.activeElement.textContent").startswith("Probe 12")
    strip = page.locator("#strip li")
    expect(strip).to_have_count(ROUNDS)
    for item, closed in zip(strip.all_inner_texts(), rounds, strict=True):
        score = closed.samples[4].verdict.score
        assert ("deadline" if score is None else f"{score:.1f}") in item
        assert f"fit {closed.number}" in item
    expect(page.locator("#strip a[aria-current]")).to_contain_text(f"fit {ROUNDS - 1}")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#strip a[aria-current]")).to_contain_text(f"fit {ROUNDS - 2}")
    expect(page.locator("#probe .verdict")).to_contain_text(f"Seen 4 in {ROUNDS - 2}.")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#probe h2").first).to_contain_text("Probe 15")
    expect(page.locator("#probe h2").first).to_contain_text(f"fit {ROUNDS - 2}")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Escape")
    card = (ROUNDS - 1) * PROBES + 4
    expect(page.locator(f"[data-sample='{card}']")).to_be_focused()
    page.go_back()
    expect(page.locator("#probe h2").first).to_contain_text("Probe 12")


def test_the_pictures_of_a_probe_are_its_own(open_page: Open, report: Path) -> None:
    """Whole picture, saliency map and masked picture; the whole one is the same always."""
    page = open_page(report, "#/probe/6?round=fit-0")
    first = page.locator(".views img").evaluate_all("all => all.map(i => i.src)")
    page.keyboard.press("ArrowRight")
    second = page.locator(".views img").evaluate_all("all => all.map(i => i.src)")
    assert len(first) == 4  # the map lies over the whole picture
    assert first[0] == first[1] == second[0]
    assert first[2] != second[2]
    assert first[3] != second[3]
    sizes = page.locator(".views img").evaluate_all(
        "all => Promise.all(all.map(async i => (await i.decode(), i.naturalWidth)))"
    )
    assert sizes == [24] * 4


def test_every_part_is_reached_by_the_keyboard(open_page: Open, report: Path) -> None:
    """Views, filters and cards are in the order of the tab key, with a visible focus."""
    page = open_page(report)
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#gallery .cards")).to_be_visible()
    reached, name = [], "document.activeElement.name || document.activeElement.className"
    for _ in range(28):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(name))
    reached = reached[reached.index("everywhere") + 1 :]
    assert reached[:12] == [
        "round", "quadrant", "class", "reason", "from", "sort", "find",
        "view-masked", "view-heat", "view-whole", "export-format", "export",
    ]  # fmt: skip
    assert [of.split()[0] for of in reached[12:15]] == ["card", "pick", "card"]


def test_hostile_text_is_text(open_page: Open, report: Path) -> None:
    """No script runs, all of the text can be read, and it moves nothing around it."""
    page = open_page(report, "#/probe/3?round=fit-0")
    words = page.locator(".verdict .words").first
    shown = words.text_content() or ""
    assert shown.startswith('<img src=x onerror="window.pwned=1"> **bold** [a](javascript:')
    assert "␛[31mred ⟨U+202E⟩evil</script><script>window.pwned=1</script>" in shown
    assert shown.endswith("x the end")
    folded = words.bounding_box()
    assert folded is not None
    assert folded["height"] < 200
    page.get_by_role("button", name="show all").click()
    unfolded = words.bounding_box()
    assert unfolded is not None
    assert unfolded["height"] > 1000
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src=x]").count() == 0


def test_a_script_that_got_into_the_page_does_not_run(browser: object, report: Path) -> None:
    """The policy lets no script run but the page's own, and no request out."""
    page = browser.new_page()  # type: ignore[attr-defined]
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.pwned = 1";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.pwned=1'>");
        }"""
    )
    refused = page.evaluate("fetch('http://127.0.0.1:9/').then(() => '', e => e.message)")
    assert refused
    assert page.evaluate("window.pwned") is None
    page.close()


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_no_view_is_wider_than_the_screen(
    open_page: Open, report: Path, width: int, dark: bool
) -> None:
    """At phone width and in dark mode as well."""
    page = open_page(report, width=width, dark=dark)
    for route in (
        "#/",
        "#/gallery",
        "#/gallery?round=all&view=heat",
        "#/probe/3",
        "#/figures",
        "#/rate",
        "#/made",
    ):
        page.evaluate(f"location.hash = '{route}'")
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), route
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 23, 26)") is dark


def test_a_cut_off_folder_says_so(open_page: Open, tmp_path: Path) -> None:
    """Half a line, missing pictures and no settings: the rest is shown, with a notice for each."""
    write_run(tmp_path, [make_round(0), make_round(1)])
    (tmp_path / "run.json").unlink()
    for file in (tmp_path / "images" / "fit-0001").iterdir():
        file.unlink()
    with (tmp_path / "samples.jsonl").open("rb+") as file:
        file.truncate(file.seek(0, 2) - 40)
    page = open_page(write_report(tmp_path))
    notices = page.locator(".notices").first.inner_text()
    assert "The last line of samples.jsonl is cut off" in notices
    assert "run.json is missing" in notices
    assert "22 pictures are missing" in notices
    page.evaluate("location.hash = '#/gallery'")
    expect(page.locator(".card")).to_have_count(PROBES - 1)
    expect(page.locator(".card .none").first).to_have_text("no picture")


def test_a_page_whose_data_can_not_be_opened_shows_its_tables(
    open_page: Open, report: Path, tmp_path: Path
) -> None:
    """As in a browser that is too old for them, with a notice."""
    damaged = tmp_path / "damaged.html"
    damaged.write_text(report.read_text().replace('id="data">H4sI', 'id="data">AAAA'))
    page = open_page(damaged)
    expect(page.get_by_role("alert")).to_contain_text("Charts and pictures can't be shown")
    expect(page.locator("#round-figures")).to_be_visible()


def test_a_folder_without_rounds_has_a_page(open_page: Open, tmp_path: Path) -> None:
    """Every view opens, and none shows a figure."""
    page = open_page(write_report(tmp_path))
    expect(page.locator("#overview")).to_contain_text("No round yet")
    for route in ("#/gallery", "#/probe/3", "#/figures", "#/rate", "#/made"):
        page.evaluate(f"location.hash = '{route}'")
        page.wait_for_timeout(20)
    assert "0.00" not in page.locator("body").inner_text()


def test_pictures_that_the_page_does_not_hold_are_found(
    open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the run folder beside it."""
    monkeypatch.setattr(pictures, "MAX_PICTURES", 3)
    write_run(tmp_path, [make_round(0)])
    page = open_page(write_report(tmp_path), "#/gallery?sort=probe")
    widths = page.locator(".card img").evaluate_all(
        "all => Promise.all(all.map(async i => (await i.decode(), i.naturalWidth)))"
    )
    assert widths == [24] * PROBES


def test_many_samples_come_in_pages(open_page: Open, tmp_path: Path) -> None:
    """Only the cards of one page are in the document."""
    write_run(tmp_path, [make_round(0, probes=70, side=8)])
    page = open_page(write_report(tmp_path), "#/gallery?sort=probe")
    assert shown_probes(page) == [3 * i for i in range(60)]
    page.get_by_role("button", name="Next").click()
    assert shown_probes(page) == [3 * i for i in range(60, 70)]


def test_late_verdicts_are_marked(open_page: Open, tmp_path: Path) -> None:
    """Their score is shown and counted in no rate."""
    write_run(tmp_path, [make_round(SILENT)])
    line = '{"stage": "fit", "round": 2, "probe": 3, "score": 4.0, "is_late": true}\n'
    (tmp_path / "late.jsonl").write_text(line)
    page = open_page(write_report(tmp_path), "#/probe/3")
    expect(page.locator(".verdict")).to_contain_text("4.0, in no figure")
    page.evaluate("location.hash = '#/'")
    expect(page.locator("#overview")).to_contain_text("No round has a judged sample")


def test_each_of_a_probe_s_explanations_has_its_own_page(open_page: Open, tmp_path: Path) -> None:
    """One a label: a card leads to its own, whose strip has that label's rounds alone."""
    rounds = []
    for number in range(2):
        closed = make_round(number, probes=4, score=lambda position, _number: float(position))
        samples = tuple(
            replace(s, explanation=replace(s.explanation, probe_index=7, part=part))
            for part, s in enumerate(closed.samples)
        )
        rounds.append(replace(closed, samples=samples))
    write_run(tmp_path, rounds)
    page = open_page(write_report(tmp_path), "#/gallery?round=fit-1")
    expect(cards := page.locator("#gallery .card")).to_have_count(4)
    shown = cards.nth(2).locator(".row").first.inner_text()
    cards.nth(2).click()
    expect(page.locator("#probe .strip li")).to_have_count(2)
    score = page.locator("#probe .verdict .value").inner_text()
    assert score in shown
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#probe .verdict .value")).to_have_text(score)

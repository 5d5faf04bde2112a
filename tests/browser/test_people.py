"""What people's ratings make of a report, from the Rate page through the command to the figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from lightning_vlmxai.cli import main
from lightning_vlmxai.report import write_report
from lightning_vlmxai.report.agreements import load_agreements
from lightning_vlmxai.report.reader import read_run
from lightning_vlmxai.trust import corrected_rate
from run_folders import make_round, write_run

Open = Callable[..., Page]


def whole_score(position: int, number: int) -> float:
    """Return a score that scikit-learn takes as a class."""
    return float((position * 7 + number * 5) % 6)


@pytest.mark.slow
def test_from_twenty_ratings_to_corrected_rates(
    open_page: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rated in the browser with a reload, downloaded, agreed: the figures are the peers'."""
    rounds = [make_round(n, probes=90, side=12, score=whole_score) for n in (0, 1)]
    write_run(tmp_path, rounds)
    page = open_page(write_report(tmp_path), "#/rate")
    page.locator("select[name=rate-size]").select_option("20")
    page.get_by_label("Your name").fill("ann")
    page.get_by_role("button", name="Start").click()
    for number in range(20):
        if number == 10:
            page.reload()
            page.wait_for_selector("html[data-ready]")
        page.keyboard.press(str(number * number % 6))
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").first.click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    assert main(["agree", str(tmp_path), str(file)]) == 0
    assert "20 rated samples: too few" in capsys.readouterr().out

    rows = {row["sample"]: row for row in json.loads(file.read_text())["ratings"]}
    assert len(rows) == 20
    judged = {f"fit-1/{s.explanation.probe_index}": s for s in rounds[1].samples}
    x = np.array([judged[name].verdict.score for name in rows], dtype=float)
    y, w = (np.array([row[key] for row in rows.values()]) for key in ("score", "weight"))
    (found,) = load_agreements(read_run(tmp_path))
    told = {name: of.value for name, of in found.pairs[0].figures.items()}
    moments = np.cov(x, y, aweights=w)
    pearson = moments[0, 1] / np.sqrt(moments[0, 0] * moments[1, 1])
    assert told["pearson"] == pytest.approx(pearson)
    kappa = cohen_kappa_score(x, y, weights="quadratic", labels=range(6), sample_weight=w)
    assert told["kappa"] == pytest.approx(kappa)
    # scipy takes no weights: each sample is written out, to a thousandth of its weight.
    times = np.round(1000 * w).astype(int)
    long_x, long_y = np.repeat(x, times), np.repeat(y, times)
    assert told["spearman"] == pytest.approx(stats.spearmanr(long_x, long_y)[0], abs=1e-3)
    assert told["pearson"] == pytest.approx(stats.pearsonr(long_x, long_y)[0], abs=1e-3)

    wanted = {}
    for is_correct in (True, False):
        names = [n for n, s in judged.items() if s.explanation.is_correct is is_correct]
        wanted[is_correct] = corrected_rate(
            [(judged[n].verdict.score or 0.0) < 2.5 for n in names],
            [rows[n]["score"] < 2.5 if n in rows else None for n in names],
            weights=[rows[n]["weight"] if n in rows else 1.0 for n in names],
        )
    page = open_page(write_report(tmp_path), "#/")
    for row, rate in zip((0, 1), wanted.values(), strict=True):
        cells = page.locator("#corrected-round tbody tr").nth(row).locator("td")
        for cell, value, ends in (
            (0, rate.judge, rate.judge_interval),
            (1, rate.corrected, rate.interval),
            (2, rate.people, rate.people_interval),
        ):
            shown = f"{value:.2f}{ends.lower:.2f}–{ends.upper:.2f}"  # noqa: RUF001 - as it is shown
            expect(cells.nth(cell)).to_have_text(shown)
        head = page.locator("#corrected-round tbody th").nth(row)
        expect(head).to_contain_text(f"{rate.rated} rated by 1 person, lambda {rate.power:.2f}")
    page.locator("select[name=chosen-round]").select_option("fit-0")
    expect(page.locator("#uncorrected")).to_have_text(
        "People rated fit 1: this round's rates stand as the judge made them."
    )
    page.evaluate("location.hash = '#/figures'")
    expect(page.locator("#corrected tbody tr")).to_have_count(2)
    expect(page.locator("#agreements tbody tr")).to_have_count(1)
    expect(page.locator("#agreements")).to_contain_text(f"{abs(told['kappa'] or 0):.2f}")
    expect(page.locator("#figures")).to_contain_text("What can't be concluded")


@pytest.mark.parametrize("width", [390, 1280])
def test_corrected_rates_fit_the_screen(open_page: Open, tmp_path: Path, width: int) -> None:
    """All three figures are seen without scrolling the table."""
    write_run(tmp_path, [make_round(1, probes=60, side=6)])
    scores = "".join(
        f"fit-1/{s.probe},{s.probe % 6}\n"
        for s in read_run(tmp_path).rounds[0].samples
        if s.score is not None
    )
    (tmp_path / "a.csv").write_text("sample,score\n" + scores)
    assert main(["agree", str(tmp_path), str(tmp_path / "a.csv")]) == 0
    page = open_page(write_report(tmp_path), "#/", width=width)
    table = page.locator("#corrected-round .scroll")
    assert table.evaluate("of => of.scrollWidth <= of.clientWidth")
    page.evaluate("location.hash = '#/figures'")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

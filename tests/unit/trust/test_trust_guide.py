"""What docs/trusting-a-judge.md says: its tables are computed, its commands and names exist."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from lightning_vlmxai.cli_judge import make_judge_parser
from lightning_vlmxai.records import ControlKind
from lightning_vlmxai.trust import JUDGE_METRICS, KINDS
from lightning_vlmxai.trust.control_figures import area_interval
from lightning_vlmxai.trust.judge_watch import FALSE_ALARMS, FIRST, POOLED

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "trusting-a-judge.md").read_text("utf-8")
BENCHMARKS = (ROOT / "BENCHMARKS.md").read_text("utf-8")


def table(head: str) -> Iterator[list[str]]:
    """Yield the cells of the rows of the table whose head begins so."""
    _, _, rest = TEXT.partition(f"\n| {head}")
    assert rest, head
    for line in rest.splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_what_an_auc_does_to_a_rate() -> None:
    """Two normal distributions with a threshold in the middle."""
    normal, rows = NormalDist(), list(table("AUC | sensitivity"))
    assert len(rows) == 6
    for auc, share, *rates, shrinks in rows:
        exact = normal.cdf(normal.inv_cdf(float(auc)) / math.sqrt(2))
        assert share == f"{exact:.2f}"
        for true, told in zip((0.05, 0.1, 0.3), rates, strict=True):
            assert told == f"{100 * (true * exact + (1 - true) * (1 - exact)):.0f} %"
        assert shrinks == f"{2 * exact - 1:.2f} of it"


def test_how_sure_an_auc_is() -> None:
    """By the interval that is printed."""
    rows = list(table("controls | AUC"))
    assert len(rows) == 6
    for controls, *told in rows:
        half = int(controls) // 2
        ends = (area_interval(area, half, half) for area in (0.8, 0.9, 0.95))
        assert told == [f"{low:.2f} to {high:.2f}" for low, high in ends]


def test_the_kinds_are_those_that_are_made() -> None:
    """With their right answers."""
    rows = {cells[0].removesuffix(" (no masks)"): cells[2] for cells in table("control | shown")}
    kinds: tuple[ControlKind, ...] = KINDS
    assert set(rows) == set(kinds)
    assert {kind for kind, right in rows.items() if right == "High"} == {"object", "whole"}


def test_the_commands_are_understood() -> None:
    """Every option of the examples is the parser's own."""
    block, *_ = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    lines = block.replace("\\\n", "").splitlines()
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["vlmxai", "judge"]
        assert make_judge_parser().parse_args(words[2:]).model
    for name in re.findall(r"`(?:vlmxai/judge)?/(\w+)`", TEXT):
        assert f"judge/{name}" in JUDGE_METRICS
    assert f"at most {1000 * FALSE_ALARMS:.0f} of\n1,000 runs" in TEXT
    assert (FIRST, POOLED) == (5, 5)  # "first five", "last five"


def test_the_widths_are_those_of_the_benchmark() -> None:
    """Row by row, as BENCHMARKS.md has them."""
    plain = BENCHMARKS.partition("A plain random sample")[2].partition("Half of the ratings")[0]
    rows = list(table("judge's sensitivity"))
    assert len(rows) == 6
    for judge, rate, *widths in rows:
        share = judge[1:3]
        for ratings, width in zip((30, 60, 200), widths, strict=True):
            row = f"| 0.{share} / 0.{share} | 0.{rate[:2]} | {ratings} |"
            (line,) = (line for line in plain.splitlines() if line.startswith(row))
            assert line.split("|")[-2].strip() == width


def test_how_soon_a_fall_is_told_is_what_the_benchmark_says() -> None:
    """Row by row, of 8 and of 16 controls."""
    eight, sixteen = (
        BENCHMARKS.partition(f"{count} controls a round, seed 0")[2].partition("controls a round")[
            0
        ]
        for count in (8, 16)
    )
    rows = list(table("good for five rounds"))
    assert len(rows) >= 6
    for judge, then, *told in rows:
        (few,), (many,) = (
            [line for line in of.splitlines() if line.startswith(f"| {judge} | {then} |")]
            for of in (eight, sixteen)
        )
        few_cells, many_cells = ([c.strip() for c in line.split("|")] for line in (few, many))
        assert told == [*few_cells[4:7], many_cells[4]]


@pytest.mark.parametrize(("pairs", "once_in"), [(4, 7), (8, 20)])
def test_how_often_chance_passes_a_round(pairs: int, once_in: int) -> None:
    """An AUC of .75 and more by whole numbers at random."""
    rng = np.random.default_rng(0)
    good, bad = rng.integers(0, 6, (2, 20_000, pairs, 1))
    area = (np.sign(good - bad.transpose(0, 2, 1)) / 2 + 0.5).mean(axis=(1, 2))
    assert float((area >= 0.75).mean()) == pytest.approx(1 / once_in, rel=0.15)

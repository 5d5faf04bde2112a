"""Topics: counts, the ratio's interval, the false discovery rate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lightning_vlmxai.shortcuts import Spoken, find_topics, normalize_phrase, ratio_interval


def likelihood_ratio_p(ratio: float, x: int, m: int, y: int, n: int) -> float:
    """Return the constrained maximum-likelihood p of the first rate, by a grid."""
    grid = np.linspace(1e-6, min(1.0, ratio) - 1e-6, 400_001)
    other = grid / ratio
    value = (
        x * np.log(grid)
        + (m - x) * np.log1p(-grid)
        + y * np.log(other)
        + (n - y) * np.log1p(-other)
    )
    return float(grid[value.argmax()])


@pytest.mark.parametrize("row", [(36, 40, 16, 80), (3, 11, 5, 60), (9, 10, 1, 200)])
def test_the_ends_are_where_the_score_test_turns(row: tuple[int, int, int, int]) -> None:
    """At each end Koopman's statistic, with the constrained rates found by a grid, is 3.84."""
    x, m, y, n = row
    for ratio in ratio_interval(*row):
        p = likelihood_ratio_p(ratio, *row)
        q = p / ratio
        statistic = (x - m * p) ** 2 / (m * p * (1 - p)) + (y - n * q) ** 2 / (n * q * (1 - q))
        assert statistic == pytest.approx(3.8415, abs=0.01)


def test_published_interval() -> None:
    """Koopman, 1984: 36 of 40 against 16 of 80."""
    lower, upper = ratio_interval(36, 40, 16, 80)
    assert (round(lower, 2), round(upper, 2)) == (2.94, 7.15)


def test_ends_without_a_case() -> None:
    """Nothing bounds a ratio whose second rate is 0, from above; nor whose first is, from below."""
    assert ratio_interval(5, 10, 0, 50).upper == math.inf
    assert ratio_interval(5, 10, 0, 50).lower > 1
    assert ratio_interval(0, 10, 5, 50).lower == 0.0
    assert ratio_interval(0, 10, 0, 10) == (0.0, math.inf)


def draw(generator: np.random.Generator, rate: float, base: float) -> list[Spoken]:
    """Return a round of which one class's Low samples have a phrase at `rate`, others at `base`."""
    rows = [("cat", True, rate)] * 40 + [("cat", False, base)] * 20 + [("dog", True, base)] * 10
    rows += [("dog", False, base)] * 90
    fillers = [f"thing {i}" for i in range(12)]
    return [
        Spoken(
            label,
            is_low,
            (
                *(("a red dot",) if generator.random() < chance else ()),
                str(generator.choice(fillers)),
                "fur",
            ),
        )
        for label, is_low, chance in rows
    ]


@pytest.mark.slow
def test_the_interval_holds_a_planted_lift() -> None:
    """Of 400 rounds with a lift of 3, 93 to 97 % (three standard errors beside the nominal 95)."""
    generator, held = np.random.default_rng(0), 0
    for _ in range(400):
        found = find_topics(draw(generator, 0.6, 0.2), least=0)
        topic = next(t for t in found if (t.label, t.phrase) == ("cat", "red dot"))
        assert topic.of_low == 40
        assert topic.of_other == 120
        held += topic.interval.lower <= 3 <= topic.interval.upper
    assert 0.918 <= held / 400 <= 0.982


def test_a_planted_phrase_is_found_and_nothing_else() -> None:
    """The false discovery rate is under 5 % where nothing is planted."""
    generator = np.random.default_rng(1)
    planted = [
        [t for t in find_topics(draw(generator, 0.6, 0.2)) if t.stands_out] for _ in range(50)
    ]
    hits = sum(any(t.phrase == "red dot" and t.label == "cat" for t in found) for found in planted)
    assert hits >= 45
    false = sum(
        any(t.stands_out for t in find_topics(draw(generator, 0.2, 0.2))) for _ in range(200)
    )
    assert false <= 18  # 5 % of 200 and three standard errors


def test_few_low_samples_make_no_topics() -> None:
    """What a class has by chance is held against all that might have come, not what came often."""
    generator, false = np.random.default_rng(2), 0
    for _ in range(200):
        rows = []
        for i in range(200):
            is_low = i < 15 or (i >= 40 and i % 10 == 0)
            dots = ("a red dot",) if generator.random() < 0.1 else ()
            rows.append(
                Spoken(f"class {i // 40}", is_low, (*dots, f"thing {generator.integers(12)}"))
            )
        false += any(t.stands_out for t in find_topics(rows))
    assert false <= 10  # 5 %


def test_wrong_counts_turn_it_red() -> None:
    """A phrase that a sample gives twice counts once; a sample without any has none of them."""
    rows = [Spoken("cat", True, ("Dot", "the dots"))] * 3 + [Spoken("cat", True, ())] * 4
    (topic,) = find_topics([*rows, Spoken("dog", False, ("ear",))])
    assert (topic.low, topic.of_low, topic.other, topic.of_other) == (3, 7, 0, 1)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("The Red Dots!", "red dot"), ("glass", "glass"), ("<b>dot</b>", "b dot b"), ("  ", "")],
)
def test_phrases_are_normalised(given: str, wanted: str) -> None:
    """Case, articles, marks and plurals fall away; nothing else."""
    assert normalize_phrase(given) == wanted

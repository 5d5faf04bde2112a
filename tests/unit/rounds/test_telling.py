"""Digits, marks and colours of scores, against exact fractions and WCAG's own formula."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest

from lightning_vlmxai.records import Quadrant
from lightning_vlmxai.rounds import LETTERS, MEANINGS, NAMES, PALETTE, is_borderline, show_score

THRESHOLDS = (2.5, 2.55, 2.1, 3.0, 0.3, 1e-9, 5.0)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_a_score_is_shown_on_its_side_of_the_threshold_and_no_longer_than_needed(
    threshold: float,
) -> None:
    """One digit fewer would say the opposite; what is shown is as near as its digits allow."""
    draw = random.Random(0)  # noqa: S311 - no secret
    near = [threshold + s * 10.0**-k for k in range(1, 17) for s in (-1, 1, -0.4, 0.4)]
    scores = [*near, *(i / 64 for i in range(321)), *(draw.uniform(0, 5) for _ in range(2000))]
    for score in scores:
        text = show_score(score, threshold)
        places = len(text.split(".")[1])
        assert (float(text) >= threshold) == (score >= threshold)
        assert abs(Fraction(text) - Fraction(score)) <= Fraction(1, 2 * 10**places)
        if places > 1:
            fewer = 10 ** (places - 1)
            short = math.floor(Fraction(score) * fewer + Fraction(1, 2)) / fewer
            assert (short >= threshold) != (score >= threshold)


def test_scores_that_printed_as_the_threshold_and_were_low() -> None:
    """2.49 is no 2.5."""
    told = [show_score(s) for s in (2.49, 2.4, 2.4999, 2.5, 2.5000001, 2.51, 2.25, 5.0, 0.0)]
    assert told == ["2.49", "2.4", "2.4999", "2.5", "2.5", "2.5", "2.3", "5.0", "0.0"]


def test_borderline_is_within_the_judges_own_spread() -> None:
    """The distance counts, the edge is within; no spread or no second question marks nothing."""
    assert is_borderline(2.0, 0.5) is True
    assert is_borderline(3.0, 0.5) is True
    assert is_borderline(2.0, 0.49) is False
    assert is_borderline(2.5, 0.0) is False
    assert is_borderline(2.5, None) is None
    assert is_borderline(2.0, 0.5, 4.0) is False


def test_every_quadrant_s_colour_can_be_read() -> None:
    """As letters and under letters, by day and by night; 3 for a stripe on a sheet's dark band."""
    for of in PALETTE.values():
        assert contrast(of.light, "#ffffff") >= 4.5
        assert contrast(of.dark, "#101214") >= 4.5
        assert contrast(of.light, "#18181b") >= 3.0
        assert bytes(of.rgb).hex() == of.light[1:]
    assert len({of.light for of in PALETTE.values()} | {of.dark for of in PALETTE.values()}) == 8
    assert set(PALETTE) == set(LETTERS) == set(NAMES) == set(MEANINGS) == set(Quadrant)

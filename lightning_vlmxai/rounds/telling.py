"""How scores and quadrants are told: one rule, one name, one colour wherever they are read."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from ..records import Quadrant


@dataclass(frozen=True, slots=True, kw_only=True)
class Shades:
    """A quadrant's colour, as `#rrggbb`.

    Args:
        light: On white, and under white letters: contrast at least 4.5.
        dark: On near-black, and under near-black letters: at least 4.5.
    """

    light: str
    dark: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """`light` as red, green and blue, each in [0, 255]: pictures are drawn on white."""
        red, green, blue = bytes.fromhex(self.light[1:])
        return red, green, blue


PALETTE = {
    Quadrant.CORRECT_HIGH: Shades(light="#007d5c", dark="#2fbf94"),
    Quadrant.CORRECT_LOW: Shades(light="#c04a00", dark="#f08a4b"),
    Quadrant.WRONG_HIGH: Shades(light="#0069ad", dark="#5fb3ea"),
    Quadrant.WRONG_LOW: Shades(light="#985080", dark="#d592bd"),
}
"""The hues of Okabe and Ito, told apart by colour-blind readers, dark or light enough to read."""

LETTERS = {
    Quadrant.CORRECT_HIGH: "CH",
    Quadrant.CORRECT_LOW: "CL",
    Quadrant.WRONG_HIGH: "WH",
    Quadrant.WRONG_LOW: "WL",
}
"""What stands for a quadrant beside its colour."""

NAMES = {q: q.value.replace("_", "-").title() for q in Quadrant}
"""Correct-High and so on."""

MEANINGS = {
    Quadrant.CORRECT_HIGH: "right, and looks at the object: understood",
    Quadrant.CORRECT_LOW: "right answer, wrong reason: look at this class's training data",
    Quadrant.WRONG_HIGH: "wrong, but looks at the object: classes alike, or a wrong label",
    Quadrant.WRONG_LOW: "wrong, and looks elsewhere: not understood",
}
"""A line for a legend."""


def show_score(score: float, threshold: float = 2.5, *, places: int = 1) -> str:
    """Return a score with the fewest decimals that leave it on its side of the threshold.

    Args:
        score: In [0, 5].
        threshold: From which a score is High.
        places: At least so many decimals.

    Example:
        >>> show_score(2.49), show_score(2.4996), show_score(2.51), show_score(3.96)
        ('2.49', '2.4996', '2.5', '4.0')
    """
    exact = Decimal(score)
    while True:
        # Halves go up, as in a browser's `toFixed`: the page's own rule has the same outcomes.
        text = f"{exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP):f}"
        if (float(text) >= threshold) == (score >= threshold):
            return text
        places += 1


def is_borderline(score: float, spread: float | None, threshold: float = 2.5) -> bool | None:
    """Return whether a score lies within the judge's own spread of the threshold.

    Args:
        score: In [0, 5].
        spread: Largest minus smallest score of the same question; None where it was asked once.
        threshold: From which a score is High.

    Returns:
        None where the spread is not known; False where all answers were the same.

    Example:
        >>> is_borderline(2.0, 1.0), is_borderline(2.0, 0.25), is_borderline(2.0, None)
        (True, False, None)
    """
    return None if spread is None else 0.0 < spread >= abs(score - threshold)

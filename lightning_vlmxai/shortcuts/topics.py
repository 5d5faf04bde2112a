"""What Correct-Low samples of a class attend to in common, in a judge's words."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..rounds import Interval, benjamini_hochberg, fisher_p

ARTICLES = frozenset({"a", "an", "the", "some"})
SURE = 0.05
"""The share of topics told that may be chance: the false discovery rate."""
_CHI2 = 3.841458820694124
"""95 % quantile of chi-squared with one degree of freedom."""


class Spoken(NamedTuple):
    """A judged sample and what the judge saw in the attended region.

    Args:
        label: Name of the true class.
        is_low: Whether the sample is Correct-Low.
        phrases: As the judge gave them.
    """

    label: str
    is_low: bool
    phrases: tuple[str, ...]


class Topic(NamedTuple):
    """A phrase, and how much more often a class's Correct-Low samples have it than the others.

    Args:
        label: Name of the class.
        phrase: Normalised.
        low: Correct-Low samples of the class with the phrase.
        of_low: Correct-Low samples of the class.
        other: Samples of other classes, and Correct-High ones of it, with the phrase.
        of_other: Those samples.
        interval: Of the lift, 95 %; its upper end is inf where no other sample has the phrase.
        q: p-value of Fisher's exact test, corrected for all topics looked at
            (Benjamini-Hochberg).
        stands_out: The lift is above 1 and q at most `SURE`.
    """

    label: str
    phrase: str
    low: int
    of_low: int
    other: int
    of_other: int
    interval: Interval
    q: float
    stands_out: bool

    @property
    def lift(self) -> float:
        """P(phrase | class, Correct-Low) over P(phrase | the others); inf where no other has it."""
        mine = self.low / self.of_low
        return mine * self.of_other / self.other if self.other else math.inf


def find_topics(samples: Sequence[Spoken], *, least: int = 2) -> list[Topic]:
    """Return the phrases of each class's Correct-Low samples, the surest first.

    p-values are corrected for every class with such samples and every phrase that at least `least`
    samples have, in whichever class: to leave out what a class has seldom would be to choose by
    the outcome.

    The others are the samples of all other classes and the Correct-High ones of the class; those
    of its samples that were predicted wrong belong in neither, so leave them out.

    Args:
        samples: Right ones, each once, in which a judge told what it saw. One that has no phrase
            counts as a no: leave out those of a server that gives none.
        least: Correct-Low samples of a class that must have a phrase for it to be told.

    Example:
        >>> dotted = [Spoken("cat", True, ("a red dot",))] * 6
        >>> topic, = find_topics([*dotted, *[Spoken("dog", False, ("fur",))] * 20])
        >>> topic.phrase, topic.low, topic.of_low, topic.stands_out
        ('red dot', 6, 6, True)

    Source: Benjamini and Hochberg, 1995, "Controlling the false discovery rate".
    """
    spoken = [
        (s.label, s.is_low, frozenset(filter(None, map(normalize_phrase, s.phrases))))
        for s in samples
    ]
    lows: dict[str, Counter[str]] = {}
    for label, is_low, phrases in spoken:
        if is_low:
            lows.setdefault(label, Counter()).update(phrases)
    every = Counter(phrase for _, _, phrases in spoken for phrase in phrases)
    of_low = Counter(label for label, is_low, _ in spoken if is_low)
    counted = [
        (label, phrase, low, of_low[label], every[phrase] - low, len(spoken) - of_low[label])
        for label, own in lows.items()
        for phrase, low in own.items()
        if low >= least and len(spoken) > of_low[label]
    ]
    looked_at = len(lows) * sum(count >= least for count in every.values())
    values = benjamini_hochberg([fisher_p(*row[2:]) for row in counted], looked_at)
    topics = [
        Topic(*row, interval := ratio_interval(*row[2:]), q, q <= SURE and interval.lower > 1)
        for row, q in zip(counted, values, strict=True)
    ]
    return sorted(topics, key=lambda t: (not t.stands_out, t.q, -t.low, t.label, t.phrase))


def normalize_phrase(phrase: str) -> str:
    """Return a phrase in small letters without articles, marks and a plural's s.

    Example:
        >>> normalize_phrase(" The red  Dots. "), normalize_phrase("grass")
        ('red dot', 'grass')
    """
    folded = unicodedata.normalize("NFKC", phrase).casefold()
    words = "".join(c if c.isalnum() else " " for c in folded).split()
    kept = [word for word in words if word not in ARTICLES]
    if kept and len(kept[-1]) > 3 and kept[-1].endswith("s") and kept[-1][-2] not in "sui":
        kept[-1] = kept[-1][:-1]
    return " ".join(kept)


def ratio_interval(first: int, of_first: int, second: int, of_second: int) -> Interval:
    """Return the 95 % score interval of one independent rate over another.

    Args:
        first: Of `of_first` that have the property.
        of_first: At least 1.
        second: Of `of_second`.
        of_second: At least 1.

    Returns:
        Its ends, from 0 to inf.

    Example:
        >>> ends = ratio_interval(36, 40, 16, 80)
        >>> round(ends.lower, 2), round(ends.upper, 2)
        (2.94, 7.15)

    Source: Koopman, 1984, "Confidence intervals for the ratio of two binomial proportions",
        Biometrics 40; the example is his.
    """

    def excess(log_ratio: float) -> float:
        return _score(math.exp(log_ratio), first, of_first, second, of_second) - _CHI2

    if not first and not second:
        return Interval(0.0, math.inf)
    a, b = max(first, 0.5) / of_first, max(second, 0.5) / of_second
    centre, far = math.log(a / b), 40.0
    lower = 0.0 if not first else math.exp(_cross(excess, centre, centre - far))
    upper = math.inf if not second else math.exp(_cross(excess, centre, centre + far))
    return Interval(lower, upper)


def _score(ratio: float, x: int, m: int, y: int, n: int) -> float:
    """Return Koopman's chi-squared that the ratio is the true one."""
    total = ratio * (m + y) + x + n
    root = math.sqrt(max(0.0, total * total - 4 * ratio * (m + n) * (x + y)))
    # The smaller root, free of cancellation.
    p = 2 * ratio * (x + y) / (total + root)
    p = min(max(p, 1e-300), min(1.0, ratio))
    q = p / ratio
    off = (x - m * p) ** 2
    of_first = off / (m * p * (1 - p)) if p < 1 else (0.0 if x == m else math.inf)
    rest = (y - n * q) ** 2
    of_second = rest / (n * q * (1 - q)) if q < 1 else (0.0 if y == n else math.inf)
    return of_first + of_second


def _cross(excess: Callable[[float], float], inner: float, outer: float) -> float:
    """Return where a function that rises outwards passes zero, by halving."""
    for _ in range(200):
        middle = (inner + outer) / 2
        if excess(middle) > 0:
            outer = middle
        else:
            inner = middle
    return (inner + outer) / 2

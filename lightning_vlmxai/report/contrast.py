"""What differs between two rounds beyond chance, in figures and in sentences."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..records import Quadrant
from ..rounds import (
    NAMES,
    Interval,
    Pairs,
    fisher_p,
    holm,
    mcnemar_p,
    paired_interval,
    wilson_interval,
)
from .run import RunRound, RunSample
from .text import one_line

SURE = 0.05
"""Largest corrected p-value of a difference that is told as one."""
ACCURACY = "Accuracy"

_Twice = list[tuple[RunSample, RunSample]]
_Has = Callable[[RunSample], bool | None]
"""Whether a sample has a property; None where it doesn't count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A rate: `count` of `total`."""

    count: int
    total: int

    @property
    def rate(self) -> float | None:
        """In [0, 1]; None without a denominator."""
        return self.count / self.total if self.total else None

    @property
    def ends(self) -> Interval | None:
        """Wilson's interval, 95 %."""
        return wilson_interval(self.count, self.total) if self.total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A rate in two rounds.

    Args:
        name: Of the figure or the class.
        first: Over all samples of the first round that count.
        second: Of the second.
        shared: Probes that count in both; None where the rounds are of different probes.
        value: Second less first: over the shared probes, or over all where none are shared. None
            where a round has no denominator.
        ends: Its 95 % interval: Newcombe's, for pairs or for independent rates.
        p: Two-sided: McNemar's of the shared probes, or Fisher's.
        adjusted: The same, corrected (Holm) for the figures that were looked at together.
    """

    name: str
    first: Share
    second: Share
    shared: int | None
    value: float | None = None
    ends: Interval | None = None
    p: float = 1.0
    adjusted: float = 1.0

    @property
    def is_sure(self) -> bool:
        """Whether the difference is more than chance gives."""
        return self.value is not None and self.adjusted <= SURE


def contrast_figures(first: RunRound, second: RunRound) -> list[Contrast]:
    """Return accuracy and the four rates of two rounds, corrected for being five."""
    rates: list[tuple[str, _Has]] = [(ACCURACY, lambda s: s.is_correct)]
    rates += [(NAMES[q], _is_in(q)) for q in Quadrant]
    pairs = _pair(first, second)
    return _correct([_contrast(n, first.samples, second.samples, pairs, h) for n, h in rates])


def contrast_classes(first: RunRound, second: RunRound) -> list[Contrast]:
    """Return the Correct-Low rate of each true class, the largest difference first."""
    ones, others = _by_class(first.samples), _by_class(second.samples)
    pairs = _pair(first, second)
    of_class: dict[str, _Twice] = defaultdict(list)
    for pair in pairs or ():
        of_class[pair[0].label_name].append(pair)
    low = _is_in(Quadrant.CORRECT_LOW)
    rows = [
        _contrast(
            name,
            ones.get(name, ()),
            others.get(name, ()),
            None if pairs is None else of_class[name],
            low,
        )
        for name in {**ones, **others}
    ]
    rows.sort(key=lambda row: (-abs(row.value or 0.0), row.value is None, row.name))
    return _correct(rows)


def differing(first: RunRound, second: RunRound) -> list[tuple[RunSample, RunSample]]:
    """Return the samples of probes that both rounds judged, with different quadrants."""
    of_probe = {sample.place: sample for sample in second.samples}
    pairs = [(a, of_probe[a.place]) for a in first.samples if a.place in of_probe]
    return [(a, b) for a, b in pairs if a.quadrant and b.quadrant and a.quadrant != b.quadrant]


def say_contrast(
    figures: Sequence[Contrast], classes: Sequence[Contrast], letters: tuple[str, str] = ("A", "B")
) -> list[str]:
    """Return what differs beyond chance, in sentences; the first says whether anything does.

    Args:
        figures: Of `contrast_figures`.
        classes: Of `contrast_classes`.
        letters: What the two runs are called.
    """
    a, b = letters
    known = [row for row in figures if row.value is not None]
    if not known:
        return [f"{a} and {b} can't be compared: one of the two rounds has no judged sample."]
    sure = [row for row in known if row.is_sure]
    shared = next((row.shared for row in known if row.shared is not None), None)
    on = f"on the same {shared} probes" if shared is not None else "on different probes"
    by_class = _say_classes(classes, a, b)
    if not sure:
        none = f"{a} and {b} differ in no rate beyond chance, {on}."
        return [*by_class, f"In all, {none}" if by_class else none]
    still = [row for row in known if not row.is_sure and row.name in _HEADLINES]
    return [
        f"{b} against {a}, {on}: {'; '.join(map(_say, sure))}.",
        *(f"{row.name} differs no more than by chance: {_two(row)}." for row in still),
        *by_class,
    ]


_HEADLINES = (ACCURACY, NAMES[Quadrant.CORRECT_LOW])


def _say_classes(classes: Sequence[Contrast], a: str, b: str) -> list[str]:
    sure = [row for row in classes if row.is_sure]
    if not sure:
        return []
    told = [
        f"{one_line(row.name, 40) or '(no name)'} {row.first.count} of {row.first.total} in {a}, "
        f"{row.second.count} of {row.second.total} in {b}"
        for row in sure[:3]
    ]
    more = f"; and in {len(sure) - 3} more" if len(sure) > 3 else ""
    return [f"Right for the wrong reason by class: {'; '.join(told)}{more}."]


def _say(row: Contrast) -> str:
    ends = f", 95 % {row.ends.lower:+.2f} to {row.ends.upper:+.2f}" if row.ends else ""
    return f"{row.name} {_two(row)} ({row.value:+.2f}{ends})".replace("-0.", "\N{MINUS SIGN}0.")


def _two(row: Contrast) -> str:
    return f"{row.first.rate:.2f} and {row.second.rate:.2f}"


def _is_in(quadrant: Quadrant) -> _Has:
    return lambda s: None if s.quadrant is None else s.quadrant is quadrant


def _pair(first: RunRound, second: RunRound) -> _Twice | None:
    """Return each shared probe twice; None where the rounds are not of the same probes."""
    if not first.fingerprint or first.fingerprint != second.fingerprint:
        return None
    of_probe = {sample.place: sample for sample in second.samples}
    return [(s, of_probe[s.place]) for s in first.samples if s.place in of_probe]


def _by_class(samples: Sequence[RunSample]) -> dict[str, list[RunSample]]:
    of_class: dict[str, list[RunSample]] = defaultdict(list)
    for sample in samples:
        of_class[sample.label_name].append(sample)
    return of_class


def _share(samples: Sequence[RunSample], has: _Has) -> Share:
    known = [value for s in samples if (value := has(s)) is not None]
    return Share(count=sum(known), total=len(known))


def _contrast(
    name: str,
    first: Sequence[RunSample],
    second: Sequence[RunSample],
    pairs: _Twice | None,
    has: _Has,
) -> Contrast:
    row = Contrast(
        name=name,
        first=_share(first, has),
        second=_share(second, has),
        shared=None,
    )
    if pairs is None:
        return _part(row)
    known = Counter(
        (x, y) for a, b in pairs if (x := has(a)) is not None and (y := has(b)) is not None
    )
    counts = Pairs(*(known[key] for key in _PAIRS))
    row = replace(row, shared=sum(counts))
    if not row.shared:
        return row
    return replace(
        row,
        value=(counts.second - counts.first) / row.shared,
        ends=paired_interval(counts),
        p=mcnemar_p(counts.first, counts.second),
    )


def _part(row: Contrast) -> Contrast:
    """Return a row of two rounds that share no probe with their difference."""
    a, b = row.first, row.second
    if a.rate is None or b.rate is None:
        return row
    return replace(
        row,
        value=b.rate - a.rate,
        ends=newcombe_interval(a, b),
        p=fisher_p(a.count, a.total, b.count, b.total),
    )


_PAIRS = ((True, True), (True, False), (False, True), (False, False))


def newcombe_interval(first: Share, second: Share) -> Interval | None:
    """Return the 95 % interval of the second rate less the first, taken as independent.

    Source: Newcombe, 1998, "Interval estimation for the difference between independent
        proportions", method 10: from the two Wilson intervals.
    """
    a, b, of_a, of_b = first.rate, second.rate, first.ends, second.ends
    if a is None or b is None or of_a is None or of_b is None:
        return None
    return Interval(
        b - a - math.hypot(b - of_b.lower, of_a.upper - a),
        b - a + math.hypot(of_b.upper - b, a - of_a.lower),
    )


def _correct(rows: list[Contrast]) -> list[Contrast]:
    """Return rows with p-values corrected for those that could be looked at."""
    known = [i for i, row in enumerate(rows) if row.value is not None]
    for i, p in zip(known, holm([rows[i].p for i in known]), strict=True):
        rows[i] = replace(rows[i], adjusted=p)
    return rows

"""Rates of groups of samples, and which of them are worse than the rest beyond chance."""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from ..records import Quadrant
from .paired import fisher_p, holm
from .quadrants import Interval, wilson_interval

SURE = 0.05
"""Largest p-value, corrected for what was looked at with it, of more than chance."""
BINS, MIN_IN_BIN = 10, 20
"""Most bins of confidence, and fewest samples in one."""


class Share(NamedTuple):
    """How many of a group's samples are low, and how many it has."""

    low: int
    total: int


class Member(NamedTuple):
    """A sample as groups count it.

    Args:
        quadrant: None where it was not judged, or has no label.
        is_correct: Whether it was predicted right; None where this is not known.
        score: In [0, 5]; None where it was not judged.
        is_low: Whether the score is below the threshold.
    """

    quadrant: Quadrant | None
    is_correct: bool | None
    score: float | None
    is_low: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What the samples of a group come to.

    Args:
        name: Its name.
        samples: How many there are.
        counts: Of those in each quadrant.
        low: Of `total`, that are Low.
        total: Right and judged samples; where none has a label, all with a score. A share of all
            judged ones would call a group worse for being right more often.
        accuracy: Right over all of which it is known; None if there are none.
        average_score: In [0, 5]; None without a score.
        p: Of Fisher's exact test against the other groups of its column, corrected (Holm).
        stands_out: The rate is higher than that of the others beyond chance.
    """

    name: str
    samples: int
    counts: Mapping[Quadrant, int]
    low: int
    total: int
    accuracy: float | None
    average_score: float | None
    p: float = 1.0
    stands_out: bool = False

    @property
    def rate(self) -> float | None:
        """`low` over `total`; None if there are none."""
        return self.low / self.total if self.total else None

    @property
    def interval(self) -> Interval | None:
        """Wilson's interval of the rate, 95 %; None if there is none."""
        return wilson_interval(self.low, self.total) if self.total else None


def compare_groups(
    columns: Mapping[str, Sequence[str | None]],
    samples: Sequence[Member],
    *,
    is_graded: bool = False,
) -> dict[str, list[Group]]:
    """Return the groups of each column, the worst first.

    Those that stand out lead, by the lower end of their interval; the others follow by the same,
    so that a group of three leads by no chance.

    Args:
        columns: Name of a column to the group of each sample, `[N]`; a sample whose group is None
            is in no group of it. p-values are corrected for all groups of all columns given.
        samples: `[N]`.
        is_graded: Groups differ by degrees, as bins do.

    Raises:
        ValueError: If a column has another length.

    Example:
        >>> low, high = Quadrant.CORRECT_LOW, Quadrant.CORRECT_HIGH
        >>> own = [Member(low, True, 1.0, True)] * 9 + [Member(high, True, 5.0, False)] * 20
        >>> found = compare_groups({"camera": ["yard"] * 10 + ["gate"] * 19}, own)
        >>> [(group.name, group.low, group.total, group.stands_out) for group in found["camera"]]
        [('yard', 9, 10, True), ('gate', 0, 19, False)]
    """
    has_labels = any(s.quadrant is not None for s in samples)
    found = {}
    for column, names in columns.items():
        members: defaultdict[str, list[Member]] = defaultdict(list)
        for name, sample in zip(names, samples, strict=True):
            if name is not None:
                members[name].append(sample)
        found[column] = [_count(name, own, has_labels) for name, own in members.items()]
    tested = stand_out(
        {
            column: {group.name: Share(group.low, group.total) for group in groups}
            for column, groups in found.items()
        },
        is_graded=is_graded,
    )
    return {
        column: sorted(
            (_with(group, *tested[column][group.name]) for group in groups), key=_badness
        )
        for column, groups in found.items()
    }


def stand_out(
    columns: Mapping[str, Mapping[str, Share]], *, is_graded: bool = False
) -> dict[str, dict[str, tuple[float, bool]]]:
    """Return each group's corrected p-value, and whether it is worse than the rest beyond chance.

    Each group is held against the others of its column (Fisher's exact test, two-sided); p-values
    are corrected (Holm) for all that are held at once. A group that was found leaves the others,
    so that it does not hide a lesser one, and these are held again, until half of a column's
    groups were found: what most are is what the rest are held against.

    Args:
        columns: Name of a column to its groups. Those without a sample have a p-value of 1.
        is_graded: Groups differ by degrees, as bins do: none leaves the others.
    """
    rest = {
        column: {name: share for name, share in groups.items() if share.total}
        for column, groups in columns.items()
    }
    half = {column: len(groups) / 2 for column, groups in rest.items()}
    found = {column: dict.fromkeys(groups, (1.0, False)) for column, groups in columns.items()}
    while True:
        every = {column: _add(groups) for column, groups in rest.items()}
        held = [
            (column, name, share, every[column])
            for column, groups in rest.items()
            for name, share in groups.items()
            if len(groups) > 1
        ]
        values = holm(
            [
                fisher_p(own.low, own.total, all_.low - own.low, all_.total - own.total)
                for _, _, own, all_ in held
            ]
        )
        is_new = False
        rest = {column: dict(groups) for column, groups in rest.items()}
        for (column, name, own, all_), p in zip(held, values, strict=True):
            is_worse = p <= SURE and own.low * all_.total > all_.low * own.total
            found[column][name] = (p, is_worse)
            if is_worse:
                is_new = True
                del rest[column][name]
        rest = {column: groups for column, groups in rest.items() if len(groups) > half[column]}
        if is_graded or not is_new:
            return found


def bin_confidence(values: Sequence[float | None]) -> list[str | None]:
    """Return the bin of each confidence, by name; bins have equal counts.

    Trained models are sure of most samples: bins of equal width would put nearly all into the last
    one, bins of equal counts have intervals of one width. Equal values are never parted. There are
    `BINS`, or as many as have `MIN_IN_BIN` samples each.

    Args:
        values: In [0, 1]; None is in no bin.

    Example:
        >>> bin_confidence([0.2] * 20 + [0.9] * 20 + [None])[19:]
        ['0.200 to 0.200', ... '0.900 to 0.900', None]
    """
    known = sorted(value for value in values if value is not None)
    count = max(1, min(BINS, len(known) // MIN_IN_BIN))
    starts = sorted({known[i * len(known) // count] for i in range(count)}) if known else []
    place = [None if value is None else bisect.bisect_right(starts, value) - 1 for value in values]
    names = {}
    for at, own in groupby(known, key=lambda value: bisect.bisect_right(starts, value) - 1):
        inside = list(own)
        names[at] = f"{inside[0]:.3f} to {inside[-1]:.3f}"
    repeated = Counter(names.values())
    names = {
        at: name if repeated[name] == 1 else f"{name} ({at + 1})" for at, name in names.items()
    }
    return [None if at is None else names[at] for at in place]


def _add(groups: Mapping[str, Share]) -> Share:
    return Share(sum(s.low for s in groups.values()), sum(s.total for s in groups.values()))


def _count(name: str, own: Sequence[Member], has_labels: bool) -> Group:
    counts = Counter(s.quadrant for s in own if s.quadrant is not None)
    known = [s.is_correct for s in own if s.is_correct is not None]
    scores = [s.score for s in own if s.score is not None]
    lows = sum(s.is_low for s in own if s.score is not None)
    right = counts[Quadrant.CORRECT_LOW] + counts[Quadrant.CORRECT_HIGH]
    return Group(
        name=name,
        samples=len(own),
        counts=counts,
        low=counts[Quadrant.CORRECT_LOW] if has_labels else lows,
        total=right if has_labels else len(scores),
        accuracy=sum(known) / len(known) if known else None,
        average_score=sum(scores) / len(scores) if scores else None,
    )


def _with(group: Group, p: float, stands_out: bool) -> Group:
    return Group(
        name=group.name,
        samples=group.samples,
        counts=group.counts,
        low=group.low,
        total=group.total,
        accuracy=group.accuracy,
        average_score=group.average_score,
        p=p,
        stands_out=stands_out,
    )


def _badness(group: Group) -> tuple[bool, float, int, str]:
    ends = group.interval
    return not group.stands_out, -ends.lower if ends else 1.0, -group.samples, group.name

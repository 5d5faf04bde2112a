"""A round's rates by class, by confidence, and by what is told of its samples."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, NamedTuple

from ..records import Quadrant
from ..rounds import Group, Member, bin_confidence, compare_groups
from .figures import count_round
from .metadata import Metadata, match_metadata
from .run import Run, RunRound
from .text import one_line

CLASS, PREDICTED, CONFIDENCE = "class", "predicted class", "confidence"
OURS = (CLASS, PREDICTED, CONFIDENCE)
MAX_FOUND = 4
"""Groups of which a sentence on top tells."""
GROUP_COLUMNS = (
    "column", "group", "samples", *(q.value for q in Quadrant), "low", "of", "rate", "lower",
    "upper", "p", "stands_out", "accuracy", "average_score",
)  # fmt: skip
"""Of a table of groups; `rate` is `low` of `of`, the right and judged samples, as in `Group`."""


class Grouping(NamedTuple):
    """A column of groups.

    Args:
        column: Its name.
        groups: The worst first; bins of confidence by confidence.
        names: Group of each sample of the round, `[N]`; None where it is in none.
        held: How many groups its p-values are corrected for.
    """

    column: str
    groups: list[Group]
    names: list[str | None]
    held: int

    @property
    def outside(self) -> int:
        """Samples that are in no group."""
        return sum(name is None for name in self.names)


def group_round(
    run: Run, of: RunRound, metadata: Metadata | None = None
) -> tuple[list[Grouping], list[str]]:
    """Return a round's groups, and what of a table did not match, in sentences.

    p-values are corrected for the classes, for the bins of confidence, and for all groups of the
    records' and the table's columns, each together.

    Args:
        run: The run.
        of: A round of it.
        metadata: A table of the user's.
    """
    samples = of.samples
    if not samples:
        return [], []
    members = [
        Member(s.quadrant, s.is_correct, s.score, s.score is not None and s.score < run.threshold)
        for s in samples
    ]
    own: dict[str, list[str | None]] = {}
    notices: list[str] = []
    for name in dict.fromkeys(name for s in samples for name in s.groups):
        own[_free(name, "recorded", own)] = [s.groups.get(name) for s in samples]
    if metadata is not None:
        matched, notices = match_metadata(metadata, samples)
        for name, names in matched.items():
            own[_free(name, metadata.name, own)] = names
    has_labels = any(s.is_correct is not None for s in samples)
    classes: list[str | None] = [s.label_name if has_labels else s.prediction_name for s in samples]
    families: list[dict[str, list[str | None]]] = [
        own,
        {CLASS if has_labels else PREDICTED: classes},
        {CONFIDENCE: bin_confidence([s.confidence for s in samples])},
    ]
    found = []
    for family in families:
        compared = compare_groups(family, members, is_graded=CONFIDENCE in family)
        held = sum(group.total > 0 for groups in compared.values() for group in groups)
        for column, groups in compared.items():
            if column == CONFIDENCE:
                groups.sort(key=lambda group: float(group.name.split(" ")[0]))
            if groups:
                found.append(Grouping(column, groups, family[column], held))
    return found, notices


def say_groups(groupings: Sequence[Grouping], limit: int = 3) -> list[str]:
    """Return the worst groups of each column in lines, those beyond chance first.

    Args:
        groupings: Of a round, without classes, which have a table of their own.
        limit: Groups of a column, at most; all that stand out are counted.
    """
    lines = []
    for of in groupings:
        worst = [group for group in of.groups if group.stands_out]
        outside = f"; {of.outside:,} samples in none" if of.outside else ""
        stand = "stands" if len(worst) == 1 else "stand"
        if worst:
            lines.append(
                f"By {of.column}: {len(worst):,} of {len(of.groups):,} {stand} out{outside}"
            )
        else:
            lines.append(f"By {of.column}: none of {len(of.groups):,} stands out{outside}")
        worst.sort(key=lambda group: -group.interval.lower if group.interval else 0.0)
        shown = worst or sorted(of.groups, key=lambda g: -(g.interval or (0.0,))[0])[:1]
        lines += [f"  {_say(group)}" for group in shown[:limit]]
    return lines


class Grouped(NamedTuple):
    """What a page shows of groups.

    Args:
        columns: As a page's scripts read them.
        findings: Sentences of groups that stand out, as a page's scripts read them.
        notices: What of a table did not match.
    """

    columns: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    notices: list[str]


def describe_grouped(run: Run, metadata: Metadata | None) -> Grouped:
    """Return what a page shows of groups.

    They are those of an audit's rounds; of a fit's last judged round where something is told of
    its samples, else none.
    """
    judged = [of for of in run.rounds if count_round(of, run.threshold).coverage]
    if not run.is_audit:
        judged = judged[-1:]
        if metadata is None and not any(s.groups for of in judged for s in of.samples):
            return Grouped([], [], [])
    found: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    said: list[str] = []
    for of in judged:
        groupings, notices = group_round(run, of, metadata)
        said += notices
        found += [_describe(grouping, run.rounds.index(of)) for grouping in groupings]
        told += _find(of, groupings)
    return Grouped(found, told[:MAX_FOUND], list(dict.fromkeys(said)))


def _find(of: RunRound, groupings: Sequence[Grouping]) -> list[dict[str, Any]]:
    """Return sentences of the user's own groups that stand out, and where each is seen."""
    return [
        {
            "text": one_line(
                f"{grouping.column} {group.name}: {group.low:,} of {group.total:,} {_what(group)} "
                f"are Low ({group.low / group.total:.2f}), and "
                f"{_rate_of_others(grouping, group):.2f} of the others'.",
                600,
            ),
            "alarm": True,
            "shown": {
                "round": of.key,
                "group": f"{grouping.column}={group.name}",
                "quadrant": Quadrant.CORRECT_LOW.value if group.counts else "low",
            },
        }
        for grouping in groupings
        for group in grouping.groups
        if group.stands_out and grouping.column not in OURS
    ]


def _what(group: Group) -> str:
    return "right answers" if group.counts else "predictions"


def _rate_of_others(grouping: Grouping, group: Group) -> float:
    low = sum(other.low for other in grouping.groups) - group.low
    total = sum(other.total for other in grouping.groups) - group.total
    return low / total


def _describe(of: Grouping, place: int) -> dict[str, Any]:
    numbers = {group.name: number for number, group in enumerate(of.groups)}
    return {
        "round": place,
        "column": of.column,
        "held": of.held,
        "outside": of.outside,
        "names": [None if name is None else numbers[name] for name in of.names],
        "groups": [
            {
                "name": group.name,
                "samples": group.samples,
                "counts": [group.counts.get(q, 0) for q in Quadrant],
                "low": group.low,
                "total": group.total,
                "rate": group.rate,
                "interval": group.interval,
                "accuracy": group.accuracy,
                "score": group.average_score,
                "p": group.p,
                "worse": group.stands_out,
            }
            for group in of.groups
        ],
    }


def list_group_rows(groupings: Sequence[Grouping]) -> list[dict[str, Any]]:
    """Return a row of `GROUP_COLUMNS` for each group, rounded; None where not known."""
    return [
        {
            "column": of.column,
            "group": group.name,
            "samples": group.samples,
            **{q.value: group.counts.get(q, 0) for q in Quadrant},
            "low": group.low,
            "of": group.total,
            "rate": _round(group.rate),
            "lower": _round(group.interval and group.interval.lower),
            "upper": _round(group.interval and group.interval.upper),
            "p": float(f"{group.p:.3g}"),
            "stands_out": group.stands_out,
            "accuracy": _round(group.accuracy),
            "average_score": _round(group.average_score),
        }
        for of in groupings
        for group in of.groups
    ]


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _free(name: str, origin: str, taken: Container[str]) -> str:
    """Return a column's name, with where it is from if another has it."""
    is_taken = name in taken or name in OURS
    return f"{name} ({origin})" if is_taken else name


def _say(group: Group) -> str:
    ends = group.interval
    if ends is None:
        return f"{group.name}: no right answer judged"
    chance = "" if group.stands_out else ", no more than chance"
    return (
        f"{group.name or '(no name)'}: {group.low:,} of {group.total:,} {_what(group)} Low "
        f"({ends.lower:.2f} to {ends.upper:.2f}{chance})"
    )

"""Quadrants of audits of the same pictures: their rates, and which differences may be chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from rich.table import Table

from audits import Audited
from lightning_vlmxai.records import Quadrant
from lightning_vlmxai.rounds import Pairs, holm, mcnemar_p, paired_interval
from published import console, show_mean, show_rate

SURE = 0.05


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A quadrant's rate in two models, of the pictures that both have judged.

    Args:
        quadrant: Which.
        pairs: How often both, one or neither has it.
        p: McNemar's, two-sided.
    """

    quadrant: Quadrant
    pairs: Pairs
    p: float


def pair_up(first: Audited, second: Audited) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the lines of the pictures that are in a quadrant in both audits.

    Raises:
        ValueError: If a picture has another label in the other audit.
    """
    both = [(first[key], second[key]) for key in first if key in second]
    for one, other in both:
        if one["label_name"] != other["label_name"]:
            raise ValueError(
                f"{one['file']} is {one['label_name']!r} in one audit and "
                f"{other['label_name']!r} in the other"
            )
    return [(a, b) for a, b in both if a["quadrant"] and b["quadrant"]]


def contrast(
    first: Audited, second: Audited, quadrants: Sequence[Quadrant] = tuple(Quadrant)
) -> list[Difference]:
    """Return how each quadrant's rate differs; nothing where no picture was judged in both."""
    judged = pair_up(first, second)
    if not judged:
        return []
    found = []
    for quadrant in quadrants:
        count = Counter((a["quadrant"] == quadrant, b["quadrant"] == quadrant) for a, b in judged)
        pairs = Pairs(
            both=count[True, True],
            first=count[True, False],
            second=count[False, True],
            neither=count[False, False],
        )
        p = mcnemar_p(pairs.first, pairs.second)
        found.append(Difference(quadrant=quadrant, pairs=pairs, p=p))
    return found


def show_score_difference(first: Audited, second: Audited) -> str:
    """Return the mean of second score less first with its 95 % interval (normal, paired) and n."""
    less = [b["score"] - a["score"] for a, b in pair_up(first, second)]
    return f"{show_mean(less)}{f', n = {len(less)}' if less else ''}"


def print_rates(
    audits: Mapping[str, Audited], title: str, told: Mapping[str, tuple[float, ...]]
) -> None:
    """Print each audit's rates and average score.

    Args:
        audits: By the name of their row.
        title: Of the table.
        told: Published rates and score of some of them.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    for column in ("judged", "CH", "CL", "WH", "WL", "score"):
        table.add_column(column, justify="right")
    for name, found in audits.items():
        judged = [line["quadrant"] for line in found.values() if line["quadrant"]]
        scores = [line["score"] for line in found.values() if line["quadrant"]]
        rates = [show_rate(judged.count(q.value), len(judged)) for q in Quadrant]
        count = f"{len(judged)} of {len(found)}"
        table.add_row(name, count, *rates, show_mean(scores), end_section=name not in told)
        if name in told:
            *shares, score = told[name]
            shown = [f"{share:.1f}" for share in shares]
            table.add_row("  published", "", *shown, f"{score:.2f}", style="dim", end_section=True)
    console.print(table)
    console.print(
        "CH, CL, WH, WL: Correct-High, Correct-Low, Wrong-High, Wrong-Low, % of the judged "
        "pictures. In brackets 95 % intervals.",
        soft_wrap=True,
    )


def print_differences(
    audits: Mapping[str, Audited], quadrants: Sequence[Quadrant] = tuple(Quadrant)
) -> None:
    """Print each two audits' differences, those beyond chance marked."""
    rows = [
        (one, other, difference)
        for one, other in combinations(audits, 2)
        for difference in contrast(audits[one], audits[other], quadrants)
    ]
    if not rows:
        return
    table = Table(title="Second less first, on the same pictures", title_justify="left")
    for column in ("first", "second", "rate", "n", "difference, %", "p (Holm)", ""):
        table.add_column(column, justify="right" if column in ("n", "p (Holm)") else "left")
    for (one, other, found), p in zip(rows, holm([r.p for *_, r in rows]), strict=True):
        pairs, n = found.pairs, sum(found.pairs)
        ends = paired_interval(pairs)
        table.add_row(
            one,
            other,
            found.quadrant.value.replace("_", "-").title(),
            str(n),
            f"{100 * (pairs.second - pairs.first) / n:+.1f} "
            f"({100 * ends.lower:+.1f} to {100 * ends.upper:+.1f})",
            f"{p:.2g}",
            "real" if p <= SURE else "may be chance",
            end_section=found.quadrant is quadrants[-1],
        )
    console.print(table)
    console.print(
        f"McNemar's test; Holm's correction for {len(rows)} tests; intervals: Newcombe's."
    )
    for one, other in combinations(audits, 2):
        told = show_score_difference(audits[one], audits[other])
        console.print(f"Average score, {other} less {one}: {told}", soft_wrap=True)

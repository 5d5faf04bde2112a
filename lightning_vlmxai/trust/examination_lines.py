"""An examination in lines that a person reads. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..judges import describe_failures
from ..records import ControlKind
from .control_figures import Share
from .controls import KINDS
from .examination import Examination


def describe_answers(
    found: Examination, formats: Sequence[str], seconds: float
) -> Iterator[tuple[str, str]]:
    """Yield names and lines of what was answered, and how fast.

    Args:
        found: What was answered.
        formats: Of the answers, as they were asked for.
        seconds: That it took.
    """
    figures, verdicts = found.figures, found.verdicts
    calls = sum(verdict.usage.calls for verdict in verdicts)
    told = f"{figures.answered} of {figures.asked}"
    if formats:
        told += f", as {' and '.join(formats)}"
    if calls > figures.asked:
        told += f"; {calls - figures.asked} calls more than questions (asked again, retried)"
    yield "answered", told
    for message in describe_failures(verdicts).values():
        yield "unscored", message
    median, slow = found.latency_s(0.5), found.latency_s(0.95)
    if median is not None and slow is not None:
        rest = f"95 % {_seconds(slow)}; all in {_seconds(seconds)}"
        yield "latency", f"median {_seconds(median)}, {rest}"


def describe_figures(found: Examination) -> Iterator[tuple[str, str]]:
    """Yield names and lines of how well good and bad controls are told apart, and by kind."""
    figures = found.figures
    if figures.auc is not None:
        low, high = figures.auc.interval
        of = f"of {figures.auc.good} good against {figures.auc.bad} bad controls"
        yield "AUC", f"{figures.auc.value:.2f} [{low:.2f}, {high:.2f}], {of}"
    for name, share, said in (
        ("sensitivity", figures.sensitivity, "High"),
        ("specificity", figures.specificity, "Low"),
    ):
        if share is not None:
            yield name, f"{_share(share, said)}, at the threshold {found.threshold:g}"
    asked: dict[ControlKind, set[int]] = {}
    for one in found.judged:
        asked.setdefault(one.control.kind, set()).add(id(one.control))
    for kind in (kind for kind in KINDS if kind in asked):
        yield f"  {kind}", _describe_kind(found, kind, len(asked[kind]))
    if figures.spread is not None:
        yield "spread", f"{figures.spread:.2f} between answers to the same question"


def compare(rows: Sequence[tuple[str, Examination, list[str]]]) -> Iterator[str]:
    """Yield the lines of a table of judges that were asked about the same controls.

    Args:
        rows: Names of judges, what they answered, and what is wrong with them.
    """
    heads = ("judge", "answered", "AUC", "95 % interval", "sens.", "spec.", "spread", "median", "")
    lines = [heads]
    for name, found, faults in rows:
        f, median = found.figures, found.latency_s(0.5)
        ends = None if f.auc is None else f.auc.interval
        lines.append(
            (
                name,
                f"{f.answered}/{f.asked}",
                _number(None if f.auc is None else f.auc.value),
                "-" if ends is None else f"{ends.lower:.2f} to {ends.upper:.2f}",
                _number(None if f.sensitivity is None else f.sensitivity.rate),
                _number(None if f.specificity is None else f.specificity.rate),
                _number(f.spread),
                "-" if median is None else _seconds(median),
                "NOT good enough" if faults else "good enough",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _describe_kind(found: Examination, kind: ControlKind, asked: int) -> str:
    share, area = found.figures.kinds.get(kind), found.figures.areas.get(kind)
    said = "High" if kind in ("object", "whole") else "Low"
    told = "no answer" if share is None else _share(share, said)
    if area is not None:
        told += f", AUC {area.value:.2f} [{area.interval.lower:.2f}, {area.interval.upper:.2f}]"
    missing = asked - (share.of if share else 0)
    return f"{told}; {missing} without an answer" if missing else told


def _share(share: Share, said: str) -> str:
    right = f"{share.right:.1f}".removesuffix(".0")
    low, high = share.interval
    return f"{share.rate:.2f} [{low:.2f}, {high:.2f}], {right} of {share.of} {said}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"

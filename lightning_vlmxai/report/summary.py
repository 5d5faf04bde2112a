"""A run in a table in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..records import Quadrant
from ..rounds import NAMES
from .corrected import correct_run
from .figures import Cost, Figures, add_costs, count_classes, count_round
from .findings import find_in_run, say_gates
from .grouping import CLASS, PREDICTED, group_round, say_groups
from .html import show_dollars
from .metadata import read_metadata
from .ratings import load_ratings
from .reader import read_run
from .run import Run, RunRound
from .shortcuts import say_shortcuts
from .text import one_line


def print_summary(
    run_dir: Path,
    *,
    stage: str | None = None,
    report: Path | None = None,
    console: Console | None = None,
    groups: Path | None = None,
) -> None:
    """Print what a run came to: rates, change, worst classes, cost, and where to look next.

    Args:
        run_dir: The run folder; nothing is printed but a line if it holds no round of the stage.
        stage: "fit", "validate", "test" or "predict"; that of the run's curve if None.
        report: Where the report is, if it has been written.
        console: To print to; the terminal, or the log that stands in its place, if None.
        groups: A CSV file of what is known of each sample: rates by each of its columns are told.

    Raises:
        ConfigurationError: If `groups` is no such file, or fits no sample.
    """
    console = console or Console()

    def say(line: str) -> None:
        console.print(_plain(line, console), soft_wrap=True)

    run = read_run(run_dir)
    if stage is None:
        stage = run.curve[-1].stage if run.curve else "fit"
    rounds = [of for of in run.rounds if of.stage == stage]
    judged = [of for of in rounds if count_round(of).coverage]
    if not judged:
        said = "no round has been written" if not rounds else "no sample was judged"
        say(f"vlmxai: {said} ({stage}, {run_dir})")
    else:
        _say_round(run, judged, groups, say, console)
    if rounds:
        samples = [sample for of in rounds for sample in of.samples]
        say(_describe_cost(add_costs(samples), 0 if run.is_audit else len(rounds)))
    say(f"Look closer: {report}" if report else f"Look closer: vlmxai report {run_dir}")


def _say_round(
    run: Run,
    judged: Sequence[RunRound],
    groups: Path | None,
    say: Callable[[str], None],
    console: Console,
) -> None:
    of = judged[-1]
    now = count_round(of, run.threshold)
    what = f"audit ({of.stage})" if run.is_audit else f"{of.stage} round {of.number}"
    kind = "samples" if run.is_audit else "probes"
    kept = f", {now.kept:,} of them in earlier rounds: rates are estimates"
    kept = "" if now.answered is None else kept
    say(f"vlmxai: {what}, {now.scored:,} of {now.probes:,} {kind} judged{kept}")
    for notice in run.notices if run.is_audit else ():
        say(f"  {notice}")
    for finding in find_in_run(run, of.stage):
        say(f"  {finding.text}")
    for line in (*say_shortcuts(run), *say_gates(run)) if of.stage == "fit" else ():
        say(f"  {line}")
    if now.judged:
        console.print(_table(judged, run.threshold))
    metadata = None if groups is None else read_metadata(groups)
    groupings, notices = group_round(run, of, metadata)
    classes = [one for one in groupings if one.column in (CLASS, PREDICTED)]
    others = [one for one in groupings if one not in classes]
    worst = say_groups(classes, 10) if run.is_audit else _worst_classes(of)
    told = others if run.is_audit or groups is not None else []
    for line in (_close(now), *_corrected(run, of), *worst, *say_groups(told), *notices):
        say(line)


def _table(judged: Sequence[RunRound], threshold: float) -> Table:
    now, then = (count_round(judged[at], threshold) for at in (-1, 0))
    is_change = len(judged) > 1
    since = [f"since round {judged[0].number}"] if is_change else []
    table = Table()
    table.add_column("")
    for name in ("rate", "95 % interval", *since):
        table.add_column(name, justify="right")
    for quadrant in Quadrant:
        ends = now.interval(quadrant)
        table.add_row(
            NAMES[quadrant],
            _number(now.rate(quadrant)),
            f"{ends.lower:.2f} to {ends.upper:.2f}" if ends else "",
            *([_change(now.rate(quadrant), then.rate(quadrant))] if is_change else []),
        )
    change = [_change(now.accuracy, then.accuracy)] if is_change else []
    table.add_row("accuracy", _number(now.accuracy), "", *change)
    change = [_change(now.average_score, then.average_score)] if is_change else []
    table.add_row("average score", _number(now.average_score), "", *change)
    return table


def _corrected(run: Run, of: RunRound) -> list[str]:
    """Return what people's ratings make of the rates; nothing where nobody rated."""
    ratings, notices = load_ratings(run)
    found = correct_run(run, ratings)
    if of.key not in found:
        rated = ", ".join(found)
        return [*notices, *([f"People rated {rated}, not round {of.key}."] if rated else [])]
    rows, notes = found[of.key]
    return [*notices, *(f"{row.name}: {row.rate or 'nobody rated one'}" for row in rows), *notes]


def _worst_classes(of: RunRound) -> list[str]:
    classes = count_classes(of.samples)
    lines = _most({name: (f.wrong_reasons, f.judged) for name, f in classes.items()})
    apart = _most({name: (f.partly, f.judged) for name, f in classes.items()})
    return [
        *(["Right for the wrong reason most often:", *lines] if lines else []),
        *(["Partly attended (on the object, but covers little of it):", *apart] if apart else []),
    ]


def _most(shares: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return a line for the three classes with the highest share of Correct-Low samples."""
    some = [(count / total, name, count, total) for name, (count, total) in shares.items() if count]
    some.sort(key=lambda row: (-row[0], -row[2], row[1]))
    return [
        f"  {one_line(name, 40) or '(no name)'}: {count} of {total} Correct-Low ({rate:.2f})"
        for rate, name, count, total in some[:3]
    ]


def _close(now: Figures) -> str:
    if not now.asked_again:
        return "Borderline: not known, as the judge was asked once about each sample"
    return (
        f"Borderline: {now.borderline_rate:.2f}, {now.borderline} of {now.asked_again} have scores "
        "within the judge's own spread of the threshold"
    )


def _describe_cost(cost: Cost, rounds: int) -> str:
    parts = [f"{cost.calls:,} calls", f"{cost.tokens:,} tokens", show_dollars(cost.cost_usd)]
    if cost.unpriced:
        parts.append(f"{cost.unpriced:,} verdicts without a known price")
    if cost.cached or cost.reused:
        parts.append(f"{cost.cached:,} cached and {cost.reused:,} reused verdicts")
    if cost.reasons:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(cost.reasons.items()))
        parts.append(f"unscored: {reasons}")
    of = f" of {rounds} round{'s' if rounds > 1 else ''}" if rounds else ""
    return f"Cost{of}: {'; '.join(parts)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _change(now: float | None, then: float | None) -> str:
    return "-" if now is None or then is None else f"{now - then:+.2f}"


def _plain(text: str, console: Console) -> Text:
    """Return text without markup, in characters that the console can write."""
    return Text(text.encode(console.encoding, "replace").decode(console.encoding))

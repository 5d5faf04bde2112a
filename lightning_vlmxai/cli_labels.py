"""`vlmxai labels`: the labels of an audit that are probably wrong."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .errors import ConfigurationError, expected
from .report import (
    METHOD_NAMES,
    LabelledRound,
    Suspect,
    find_run_dir,
    list_suspects,
    read_labelled,
    to_rows,
    write_label_page,
)
from .rounds import LETTERS, show_score
from .trust import LABEL_METHODS, MIN_PER_CLASS, WRONG_HIGH, Suspects

_SHOWN = 20


def make_labels_parser() -> ArgumentParser:
    """Return the parser of the command's own arguments."""
    parser = ArgumentParser(description="List the labels of an audit that are probably wrong.")
    parser.add_argument("run", type=Path, help="an audit's run folder")
    parser.add_argument(
        "--method", choices=list(LABEL_METHODS), default=LABEL_METHODS[0], help="by whose order"
    )
    parser.add_argument("--top", type=int, default=200, help="how many are listed")
    parser.add_argument(
        "--out", type=Path, help="where the table goes; suspects.csv in the run folder if not given"
    )
    parser.add_argument("--round", help="such as test-0; the last one if not given")
    parser.add_argument(
        "--files", type=Path, help="folder that the file names start in, to show their pictures"
    )
    parser.add_argument(
        "--min-per-class", type=int, default=MIN_PER_CLASS, help="refuse if most classes have less"
    )
    return parser


def run_labels(given: Any, console: Console | None = None) -> int:
    """Print suspects, write `suspects.csv` and `labels.html` and return 0.

    Args:
        given: What the parser returns.
        console: To print to; the terminal if None.

    Raises:
        ConfigurationError: If the run has no labels that could be told to be wrong.
    """
    console = console or Console()
    if given.top < 1:
        raise ConfigurationError(expected("top", "at least 1", given.top, "Pass --top 200"))
    run_dir = find_run_dir(given.run)
    labelled = read_labelled(run_dir, given.round)
    found = labelled.ask(given.min_per_class)
    if given.method not in found:
        raise ConfigurationError(
            expected(
                "method",
                "one that needs no verdicts, for no sample of this round is judged",
                given.method,
                f"Pass --method {LABEL_METHODS[0]}",
            )
        )
    suspects = list_suspects(labelled, found, given.method, given.top)
    out = given.out or run_dir / "suspects.csv"
    write_suspects(suspects, out)
    page = write_label_page(
        labelled, found, suspects, given.method, run_dir / "labels.html", given.files
    )
    for notice in labelled.notices:
        _say(console, notice)
    _print(console, labelled, found, suspects, given.method)
    _say(console, f"Written: {out} ({len(suspects):,} of {len(labelled.samples):,} samples)")
    _say(console, f"Written: {page}: look through the pictures and mark them there.")
    return 0


def write_suspects(suspects: list[Suspect], out: Path) -> None:
    """Write `suspects.csv`; text that a spreadsheet would take for a formula gets a `'` before."""
    head, rows = to_rows(suspects)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([head, *([_guard(cell) for cell in row] for row in rows)])


def _guard(cell: object) -> object:
    is_formula = isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t"))
    return f"'{cell}" if is_formula else cell


def _print(
    console: Console,
    labelled: LabelledRound,
    found: dict[str, Suspects],
    suspects: list[Suspect],
    method: str,
) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("method", "flags", "of these listed"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for name, of in found.items():
        listed = sum(name in one.flagged_by for one in suspects)
        table.add_row(METHOD_NAMES[name], f"{int(of.flagged.sum()):,}", f"{listed:,}")
    _say(console, f"\n{labelled.key}: {len(labelled.samples):,} labels")
    console.print(table)
    if WRONG_HIGH not in found:
        _say(console, "No sample is judged: there is no Wrong-High.")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("", "sample", "label", "p", "suggested", "p", "score", "flagged by"):
        table.add_column(
            name,
            justify="right" if name in ("", "p", "score") else "left",
            overflow="fold",
        )
    for place, one in enumerate(suspects[:_SHOWN], start=1):
        sample = one.sample
        told = "" if sample.quadrant is None else f"{LETTERS[sample.quadrant]} "
        score = sample.reason
        if sample.score is not None:
            score = told + show_score(sample.score, labelled.run.threshold)
        cells = [
            str(place), _short(sample.file) or f"probe {sample.probe}", one.label,
            f"{one.label_probability:.3f}", one.suggested, f"{one.suggested_probability:.3f}",
            score, f"{len(one.flagged_by)} of {len(found)}",
        ]  # fmt: skip
        table.add_row(*(Text(cell.encode(console.encoding, "replace").decode(console.encoding))
                        for cell in cells))  # fmt: skip
    _say(console, f"In the order of {METHOD_NAMES[method]}:")
    console.print(table)


def _short(file: str) -> str:
    """Return a file's name with its folder's, by which a person knows it."""
    return "/".join(Path(file).parts[-2:])


def _say(console: Console, line: str) -> None:
    shown = line.encode(console.encoding, "replace").decode(console.encoding)
    console.print(Text(shown), soft_wrap=True)

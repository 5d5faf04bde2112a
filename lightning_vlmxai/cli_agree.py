"""`vlmxai agree`: how far people, judges and reference masks agree, and what that corrects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .errors import ConfigurationError, expected
from .report import (
    Agreements,
    Corrected,
    Pair,
    Ratings,
    agree_round,
    correct_run,
    find_run_dir,
    find_twins,
    load_ratings,
    read_ratings,
    read_run,
    store_ratings,
    write_agreements,
)
from .trust import Agreed

_HEADS = {
    "pearson": "Pearson",
    "spearman": "Spearman",
    "kappa": "kappa",
    "difference": "first - second",
}
_HOW = (
    "Weighted as the samples were drawn, so that figures stand for all judged samples of a round. "
    "Kappa has quadratic weights, alpha squared differences. Intervals: 95 %, bootstrap over "
    "probes (2,000 resamples, seed 0; all but the difference on Fisher's z)."
)


def make_agree_parser() -> ArgumentParser:
    """Return the parser of the command's own arguments."""
    parser = ArgumentParser(description="Hold a judge to people's ratings of the same pictures.")
    parser.add_argument("run", type=Path, help="a run folder, or a log folder that holds one")
    parser.add_argument(
        "ratings",
        type=Path,
        nargs="*",
        help="files of ratings (JSON of the Rate page, or CSV with sample,score), and perhaps a "
        "second run folder, of another judge on the same probes",
    )
    parser.add_argument("--round", help="that is looked at, as fit-4; the rated ones if not given")
    return parser


def run_agree(given: Namespace, console: Console | None = None) -> int:
    """Print who agrees with whom, keep ratings and figures in the run folder, and return 0.

    Args:
        given: `run`, `ratings` and `round`.
        console: To print to; the terminal if None.

    Raises:
        ConfigurationError: If a file is not one of this run's ratings; nothing is written then.
    """
    console = console or Console()
    run = read_run(find_run_dir(given.run))
    folders = [path for path in given.ratings if path.is_dir()]
    if len(folders) > 1:
        raise ConfigurationError(
            expected(
                "ratings", "files, and one folder at most", len(folders), "Compare two at once"
            )
        )
    other = read_run(find_run_dir(folders[0])) if folders else None
    files = [path for path in given.ratings if not path.is_dir()]
    read = [read_ratings(path, run, given.round) for path in files]
    new = _apart([ratings for ratings, _ in read], files)
    told = [line for _, lines in read for line in lines]
    for ratings in new:
        store_ratings(run.path, ratings, run)
    kept, notices = load_ratings(run)
    # What was read a moment ago has been told of; its weights are known or told to be assumed.
    told += [line for line in notices if line not in told]
    old = [r.rater for r in kept if (r.rater, r.round) not in {(n.rater, n.round) for n in new}]
    if old:
        told.append(f"Rated before, from {run.path / 'ratings'}: {', '.join(old)}.")
    told += [
        f"{a.rater} and {b.rater} gave the same scores throughout: is it one file twice?"
        for a, b in find_twins(kept)
    ]
    judged = [of for of in run.rounds if any(s.quadrant is not None for s in of.samples)]
    keys = list(dict.fromkeys(ratings.round for ratings in kept))
    wanted = [given.round] if given.round else keys or [of.key for of in judged[-1:]]
    rounds = [of for of in judged if of.key in wanted]
    if not rounds:
        raise ConfigurationError(
            expected(
                "round",
                "a judged round of the run",
                given.round,
                f"Pass one of: {', '.join(of.key for of in judged) or 'none is judged yet'}",
            )
        )
    found = [agree_round(run, of, [r for r in kept if r.round == of.key], other) for of in rounds]
    written = write_agreements(run.path, found)
    corrected = correct_run(run, kept)
    for line in told:
        _say(console, line)
    for of in found:
        _print_round(console, of, *corrected.get(of.round, ([], [])))
    _say(console, _HOW)
    unrated = [of.key for of in judged if of.key not in keys]
    if keys and unrated:
        _say(
            console,
            "Ratings of a round correct that round; the rates of others stand as the judge made "
            f"them ({', '.join(unrated[-5:])}{', ...' if len(unrated) > 5 else ''}).",
        )
    _say(console, f"Written: {written}. Shown by: vlmxai report {run.path}")
    return 0


def _apart(ratings: Sequence[Ratings], files: Sequence[Path]) -> list[Ratings]:
    """Return the ratings, if each is of another person or round.

    Raises:
        ConfigurationError: If two have one name: the one would replace the other.
    """
    seen: dict[tuple[str, str], Path] = {}
    for one, path in zip(ratings, files, strict=True):
        other = seen.setdefault((one.rater, one.round), path)
        if other is not path:
            raise ConfigurationError(
                expected(
                    "ratings",
                    "of different people",
                    f"two files by {one.rater!r}: {other} and {path}",
                    'Change "rater" in one of them, or leave one out',
                )
            )
    return list(ratings)


def _print_round(
    console: Console, of: Agreements, corrected: Sequence[Corrected], notes: Sequence[str]
) -> None:
    _say(console, f"\nRound {of.round}")
    if of.pairs:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("first", overflow="fold")
        table.add_column("second", overflow="fold")
        for head in ("samples", *_HEADS.values()):
            table.add_column(head, justify="right", no_wrap=head != "first - second")
        for pair in of.pairs:
            if "alpha" not in pair.figures:
                cells = [pair.first, pair.second, str(pair.number)]
                cells += [_cell(pair.figures.get(name)) for name in _HEADS]
                table.add_row(*map(Text, cells))
        console.print(table)
    for pair in of.pairs:
        if "alpha" in pair.figures:
            alpha = _cell(pair.figures["alpha"]).replace("\n", " ")
            _say(console, f"Krippendorff's alpha of {pair.first}, {pair.number} samples: {alpha}")
    for line in _reasons(of.pairs):
        _say(console, line)
    for row in corrected:
        what = str(row.rate) if row.rate else "nobody rated one of these"
        raters = f"{row.raters} {'person' if row.raters == 1 else 'people'}"
        _say(console, f"{row.name} ({raters}): {what}")
    for note in (*notes, *of.notes):
        _say(console, note)


def _cell(of: Agreed | None) -> str:
    if of is None:
        return ""
    if of.value is None:
        return "-"
    ends = f"\n[{of.interval.lower:.2f}, {of.interval.upper:.2f}]" if of.interval else ""
    return f"{of.value:.2f}{ends}"


def _reasons(pairs: Sequence[Pair]) -> list[str]:
    """Return why figures or intervals are missing, and what else to know of pairs."""
    lines = []
    for pair in pairs:
        whys = dict.fromkeys(of.why for of in pair.figures.values() if of.why)
        said = [*whys, *([pair.note] if pair.note else [])]
        if said:
            lines.append(f"{pair.first} and {pair.second}: {'; '.join(said)}.")
    return lines


def _say(console: Console, line: str) -> None:
    shown = line.encode(console.encoding, "replace").decode(console.encoding)
    console.print(Text(shown), soft_wrap=True)

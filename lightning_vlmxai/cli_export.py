"""The command `vlmxai export`: what a filter of the gallery shows, for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from .errors import ConfigurationError, expected
from .records import Quadrant
from .report import (
    FORMATS,
    GROUP_COLUMNS,
    SORTS,
    UNSCORED,
    Filters,
    Run,
    choose_rounds,
    find_run_dir,
    group_round,
    list_group_rows,
    list_rows,
    read_metadata,
    read_run,
    write_rows,
    write_table,
)

GROUPS_HELP = "a CSV file with a column `file`, `path` or `sample`: rates by each other column"


def make_export_parser() -> ArgumentParser:
    """Return the parser of the command."""
    parser = ArgumentParser(description="Write samples of a run for other programs.")
    parser.add_argument("run", type=Path, help="a run folder, or a log folder that holds one")
    parser.add_argument(
        "--format",
        choices=[*FORMATS, "groups"],
        default="csv",
        help="groups: a CSV of rates by class, confidence and what is known of samples",
    )
    parser.add_argument("--groups", type=Path, help=f"{GROUPS_HELP}, with --format groups")
    parser.add_argument(
        "--round", default="", help='such as fit-3, or "all"; the last one if not given'
    )
    quadrants = [quadrant.value for quadrant in Quadrant]
    parser.add_argument("--quadrant", choices=[*quadrants, UNSCORED], help="of the samples")
    parser.add_argument("--class", dest="label", help="true class of the samples")
    parser.add_argument("--reason", default="", help="why the samples are unscored")
    parser.add_argument("--sort", choices=list(SORTS), default="low", help="the gallery's order")
    parser.add_argument("--prefix", default="", help="goes before each file's name")
    parser.add_argument("--out", type=Path, help="file to write; printed if not given")
    return parser


def run_export(given: Any) -> int:
    """Write what was asked for and return the exit status.

    Raises:
        ConfigurationError: If the run has no such samples, or none whose file is known.
    """
    run = read_run(find_run_dir(given.run))
    if given.format == "groups":
        return _export_groups(run, given)
    if given.groups is not None:
        raise ConfigurationError(
            expected("groups", "given with --format groups", given.format, "Pass --format groups")
        )
    filters = Filters(
        round=given.round,
        quadrant=given.quadrant or "",
        label=given.label,
        reason=given.reason,
        sort=given.sort,
    )
    rows = list_rows(run, filters, prefix=given.prefix)
    named = sum(row["file"] is not None for row in rows)
    if rows and not named and given.format != "csv":
        why = run.settings.get("files") or "the run is older than that"
        raise ConfigurationError(
            expected(
                "format",
                "csv, for no file's name is known",
                f"{given.format} ({why})",
                "Pass --format csv, and for the next run `unpack=lambda row: Item(image=..., "
                "target=..., file=...)`",
            )
        )
    _put(write_rows(rows, given.format), given.out)
    count = f"{len(rows)} sample{'' if len(rows) == 1 else 's'}, {named} with a known file"
    sys.stderr.write(f"{count}.{f' Written: {given.out}' if given.out else ''}\n")
    return 0


def _export_groups(run: Run, given: Any) -> int:
    rounds = choose_rounds(run, given.round)
    if len(rounds) != 1 or not rounds[0].samples:
        raise ConfigurationError(
            expected("round", "one with samples", repr(given.round), "Name one, such as validate-0")
        )
    metadata = None if given.groups is None else read_metadata(given.groups)
    groupings, notices = group_round(run, rounds[0], metadata)
    rows = list_group_rows(groupings)
    _put(write_table(GROUP_COLUMNS, rows), given.out)
    told = [*notices, f"{len(rows)} groups.{f' Written: {given.out}' if given.out else ''}"]
    sys.stderr.writelines(f"{line}\n" for line in told)
    return 0


def _put(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_bytes(text.encode())

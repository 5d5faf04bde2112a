"""The command `vlmxai export`: what a filter of the gallery shows, for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from .errors import ConfigurationError, expected
from .records import Quadrant
from .report import FORMATS, SORTS, UNSCORED, Filters, find_run_dir, list_rows, read_run, write_rows


def make_export_parser() -> ArgumentParser:
    """Return the parser of the command."""
    parser = ArgumentParser(description="Write samples of a run for other programs.")
    parser.add_argument("run", type=Path, help="a run folder, or a log folder that holds one")
    parser.add_argument("--format", choices=list(FORMATS), default="csv", help="of what is written")
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
    text = write_rows(rows, given.format)
    if given.out is None:
        sys.stdout.write(text)
    else:
        given.out.write_bytes(text.encode())
    count = f"{len(rows)} sample{'' if len(rows) == 1 else 's'}, {named} with a known file"
    sys.stderr.write(f"{count}.{f' Written: {given.out}' if given.out else ''}\n")
    return 0

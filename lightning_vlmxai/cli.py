"""The command `vlmxai`: reports of runs, and what is done before one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from jsonargparse import ArgumentParser, Namespace

from .cli_agree import make_agree_parser, run_agree
from .cli_audit import make_audit_parser, run_audit
from .cli_batch import make_batch_parser, run_batch
from .cli_export import GROUPS_HELP, make_export_parser, run_export
from .cli_judge import make_judge_parser, run_judge
from .cli_labels import make_labels_parser, run_labels
from .errors import ConfigurationError, expected
from .report import (
    PictureCache,
    ReportServer,
    find_run_dir,
    is_run_dir,
    make_comparison,
    make_report,
    print_summary,
    say_comparison,
    write_comparison,
    write_report,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        arguments: Of the command line; the process's own if None.
    """
    options = _make_parser().parse_args(None if arguments is None else list(arguments))
    given = options[options.command]
    try:
        if options.command == "audit":
            return run_audit(given)
        if options.command == "judge":
            return run_judge(given)
        if options.command == "agree":
            return run_agree(given)
        if options.command == "export":
            return run_export(given)
        if options.command == "batch":
            return run_batch(given)
        if options.command == "labels":
            return run_labels(given)
        if options.command == "summary":
            print_summary(find_run_dir(given.run), groups=given.groups)
        elif given.watch:
            paths = [given.run, *given.others]
            watch(paths, given.port, given.out, rounds=given.rounds, groups=given.groups)
        else:
            _report(given)
    except ConfigurationError as error:
        _say(f"vlmxai: {error}", sys.stderr)
        return 2
    return 0


def _make_parser() -> ArgumentParser:
    parser = ArgumentParser(prog="vlmxai", description="Looks through runs of VLMExplainCallback.")
    commands = parser.add_subcommands(dest="command")
    report = ArgumentParser(description="Write one HTML page of a run, or of several side by side.")
    report.add_argument("run", type=Path, help="a run folder, or a log folder that holds one")
    report.add_argument(
        "others", type=Path, nargs="*", help="runs to compare with it, seven at most"
    )
    report.add_argument(
        "--rounds",
        type=list[str] | None,
        help='of each run in a comparison, as "[fit-3, fit-5]"; the last common epoch if not given',
    )
    report.add_argument("--out", type=Path, help="where the page goes; the run folder if not given")
    report.add_argument(
        "--embed",
        choices=("auto", "all"),
        default="auto",
        help="all: hold every picture, where a page of a large run refers to its folder",
    )
    report.add_argument(
        "--zip", action="store_true", help="a zip file of the page and its pictures, to be sent"
    )
    report.add_argument(
        "--watch", action="store_true", help="serve the page, and build it again as rounds arrive"
    )
    report.add_argument("--port", type=int, default=0, help="of --watch; any free one if 0")
    summary = ArgumentParser(description="Print a run's figures.")
    summary.add_argument("run", type=Path, help="a run folder, or a log folder that holds one")
    commands.add_subcommand("audit", make_audit_parser(), help="explain and judge a whole data set")
    for parser_of in (report, summary):
        parser_of.add_argument("--groups", type=Path, help=GROUPS_HELP)
    commands.add_subcommand("agree", make_agree_parser(), help="hold a judge to people's ratings")
    commands.add_subcommand("batch", make_batch_parser(), help="read the answers of a batch")
    commands.add_subcommand("export", make_export_parser(), help="write samples for other programs")
    commands.add_subcommand(
        "labels", make_labels_parser(), help="list the labels of an audit that are probably wrong"
    )
    commands.add_subcommand(
        "report", report, help="write a page of a run, or of several side by side"
    )
    commands.add_subcommand("summary", summary, help="print a run's figures")
    commands.add_subcommand("judge", make_judge_parser(), help="test a judge before a training")
    return parser


def _report(given: Namespace) -> None:
    found = [find_run_dir(path) for path in (given.run, *given.others)]
    how = {"embeds_all": given.embed == "all", "zips": given.zip}
    if len(found) > 1:
        if given.groups is not None:
            raise ConfigurationError(
                expected("groups", "of one run", f"{len(found)} runs", "Name one run folder")
            )
        for line in say_comparison(found, given.rounds):
            _say(line)
        written = write_comparison(found, given.out, given.rounds, **how)
    else:
        written = write_report(found[0], given.out, groups=given.groups, **how)
    _say(f"Written: {written}")


def watch(
    given: Sequence[Path],
    port: int,
    out: Path | None,
    stop: threading.Event | None = None,
    *,
    rounds: Sequence[str] | None = None,
    groups: Path | None = None,
) -> None:
    """Serve the page of one run or several until interrupted, then write it.

    Args:
        given: Run folders, or log folders in which one may still appear.
        port: On 127.0.0.1; any free one if 0.
        out: Of the page that is written at the end.
        stop: Ends the watch when set.
        rounds: Of each run in a comparison; the last common epoch if None.
        groups: A CSV file of what is known of each sample of one run.

    Raises:
        ConfigurationError: If a folder is not there, or the port can't be had.
    """
    for path in given:
        if not path.is_dir():
            find_run_dir(path)
    cache: PictureCache = {}

    def make(run_dirs: Sequence[Path], addresses: Sequence[str], build: str) -> str:
        if len(run_dirs) == 1:
            return make_report(run_dirs[0], addresses[0], cache=cache, build=build, groups=groups)
        return make_comparison(run_dirs, addresses, rounds=rounds, cache=cache, build=build)

    try:
        server = ReportServer(port, lambda: [_find_or_wait(path) for path in given], make)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            expected("port", "free on 127.0.0.1", f"{port} ({error})", "Pass --port 0 for any")
        ) from None
    _say(f"Serving {server.url} to this machine only; Ctrl-C ends it.")
    try:
        server.watch(stop or threading.Event())
    except KeyboardInterrupt:
        _say("")
    if all(is_run_dir(path) for path in server.run_dirs):
        found = server.run_dirs
        written = (
            write_comparison(found, out, rounds)
            if len(found) > 1
            else write_report(found[0], out, groups=groups)
        )
        _say(f"Written: {written}")


def _find_or_wait(path: Path) -> Path:
    try:
        return find_run_dir(path)
    except ConfigurationError:
        return path  # the callback makes the folder with its first round


def _say(line: str, file: TextIO | None = None) -> None:
    print(line, file=file or sys.stdout, flush=True)

"""`vlmxai batch read`: answers of a provider's batch, or of an offline engine, into an audit."""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from .errors import ConfigurationError, expected
from .judges import BATCH_PRICE, copy_requests, find_request_files, price_of, read_results
from .report import find_run_dir, print_summary, write_report
from .sinks import Filled, close_again, fill_answers, read_settings


def make_batch_parser() -> ArgumentParser:
    """Return the parser of the command's own given."""
    read = ArgumentParser(
        description="Read files of a batch's results, in any order, in parts or again, into the "
        "audit that wrote the requests."
    )
    read.add_argument("what", choices=["read"], help="what is done")
    read.add_argument("run", type=Path, help="run folder of the audit")
    read.add_argument("results", type=Path, nargs="+", help="files that the batch endpoint gave")
    read.add_argument("--retry-out", type=Path, help="write what has no score yet as requests")
    read.add_argument(
        "--requests", type=list[Path] | None, help="where the requests are, if they were moved"
    )
    read.add_argument(
        "--price",
        type=list[float] | None,
        help='of a live call: dollars per million tokens of prompt and answer, "[0.15, 0.6]"',
    )
    read.add_argument(
        "--price-factor", type=float, default=BATCH_PRICE, help="of a batch over live calls"
    )
    return read


def run_batch(given: Namespace) -> int:
    """Read results, print what became of the audit, and return the exit status.

    Args:
        given: Options of `make_batch_parser`.

    Raises:
        ConfigurationError: If the folder holds no audit, or a file can't be read.
    """
    run_dir = find_run_dir(given.run)
    settings = read_settings(run_dir)
    if settings.get("kind") != "audit":
        raise ConfigurationError(
            expected("run", "the folder of an audit", run_dir, "Pass the audit's --out")
        )
    for path in given.results:
        if not path.is_file():
            raise ConfigurationError(
                expected("results", "files of results", path, "Download the batch's output file")
            )
    model = str(settings.get("judge", "")).partition(" (")[0]
    price = price_of(model, {model: given.price} if given.price else {})
    results = read_results(given.results, price=price, factor=given.price_factor)
    filled = fill_answers(run_dir, results, threshold=float(settings.get("threshold", 2.5)))
    for line in _tell(filled, results.repeated, results.broken):
        _say(line)
    if given.retry_out is not None:
        _retry(filled, given.retry_out, given.requests or _requests_of(settings))
    close_again(run_dir)
    written = write_report(run_dir)
    print_summary(run_dir, report=written)
    return 0


def _tell(filled: Filled, repeated: int, broken: int) -> list[str]:
    lines = [f"{filled.scored:,} samples have a score now; {filled.before:,} had one before."]
    if filled.failed:
        of = ", ".join(f"{count:,} {reason}" for reason, count in filled.failed.most_common())
        lines.append(f"{filled.failed.total():,} have an answer without a score: {of}.")
    if filled.missing:
        lines.append(f"{filled.missing:,} wait on: their answers are in none of these files.")
    beside = [
        (repeated, "results came again"),
        (broken, "lines are no result"),
        (filled.unknown, "results are of questions that this audit didn't ask"),
    ]
    lines += [f"{count:,} {what} and were left out." for count, what in beside if count]
    return lines


def _retry(filled: Filled, out: Path, sources: list[Path]) -> None:
    there = [path for path in sources if path.is_file()]
    if any(path.resolve() == out.resolve() for path in there):
        raise ConfigurationError(
            expected(
                "retry_out", "another file than the requests'", out, "Pass --retry-out x.jsonl"
            )
        )
    found = copy_requests(there, filled.open_keys, out)
    lost = len(filled.open_keys) - len(found)
    _say(f"{len(found):,} requests are in {out}, for a further batch.")
    if lost:
        raise ConfigurationError(
            expected(
                "requests",
                "the files that the audit wrote",
                f"{lost:,} questions in none of {', '.join(map(str, sources)) or 'no file'}",
                "Pass --requests '[FILE, ...]'",
            )
        )


def _requests_of(settings: dict[str, object]) -> list[Path]:
    first = settings.get("requests")
    return find_request_files(Path(first)) if isinstance(first, str) else []


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")

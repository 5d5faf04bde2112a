"""`python tests/projects/table.py` puts the callback into every project; prints what comes."""

from __future__ import annotations

import importlib.util
import io
import logging
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from projects import dense, plain, refused, streams, with_libraries
from projects.base import Outcome, Project, try_out

Make = Callable[[], Project]


def all_projects() -> Iterator[tuple[Make, tuple[str, ...]]]:
    """Yield each project's maker, and the packages that it needs."""
    for make in (*plain.PROJECTS, *refused.PROJECTS):
        yield make, ("pytorch_lightning",) if make is refused.older_package else ()
    yield from with_libraries.LIBRARIES
    yield from streams.LIBRARIES
    yield from dense.LIBRARIES


def is_installed(packages: tuple[str, ...]) -> bool:
    """Return whether all of them are there."""
    return all(importlib.util.find_spec(package) for package in packages)


def describe(name: str, outcome: Outcome) -> str:
    """Return a row of the table."""
    figures = ""
    if outcome.explained is not None and outcome.counted is not None:
        figures = f"{outcome.explained:.3f} / {outcome.counted:.3f}"
    cells = [
        name,
        outcome.state,
        outcome.words or "-",
        figures or "-",
        "-" if outcome.colours is None else f"{outcome.colours:.1f}",
        "-" if outcome.changed is None else f"{outcome.changed:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(names: list[str]) -> int:
    """Print the table; return 1 if anything is wrong."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    print(
        "| project | outcome | arguments, or the message | explained / counted | colours | harm |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for make, packages in all_projects():
        if names and make.__name__ not in names:
            continue
        if not is_installed(packages):
            print(f"| {make.__name__} | not tried | needs {', '.join(packages)} | - | - | - |")
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                with redirect_stdout(io.StringIO()):
                    outcome = try_out(make, Path(folder))
            except Exception as error:
                outcome = Outcome(state="WRONG", words=f"{type(error).__name__}: {error}")
        counts[outcome.state] += 1
        print(describe(make.__name__, outcome), flush=True)
        for line in outcome.warned:
            print(f"| | told | {line} | | | |")
    print(", ".join(f"{state}: {count}" for state, count in counts.items()))
    return int(counts["WRONG"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

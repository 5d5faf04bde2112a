"""Two runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..records import Quadrant
from ..rounds import Interval
from .figures import (
    Figures,
    count_classes,
    count_round,
    newcombe_interval,
    rate_difference,
)
from .html import NAMES, NOTHING, SHORT, render_page, show_value, write_page
from .page import (
    PICTURE_SIDE,
    SALIENCY_SIDE,
    describe_figures,
    describe_quadrants,
    name_run,
    note_pictures,
    pack_samples,
)
from .pictures import PictureCache, Wanted, address_of, load_pictures
from .reader import Run, RunRound, RunSample, read_run
from .text import one_line

SCRIPTS = ("dom.js", "chart.js", "compare.js")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A rate in two runs. `value` is the second less the first."""

    name: str
    short: str
    first: Figures
    second: Figures
    quadrant: Quadrant

    @property
    def value(self) -> float | None:
        """The difference; None where a run has no denominator."""
        return rate_difference(self.first, self.second, self.quadrant)

    @property
    def ends(self) -> Interval | None:
        """Its 95 % interval."""
        return newcombe_interval(self.first, self.second, self.quadrant)


def write_comparison(first: Path, second: Path, out: Path | None = None) -> Path:
    """Write one page with two runs side by side and return its path.

    Args:
        first: Run folder A.
        second: Run folder B.
        out: Of the page; `comparison.html` in A if None.
    """
    out = out or first / "comparison.html"
    addresses = (address_of(first, out), address_of(second, out))
    return write_page(make_comparison(first, second, addresses), out)


def make_comparison(
    first: Path,
    second: Path,
    addresses: tuple[str, str],
    *,
    cache: PictureCache | None = None,
    build: str | None = None,
) -> str:
    """Return the comparison of two run folders as HTML.

    Args:
        first: Run folder A.
        second: Run folder B.
        addresses: Of the two, from the page.
        cache: Pictures of an earlier build.
        build: Name of this build, if the page shall look for newer ones.
    """
    runs = (read_run(first), read_run(second))
    last = tuple(_last_judged(run) for run in runs)
    figures = tuple(count_round(of) if of else _NONE for of in last)
    pairs = _differing(*last)
    sources: list[str] = []
    tables: list[dict[str, Any]] = []
    notices: list[str] = []
    for side, (run, address) in enumerate(zip(runs, addresses, strict=True)):
        samples = [pair[side] for pair in pairs]
        pictures = load_pictures(run.path, address, _list_pictures(samples), cache)
        numbers = {path: len(sources) + i for i, path in enumerate(pictures.sources)}
        sources += pictures.sources.values()
        tables.append(
            pack_samples(samples, {of.key: i for i, of in enumerate(run.rounds)}, numbers)
        )
        letter = "AB"[side]
        notices += [f"{letter}: {note}" for note in (*run.notices, *note_pictures(pictures))]
    return render_page(
        "compare.html",
        scripts=SCRIPTS,
        data={
            "quadrants": describe_quadrants(),
            "curves": [
                [{"number": of.number, **describe_figures(count_round(of))} for of in run.curve]
                for run in runs
            ],
            "tables": tables,
        },
        pictures=sources,
        build=build,
        names=[name_run(run) for run in runs],
        warnings=_warn(runs, last),
        notices=notices,
        settings=_differing_settings(runs),
        last=last,
        figures=figures,
        matrix=[
            Difference(
                name=NAMES[q], short=SHORT[q], first=figures[0], second=figures[1], quadrant=q
            )
            for q in Quadrant
        ],
        classes=_compare_classes(*last),
        shared=_count_shared(*last),
    )


_NONE = Figures(probes=0, counts={}, average_score=None)


def _last_judged(run: Run) -> RunRound | None:
    return next((of for of in reversed(run.curve) if count_round(of).judged), None)


def _differing(
    first: RunRound | None, second: RunRound | None
) -> list[tuple[RunSample, RunSample]]:
    """Return the samples of probes that both rounds judged, with different quadrants."""
    if first is None or second is None:
        return []
    of_probe = {sample.place: sample for sample in second.samples}
    pairs = [(a, of_probe[a.place]) for a in first.samples if a.place in of_probe]
    return [(a, b) for a, b in pairs if a.quadrant and b.quadrant and a.quadrant != b.quadrant]


def _count_shared(first: RunRound | None, second: RunRound | None) -> int:
    if first is None or second is None:
        return 0
    return len({s.probe for s in first.samples} & {s.probe for s in second.samples})


def _list_pictures(samples: Sequence[RunSample]) -> list[Wanted]:
    return [
        wanted
        for s in samples
        for wanted in (
            Wanted(s.image, PICTURE_SIDE),
            Wanted(s.picture, PICTURE_SIDE),
            Wanted(s.saliency, SALIENCY_SIDE),
        )
    ]


def _warn(runs: tuple[Run, Run], last: tuple[RunRound | None, ...]) -> list[str]:
    """Return what makes the two runs hard to compare."""
    a, b = (one_line(run.fingerprint) or "unknown" for run in runs)
    warnings = []
    if a != b or a == "unknown":
        warnings.append(
            f"The two runs were not explained on the same samples: the fingerprint of A's probes "
            f"is {a}, that of B's {b}. Probes are matched by their index only."
        )
    for letter, of in zip("AB", last, strict=True):
        if of is None:
            warnings.append(f"{letter} has no round with a judged sample.")
    return warnings


def _differing_settings(runs: tuple[Run, Run]) -> list[tuple[str, str, str]]:
    first, second = (run.settings for run in runs)
    return [
        (
            one_line(name),
            show_value(first[name]) if name in first else NOTHING,
            show_value(second[name]) if name in second else NOTHING,
        )
        for name in sorted({*first, *second})
        if (name in first, first.get(name)) != (name in second, second.get(name))
    ]


def _compare_classes(first: RunRound | None, second: RunRound | None) -> list[Difference]:
    """Return the Correct-Low rate of each true class, the largest difference first."""
    if first is None or second is None:
        return []
    a, b = count_classes(first.samples), count_classes(second.samples)
    low = Quadrant.CORRECT_LOW
    rows = [
        Difference(
            name=name,
            short=SHORT[low],
            first=a.get(name, _NONE),
            second=b.get(name, _NONE),
            quadrant=low,
        )
        for name in {**a, **b}
    ]
    return sorted(rows, key=lambda row: (-abs(row.value or 0.0), row.value is None, row.name))

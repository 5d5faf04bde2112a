"""Runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, expected
from .contrast import (
    Contrast,
    Share,
    contrast_classes,
    contrast_figures,
    differing,
    say_contrast,
)
from .figures import count_round
from .html import NOTHING, render_page, show_value, write_page
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
from .reader import read_run
from .run import Run, RunRound, RunSample
from .sending import write_zip
from .text import one_line

SCRIPTS = ("dom.js", "chart.js", "compare.js")
LETTERS = "ABCDEFGH"
"""What runs are called on the page; there are no more."""


@dataclass(frozen=True)
class View:
    """A round of each run, to be held against the first one's.

    Args:
        key: In the page's address.
        name: For a person.
        rounds: One of each run.
    """

    key: str
    name: str
    rounds: tuple[RunRound, ...]

    @cached_property
    def contrasts(self) -> list[tuple[list[Contrast], list[Contrast]]]:
        """Figures and classes of the first run with each further one."""
        first, *others = self.rounds
        return [(contrast_figures(first, own), contrast_classes(first, own)) for own in others]

    def sentences(self) -> list[str]:
        """Return what differs beyond chance, the most important first."""
        return [
            line
            for letter, (figures, classes) in zip(LETTERS[1:], self.contrasts, strict=False)
            for line in say_contrast(figures, classes, ("A", letter))
        ]


def write_comparison(
    run_dirs: Sequence[Path],
    out: Path | None = None,
    rounds: Sequence[str] | None = None,
    *,
    embeds_all: bool = False,
    zips: bool = False,
) -> Path:
    """Write one page with runs side by side and return its path.

    Args:
        run_dirs: Run folders A, B and so on; two to eight.
        out: Of the page; `comparison.html` in A if None.
        rounds: Of each run, as "fit-3"; the last epoch that all judged if None.
        embeds_all: Hold every picture, as in `write_report`.
        zips: Write a zip file, as in `write_report`.

    Raises:
        ConfigurationError: For more runs, or a round that a run has not.
    """
    if zips:
        folders = dict(zip(LETTERS, run_dirs, strict=False))
        page = make_comparison(run_dirs, list(folders), rounds=rounds, embeds_all=embeds_all)
        out = out or run_dirs[0] / "comparison.zip"
        return write_zip(page, "comparison.html", folders, out)
    out = out or run_dirs[0] / "comparison.html"
    addresses = [address_of(path, out) for path in run_dirs]
    page = make_comparison(run_dirs, addresses, rounds=rounds, embeds_all=embeds_all)
    return write_page(page, out)


def say_comparison(run_dirs: Sequence[Path], rounds: Sequence[str] | None = None) -> list[str]:
    """Return the first lines of the page of `write_comparison`, for a terminal."""
    runs = _read(run_dirs)
    views = _list_views(runs, rounds)
    said = views[0].sentences() if views else ["No two of these rounds can be compared."]
    at = f"At {views[0].name}. " if views else ""
    return [f"{at}{said[0]}", *said[1:], *_warn(runs, views)]


def make_comparison(
    run_dirs: Sequence[Path],
    addresses: Sequence[str],
    *,
    rounds: Sequence[str] | None = None,
    cache: PictureCache | None = None,
    build: str | None = None,
    embeds_all: bool = False,
) -> str:
    """Return the comparison of run folders as HTML.

    Args:
        run_dirs: Run folders A, B and so on.
        addresses: Of these, from the page.
        rounds: As of `write_comparison`.
        cache: Pictures of an earlier build.
        build: Name of this build, if the page shall look for newer ones.
        embeds_all: Hold every picture.
    """
    runs = _read(run_dirs)
    views = _list_views(runs, rounds)
    parted = [differing(*view.rounds) if len(runs) == 2 else [] for view in views]
    sources: list[str] = []
    tables: list[dict[str, Any]] = []
    notices: list[str] = []
    places: list[dict[int, int]] = []
    for side, (run, address) in enumerate(zip(runs, addresses, strict=True)):
        unique = {id(pair[side]): pair[side] for pairs in parted for pair in pairs}
        samples = list(unique.values()) if len(runs) == 2 else []
        places.append({key: i for i, key in enumerate(unique)})
        pictures = load_pictures(
            run.path, address, _list_pictures(samples), cache, embeds_all=embeds_all
        )
        numbers = {path: len(sources) + i for i, path in enumerate(pictures.sources)}
        sources += pictures.sources.values()
        tables.append(
            pack_samples(samples, {of.key: i for i, of in enumerate(run.rounds)}, numbers, run)
        )
        letter = LETTERS[side]
        notices += [f"{letter}: {note}" for note in (*run.notices, *note_pictures(pictures))]
    return render_page(
        "compare.html",
        scripts=SCRIPTS,
        data={
            "quadrants": describe_quadrants(),
            "letters": LETTERS[: len(runs)],
            "curves": [[_describe_point(of, run.threshold) for of in run.curve] for run in runs],
            "tables": tables,
            "views": [
                {
                    **_describe_view(view),
                    "differ": [[places[0][id(a)], places[1][id(b)]] for a, b in pairs],
                }
                for view, pairs in zip(views, parted, strict=True)
            ],
        },
        pictures=sources,
        build=build,
        names=[name_run(run) for run in runs],
        letters=LETTERS,
        warnings=_warn(runs, views),
        notices=notices,
        settings=_differing_settings(runs),
        sentences=views[0].sentences() if views else [],
        view=views[0].name if views else "",
    )


def _read(run_dirs: Sequence[Path]) -> list[Run]:
    if not 2 <= len(run_dirs) <= len(LETTERS):
        raise ConfigurationError(
            expected("runs", f"two to {len(LETTERS)} of them", str(len(run_dirs)), "Pass fewer")
        )
    return [read_run(path) for path in run_dirs]


def _list_views(runs: Sequence[Run], rounds: Sequence[str] | None) -> list[View]:
    """Return the rounds that can be held against each other, the one to begin with first.

    Those are rounds of the same epoch (of the same number, where a folder tells no epoch), the
    newest first, then the last round of each.
    """
    views = []
    if rounds:
        if len(rounds) != len(runs):
            want = f"{len(runs)} rounds, one of each run"
            raise ConfigurationError(
                expected("--rounds", want, str(len(rounds)), 'Pass --rounds "[fit-3, fit-3]"')
            )
        chosen = tuple(_find(run, key) for run, key in zip(runs, rounds, strict=True))
        views.append(_view("chosen", chosen))
    judged = [[of for of in run.curve if count_round(of).is_told] for run in runs]
    if not all(judged):
        return views
    by_time = [{_time(of): of for of in own} for own in judged]
    shared = sorted(set.intersection(*map(set, by_time)), reverse=True)
    views += [
        View(f"{word.replace('round', 'r').replace('epoch', 'e')}{n}", f"{word} {n}", tuple(r))
        for word, n in shared
        for r in [[own[word, n] for own in by_time]]
    ]
    last = tuple(own[-1] for own in judged)
    if not any(view.rounds == last for view in views):
        views.append(_view("last", last))
    return views


def _view(key: str, rounds: tuple[RunRound, ...]) -> View:
    told = ", ".join(
        f"{letter} {of.stage} {of.number}"
        + (f" (epoch {of.epoch})" if of.epoch is not None else "")
        for letter, of in zip(LETTERS, rounds, strict=False)
    )
    return View(key, f"{key} rounds: {told}", rounds)


def _find(run: Run, key: str) -> RunRound:
    found = next((of for of in run.rounds if of.key == key), None)
    if found is None:
        keys = ", ".join(of.key for of in run.rounds[:40]) or "none"
        want = f"a round of {run.path}: {keys}"
        raise ConfigurationError(expected("--rounds", want, repr(key), "Pass one of these"))
    return found


def _time(of: RunRound) -> tuple[str, int]:
    return ("round", of.number) if of.epoch is None else ("epoch", of.epoch)


def _describe_point(of: RunRound, threshold: float) -> dict[str, Any]:
    figures = describe_figures(count_round(of, threshold))
    return {"number": of.number, "epoch": of.epoch, **figures}


def _describe_view(view: View) -> dict[str, Any]:
    contrasts = view.contrasts
    scores = [count_round(of).average_score for of in view.rounds]
    return {
        "key": view.key,
        "name": view.name,
        "sentences": view.sentences(),
        "figures": _describe_rows([figures for figures, _ in contrasts]),
        "classes": _describe_rows([_in_order(rows, contrasts[0][1]) for _, rows in contrasts]),
        "scores": scores,
    }


def _in_order(rows: list[Contrast], like: list[Contrast]) -> list[Contrast]:
    """Return the classes of one pair of runs in the order of the first pair's."""
    place = {row.name: i for i, row in enumerate(like)}
    return sorted(rows, key=lambda row: place.get(row.name, len(place)))


def _describe_rows(columns: Sequence[Sequence[Contrast]]) -> list[dict[str, Any]]:
    """Return a row for each name: the share in each run, the difference from the first run's."""
    names = list(dict.fromkeys(row.name for column in columns for row in column))
    found = [{row.name: row for row in column} for column in columns]
    rows = []
    for name in names:
        of = [column.get(name) for column in found]
        first = next(row.first for row in of if row is not None)
        rows.append(
            {
                "name": name,
                "shares": [_describe_share(first)]
                + [_describe_share(row.second) if row else None for row in of],
                "differences": [
                    None
                    if row is None or row.value is None
                    else {
                        "value": row.value,
                        "ends": row.ends,
                        "p": row.adjusted,
                        "shared": row.shared,
                        "sure": row.is_sure,
                    }
                    for row in of
                ],
            }
        )
    return rows


def _describe_share(share: Share) -> list[Any]:
    return [share.count, share.total, share.rate, share.ends]


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


def _warn(runs: Sequence[Run], views: Sequence[View]) -> list[str]:
    """Return what makes runs hard to compare."""
    prints = [one_line(run.fingerprint) or "unknown" for run in runs]
    warnings = []
    if len(set(prints)) > 1 or "unknown" in prints:
        told = ", ".join(f"{letter} {own}" for letter, own in zip(LETTERS, prints, strict=False))
        warnings.append(
            "The runs were not explained on the same samples: the fingerprints of their probes are "
            f"{told}. Rates are compared as those of different samples (Fisher, Newcombe)."
        )
    for letter, run in zip(LETTERS, runs, strict=False):
        if not any(count_round(of).is_told for of in run.curve):
            warnings.append(f"{letter} has no round with a judged sample.")
    for letter, run in zip(LETTERS, runs, strict=False):
        if any(s.inclusion < 1 for of in run.curve for s in of.samples):
            warnings.append(
                f"{letter} did not judge all probes in each round: shares count verdicts as they "
                "stand, some of earlier rounds; its own report has the estimated rates."
            )
    if views and len({_time(of) for of in views[0].rounds}) > 1 and views[0].key == "last":
        warnings.append(f"The runs have no judged epoch in common: these are {views[0].name}.")
    return warnings


def _differing_settings(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    settings = [run.settings for run in runs]
    return [
        (
            one_line(name),
            [show_value(own[name]) if name in own else NOTHING for own in settings],
        )
        for name in sorted({name for own in settings for name in own} - {"map_health"})
        if any(
            (name in own, own.get(name)) != (name in settings[0], settings[0].get(name))
            for own in settings[1:]
        )
    ]

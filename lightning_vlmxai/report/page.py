"""The report of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..records import Quadrant
from ..rounds import LETTERS, MEANINGS, NAMES
from .agreements import load_agreements
from .asked import describe_asked
from .corrected import correct_run, describe_corrected
from .export import describe_exports
from .figures import Cost, Figures, add_costs, count_classes, count_round
from .findings import describe_findings
from .grouping import describe_grouped
from .html import render_page, show_dollars, show_value, write_page
from .metadata import read_metadata
from .outlines import describe_outlines
from .pictures import PictureCache, Pictures, Wanted, address_of, load_pictures
from .rating import describe_draws
from .ratings import load_ratings
from .reader import read_run
from .run import Run, RunRound, RunSample
from .sending import write_zip
from .shortcuts import describe_shortcuts, shortcut_pictures
from .text import one_line
from .values import text

SCRIPTS = (
    "dom.js",
    "chart.js",
    "people.js",
    "counting.js",
    "finding.js",
    "groups.js",
    "audit.js",
    "overview.js",
    "export.js",
    "gallery.js",
    "changes.js",
    "asked.js",
    "shortcuts.js",
    "probe.js",
    "rate.js",
    "main.js",
)
PICTURE_SIDE, SALIENCY_SIDE = 288, 112
"""Longest sides of embedded pictures in pixels; a saliency map is smooth and needs few."""

FACTS = (
    ("judge", "Judge"),
    ("method", "Method"),
    ("target_layer", "Target layer"),
    ("task", "Task"),
    ("prompt_version", "Prompt"),
    ("alpha", "Alpha"),
    ("beta", "Beta"),
    ("fill", "Fill"),
    ("threshold", "High from score"),
    ("lag", "Lag"),
    ("judged_share", "Judged share"),
)
"""Settings that a report's head shows, where the run's file has them."""


def write_report(
    run_dir: Path,
    out: Path | None = None,
    *,
    embeds_all: bool = False,
    zips: bool = False,
    groups: Path | None = None,
) -> Path:
    """Write the report of a run folder and return its path.

    The report is one HTML file that needs no network. What is missing in the folder is said on
    the page.

    Args:
        run_dir: With `rounds.jsonl`, `samples.jsonl`, `run.json` and `images/`, as far as they are
            there.
        out: Of the page; `report.html` in the run folder if None.
        embeds_all: Hold every picture, however large the page gets; by default the page refers to
            the run folder's beyond 4,000 pictures or 24 MB.
        zips: Write a zip file of the page and the pictures that it refers to.
        groups: A CSV file of what is known of each sample, by `file`, `path` or `sample`.

    Raises:
        ConfigurationError: If `groups` is no such file, or fits no sample.
    """
    if zips:
        page = make_report(run_dir, "run", embeds_all=embeds_all, groups=groups)
        out = out or run_dir / "report.zip"
        return write_zip(page, "report.html", {"run": run_dir}, out)
    out = out or run_dir / "report.html"
    page = make_report(run_dir, address_of(run_dir, out), embeds_all=embeds_all, groups=groups)
    return write_page(page, out)


def make_report(
    run_dir: Path,
    address: str,
    *,
    cache: PictureCache | None = None,
    build: str | None = None,
    embeds_all: bool = False,
    groups: Path | None = None,
) -> str:
    """Return the report of a run folder as HTML.

    Args:
        run_dir: The run folder.
        address: Of the run folder, from the page: where the pictures are that it does not hold.
        cache: Pictures of an earlier build.
        build: Name of this build, if the page shall look for newer ones.
        embeds_all: Hold every picture.
        groups: A CSV file of what is known of each sample.
    """
    metadata = None if groups is None else read_metadata(groups)
    run = read_run(run_dir)
    samples = [sample for of in run.rounds for sample in of.samples]
    pictures = load_pictures(run_dir, address, _rank_pictures(run), cache, embeds_all=embeds_all)
    numbers = {path: number for number, path in enumerate(pictures.sources)}
    figures = {of.key: count_round(of, run.threshold) for of in run.rounds}
    ratings, unread = load_ratings(run)
    corrected = correct_run(run, ratings)
    grouped = describe_grouped(run, metadata)
    findings = describe_findings(run)
    alarms = sum(bool(of["alarm"] and of["shown"]) for of in findings)
    return render_page(
        "report.html",
        scripts=SCRIPTS,
        data={
            "rounds": [
                _describe_round(of, figures[of.key], is_audit=run.is_audit, threshold=run.threshold)
                for of in run.rounds
            ],
            "curve": [run.rounds.index(of) for of in run.curve],
            **pack_samples(samples, {of.key: i for i, of in enumerate(run.rounds)}, numbers, run),
            "rate": describe_draws(run, numbers, {id(s): i for i, s in enumerate(samples)}),
            "corrected": describe_corrected(corrected),
            "watched": _list_watched(run),
            "findings": [*findings[:alarms], *grouped.findings, *findings[alarms:]],
            "exports": describe_exports(run),
            "asked": describe_asked(run),
            "outlines": describe_outlines(run_dir, samples, numbers),
            "shortcuts": describe_shortcuts(run, numbers, address),
            "isAudit": run.is_audit,
            "grouped": grouped.columns,
        },
        pictures=list(pictures.sources.values()),
        build=build,
        title=name_run(run),
        run=run,
        facts=list_facts(run),
        notices=[
            *note_doubts(run),
            *run.notices,
            *unread,
            *grouped.notices,
            *note_pictures(pictures),
        ],
        corrected=corrected,
        agreements=load_agreements(run),
        rounds=[(of, figures[of.key], add_costs(of.samples)) for of in run.rounds],
        total=add_costs(samples),
    )


def name_run(run: Run) -> str:
    """Return what a page calls a run: its model and its folder."""
    folder = "/".join(part.strip("/") for part in run.path.resolve().parts[-3:])
    model = run.settings.get("model")
    return one_line(f"{model} · {folder}" if model else folder, 160)


def list_facts(run: Run) -> list[tuple[str, str]]:
    """Return how a run was made, as names and values for a page's head."""
    facts = [(name, show_value(run.settings[key])) for key, name in FACTS if key in run.settings]
    name = "Samples" if run.is_audit else "Probes"
    health = run.settings.get("map_health")
    told = one_line(text(health.get("text")), 900) if isinstance(health, dict) else ""
    return [
        *facts,
        *([(name, f"{run.curve[-1].probes:,}")] if run.curve else []),
        *([("Maps", told)] if told else []),
    ]


def _list_watched(run: Run) -> list[str]:
    """Return the names of the classes that the run was told to watch."""
    watched = run.settings.get("watch_classes")
    return [one_line(str(name), 200) for name in watched] if isinstance(watched, list) else []


def note_doubts(run: Run) -> list[str]:
    """Return notices of what the run itself doubted of its maps."""
    doubts = run.settings.get("doubts")
    lines = doubts if isinstance(doubts, list) else []
    return [one_line(f"Told while it ran: {line}", 600) for line in lines if isinstance(line, str)]


def note_pictures(pictures: Pictures) -> list[str]:
    """Return notices of pictures that a page does not hold."""
    notices = []
    if pictures.missing:
        notices.append(f"{pictures.missing:,} pictures are missing or can't be read.")
    if pictures.referred:
        notices.append(
            f"{pictures.referred:,} pictures are not in this file but are read from the run "
            "folder: keep the two together, or make a file to send: vlmxai report RUN --zip"
        )
    return notices


def _rank_pictures(run: Run) -> list[Wanted]:
    """Return every picture, the most wanted first: whole ones, then the newest rounds'."""
    newest = sorted(run.rounds, key=lambda of: (of.stage == "fit", of.number), reverse=True)
    newest = [of for of in newest if of.samples]
    samples = [sample for of in newest for sample in of.samples]
    whole = [Wanted(sample.picture, PICTURE_SIDE) for sample in samples]
    changed = [Wanted(path, PICTURE_SIDE) for path in shortcut_pictures(run)]
    return [*whole, *changed] + [
        wanted
        for sample in samples
        for wanted in (
            Wanted(sample.image, PICTURE_SIDE),
            Wanted(sample.saliency, SALIENCY_SIDE),
        )
    ]


def describe_figures(figures: Figures) -> dict[str, Any]:
    """Return figures as a page's scripts read them; rates and intervals by quadrant."""
    return {
        "probes": figures.probes,
        "judged": figures.judged,
        "counts": [figures.counts.get(q, 0) for q in Quadrant],
        "rates": [figures.rate(q) for q in Quadrant],
        "intervals": [figures.interval(q) for q in Quadrant],
        "score": figures.average_score,
        "coverage": figures.coverage,
        "accuracy": figures.accuracy,
        "drift": figures.attention_drift,
        "askedAgain": figures.asked_again,
        "borderline": figures.borderline,
        "partly": figures.partly,
        "scored": figures.scored,
        "high": figures.high,
        "low": figures.low_interval,
        "kept": figures.kept,
    }


def describe_quadrants() -> list[dict[str, str]]:
    """Return the quadrants as a page's scripts read them."""
    return [
        {"id": q.value, "short": LETTERS[q], "name": NAMES[q], "means": MEANINGS[q]}
        for q in Quadrant
    ]


def _describe_round(
    of: RunRound, figures: Figures, *, is_audit: bool, threshold: float
) -> dict[str, Any]:
    return {
        "key": one_line(of.key),
        "stage": one_line(of.stage),
        "number": of.number,
        "epoch": of.epoch,
        "step": of.step,
        "fingerprint": one_line(of.fingerprint),
        **describe_figures(figures),
        **({"classes": _describe_classes(of, threshold)} if figures.answered is not None else {}),
        **({"cost": _describe_cost(add_costs(of.samples))} if is_audit else {}),
    }


def _describe_classes(of: RunRound, threshold: float) -> dict[str, Any]:
    """Return the estimates of each class, which a page can't count from its samples."""
    classes = count_classes(of.samples, threshold)
    return {name: describe_figures(own) for name, own in classes.items()}


def _describe_cost(cost: Cost) -> dict[str, Any]:
    return {
        "told": show_dollars(cost.cost_usd),
        "calls": cost.calls,
        "tokens": cost.tokens,
        "reasons": dict(cost.reasons),
    }


def pack_samples(
    samples: Sequence[RunSample],
    rounds: Mapping[str, int],
    pictures: Mapping[str, int],
    run: Run,
) -> dict[str, Any]:
    """Return samples as columns, with each text once.

    Args:
        samples: To pack.
        rounds: Key of a round to its number in the page.
        pictures: Path of a picture to its number in the page.
        run: Whose samples they are.
    """
    texts: dict[str, int] = {"": 0}
    order = list(Quadrant)

    def text(value: str) -> int:
        return texts.setdefault(value, len(texts))

    columns: dict[str, list[Any]] = {
        "round": [rounds[f"{s.stage}-{s.number}"] for s in samples],
        "quadrant": [None if s.quadrant is None else order.index(s.quadrant) for s in samples],
        "confidence": [None if s.confidence is None else round(s.confidence, 4) for s in samples],
        "drift": [
            None if s.attention_drift is None else round(s.attention_drift, 4) for s in samples
        ],
        "correct": [s.is_correct for s in samples],
        "cached": [int(s.is_cached) for s in samples],
        "reused": [int(s.is_reused) for s in samples],
        "late": [s.late_score for s in samples],
        "cost": [s.cost_usd for s in samples],
        "latency": [s.latency_s for s in samples],
        "borderline": [None if s.is_borderline is None else int(s.is_borderline) for s in samples],
    }
    for name in ("probe", "part", "score", "spread", "calls", "tokens"):
        columns[name] = [getattr(s, name) for s in samples]
    for name, field in _TEXTS.items():
        columns[name] = [text(getattr(s, field)) for s in samples]
    if any(s.words for s in samples):
        columns["carry"] = [
            [[text(word), float(f"{value:.3g}")] for word, value in s.words] or None
            for s in samples
        ]
    if any(s.attends_to for s in samples):
        columns["seen"] = [
            [[text(what), is_part] for what, is_part in s.attends_to] or None for s in samples
        ]
    for name in ("image", "saliency", "picture"):
        columns[name] = [pictures.get(getattr(s, name)) for s in samples]
    return {
        "quadrants": describe_quadrants(),
        "threshold": run.threshold,
        "samples": columns,
        "texts": list(texts),
        "textColumns": list(_TEXTS),
        "pictureColumns": ["image", "saliency", "picture"],
    }


_TEXTS = {
    "label": "label_name",
    "prediction": "prediction_name",
    "reason": "reason",
    "partly": "partly",
    "detail": "detail",
    "file": "file",
    "evaluation": "evaluation",
    "justification": "justification",
}

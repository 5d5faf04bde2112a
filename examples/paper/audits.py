"""What the scripts share that run `vlmxai audit` several times on the same pictures."""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from lightning_vlmxai.trust import Agreed, agreement
from published import SOURCE, console, say_machine, stop

AUDIT = "import sys; from lightning_vlmxai.cli import main; sys.exit(main())"
REFERENCES = ("iou", "dice", "pixel_accuracy")
"""What a kept region is held to the object's mask by; of two binary masks F1 is Dice."""
Audited = Mapping[str, Mapping[str, Any]]
"""Key of a picture to its line in `samples.jsonl`."""


def run_audit(options: Sequence[str], out: Path) -> Audited:
    """Run `vlmxai audit`, or go on with it, and return what it found."""
    command = [sys.executable, "-c", AUDIT, "audit", *options, "--out", str(out)]
    done = subprocess.run(command, check=False)  # noqa: S603 - our own command
    if done.returncode:
        print(f"The audit in {out} ended; the same command goes on.", file=sys.stderr)
        raise SystemExit(done.returncode)
    return read_audit(out)


def run_rows(
    rows: Mapping[str, Sequence[str]], root: Path
) -> tuple[dict[str, Audited], dict[str, str]]:
    """Audit once a row, in a folder of its own; return what each found, and each one's judge.

    Args:
        rows: Options of `vlmxai audit` by the row's name.
        root: Holds the folders.
    """
    audits, judges = {}, {}
    for name, options in rows.items():
        out = root / folder_name(name)
        audits[name] = run_audit(options, out)
        judges[name] = judge_of(out)
    return audits, judges


def model_options(model: str) -> list[str]:
    """Return the options of NAME or NAME=WEIGHTS; a model of one's own needs no weights.

    Example:
        >>> model_options("resnet18"), model_options("my_models.load")
        (['--model', 'resnet18', '--weights', 'DEFAULT'], ['--model', 'my_models.load'])
    """
    name, _, weights = model.partition("=")
    if "." in name and not weights:
        return ["--model", name]
    return ["--model", name, "--weights", weights or "DEFAULT"]


def read_audit(folder: Path) -> Audited:
    """Return what an audit found for each picture; a score stands over a failure."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in (folder / "samples.jsonl", *sorted(folder.glob("samples-*.jsonl"))):
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            sample = json.loads(line)
            key = sample["file"] or f"index {sample['probe']}"
            if key not in found or sample["score"] is not None or found[key]["score"] is None:
                found[key] = sample
    return found


def judge_of(folder: Path) -> str:
    """Return the name of an audit's judge."""
    return str(json.loads((folder / "run.json").read_text("utf-8"))["judge"])


def folder_name(text: str) -> str:
    """Return a text as a folder's name.

    Example:
        >>> folder_name("resnet18 (25, 0.4)")
        'resnet18_25_0.4'
    """
    return re.sub(r"[^\w.-]+", "_", text).strip("_")


def read_people(path: Path | None) -> dict[str, float]:
    """Return people's mean score of each picture, from a CSV file with columns file and score.

    Args:
        path: Several lines of a file are several people; empty if None.
    """
    scores: defaultdict[str, list[float]] = defaultdict(list)
    if path is not None:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines):
                scores[row.get("file") or ""].append(_read_score(row.get("score")))
    if "" in scores or any(math.isnan(score) for of in scores.values() for score in of):
        stop(
            f"Expected --ratings to have a file and a score from 0 to 5 in each line, got {path}, "
            "which has others. Its first line has to be: file,score"
        )
    return {file: fmean(of) for file, of in scores.items()}


def _read_score(text: str | None) -> float:
    """Return a score; NaN where it is none."""
    try:
        score = float(text or "")
    except ValueError:
        return math.nan
    return score if 0 <= score <= 5 else math.nan


def is_large(sample: Mapping[str, Any], least: float) -> bool:
    """Return whether a picture has a mask, whose object covers so much of it."""
    reference = sample["reference"]
    return reference is not None and reference["object_share"] >= least


def correlate(found: Audited, name: str, people: Mapping[str, float]) -> tuple[Agreed, int]:
    """Return Pearson's r of scores with a reference, and of how many pictures.

    Args:
        found: Scored pictures of an audit; unscored ones are left out.
        name: "human", or one of `REFERENCES`.
        people: `read_people`.
    """
    scored = {key: of for key, of in found.items() if of["score"] is not None}
    if name == "human":
        pairs = [(of["score"], people[key]) for key, of in scored.items() if key in people]
    else:
        pairs = [(of["score"], of["reference"][name]) for of in scored.values() if of["reference"]]
    if len(pairs) < 2:
        return Agreed(value=None, why=f"of {len(pairs)} pictures"), len(pairs)
    first, second = zip(*pairs, strict=True)
    return agreement(first, second, figures=["pearson"])["pearson"], len(pairs)


def as_scores(found: Audited, faithful: Mapping[str, float]) -> Audited:
    """Return an audit whose scores are a faithfulness figure; None where one is missing.

    Args:
        found: Of an audit that measured them.
        faithful: The figures that are added up, with their signs: high is faithful.

    Example:
        >>> line = {"score": 2.0, "faithfulness": {"deletion": 0.25, "insertion": 0.75}}
        >>> as_scores({"a.png": line}, {"insertion": 1, "deletion": -1})["a.png"]["score"]
        0.5
    """
    scored = {}
    for key, of in found.items():
        told = of.get("faithfulness") or {}
        values = [told.get(name) for name in faithful]
        score = None
        if None not in values:
            score = sum(sign * told[name] for name, sign in faithful.items())
        scored[key] = {**of, "score": score}
    return scored


def show_r(of: Agreed, n: int) -> str:
    """Return a correlation with its interval and n; a dash where there is none.

    Example:
        >>> show_r(Agreed(value=0.5), 12), show_r(Agreed(value=None, why="constant"), 3)
        ('.50, n = 12', '-')
    """
    if of.value is None:
        return "-"
    ends = f" ({_short(of.interval.lower)} to {_short(of.interval.upper)})" if of.interval else ""
    return f"{_short(of.value)}{ends}, n = {n}"


def _short(r: float) -> str:
    return f"{r:.2f}".replace("0.", ".", 1) if abs(r) < 0.995 else f"{r:.2f}"


def print_correlations(
    title: str,
    audits: Mapping[str, Audited],
    people: Mapping[str, float],
    published: Mapping[str, Mapping[str, float]],
    *,
    least: float,
) -> None:
    """Print a row an audit: r of its scores with people and masks; published rows below.

    Args:
        title: Of the table.
        audits: By name of their row.
        people: `read_people`.
        published: Name of a row to its correlations, by "human", "iou" and so on.
        least: Share of the picture that an object covers, in [0, 1], for a picture to count.
    """
    names = ("human", *REFERENCES)
    table = Table(title=title, title_justify="left")
    for column in ("", "human", "IoU", "Dice = F1", "pixel accuracy"):
        table.add_column(column, justify="left" if not column else "right")
    whys = set()
    for row, found in audits.items():
        kept = {key: of for key, of in found.items() if is_large(of, least)}
        cells = []
        for name in names:
            r, n = correlate(kept, name, people)
            cells.append(show_r(r, n))
            if r.why and (name != "human" or people):
                whys.add(f"{row}, {name}: {r.why}")
        table.add_row(row, *cells)
    table.add_section()
    for row, told in published.items():
        cells = [f"{told[name]:.2f}"[1:] if name in told else "" for name in names]
        table.add_row(f"published, {row}", *cells, style="dim")
    console.print(table)
    for why in sorted(whys):
        console.print(why, soft_wrap=True)
    few = len({key for of in audits.values() for key in of if not is_large(of[key], least)})
    console.print(
        f"Pearson's r of score and reference with its 95 % interval (bootstrap over pictures). "
        f"Objects that cover less than {least:.0%} of the picture are left out: {few}.",
        soft_wrap=True,
    )


def make_parser(text: str, root: str) -> argparse.ArgumentParser:
    """Return a parser of what these scripts share; other options go to `vlmxai audit`.

    Args:
        text: The script's docstring.
        root: Where its audits go if nothing else is said.
    """
    parser = argparse.ArgumentParser(
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # what looks like an option of ours may be the audit's
    )
    parser.add_argument("--data", help="as of vlmxai audit: a folder, coco:IMAGES:ANNOTATIONS, ...")
    parser.add_argument("--root", type=Path, default=Path(root))
    return parser


def add_references(parser: argparse.ArgumentParser) -> None:
    """Add what scores are held against."""
    parser.add_argument("--ratings", type=Path, help="CSV with file,score: people's, 0 to 5")
    parser.add_argument(
        "--least", type=float, default=1 / 3, help="share of the picture that its object covers"
    )


def parse(parser: argparse.ArgumentParser, **ours: str) -> tuple[argparse.Namespace, list[str]]:
    """Return our arguments, and those of `vlmxai audit`.

    Args:
        parser: Of `make_parser`.
        ours: Options of the audit that differ between its rows, and what sets them here.
    """
    args, options = parser.parse_known_args()
    for name, instead in {**ours, "out": "--root"}.items():
        if any(of.partition("=")[0] == f"--{name}" for of in options):
            stop(
                f"Expected --{name} to be left out, got it: it differs between the audits of this "
                f"script. Pass {instead}."
            )
    if args.data is None:
        stop(
            "Expected --data to be named, got none. VOC comes by torchvision.datasets."
            "VOCSegmentation('data', download=True), then --data voc:data; pets with masks by "
            "torchvision.datasets.OxfordIIITPet('data', download=True), then --data "
            "oxford-iiit-pet:data. COCO is read by torchvision.datasets.CocoDetection and comes "
            "from cocodataset.org, ImageNet by torchvision.datasets.ImageNet and from "
            "image-net.org. A folder of your own serves as well: --data pictures --masks masks."
        )
    args.root.mkdir(parents=True, exist_ok=True)
    return args, ["--data", args.data, *options]


def say_judges(judges: Iterable[str], data: str) -> None:
    """Print who judged what."""
    for judge in dict.fromkeys(judges):
        console.print(f"Judge: {judge}", soft_wrap=True)
        if judge.startswith("reference-mask"):
            console.print("  It looks at the very masks: its r says nothing of a VLM.")
    console.print(f"Data: {data}. Published: {SOURCE}.", soft_wrap=True)
    say_machine()

r"""Quadrants and average score of models on the same pictures, and which differences are real.

The paper compares four classifiers on ImageNet and four segmentation models on PASCAL VOC. Each
model here is a `vlmxai audit` in a folder of its own under --root; then rates stand beside the
published ones, and each two models are held against each other on the pictures that both have
judged: McNemar's test for each quadrant, corrected for their number (Holm).

    python examples/paper/table4_models.py --data imagenet/val --limit 1000 \
      --judge gemini-2.5-flash-lite --base-url https://...
    python examples/paper/table4_models.py --task segmentation --data voc:data
    python examples/paper/table4_models.py --models mobilenet_v2 my_models.load \
      --data pictures --masks masks --labels labels.json

All options of `vlmxai audit` can follow: its judge (object masks if none is named), --limit,
--method, --batch-size and so on. ImageNet's 1,000 folders are read as they are; they have no
masks, so a VLM has to judge them. VOC has masks. Cost: a call to the judge for each picture and
model. Time: about a forward for each picture and model, or the judge's own.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.table import Table

from audits import Audited, folder_name, judge_of, make_parser, model_options, parse, run_audit
from lightning_vlmxai.records import Quadrant
from lightning_vlmxai.rounds import Pairs, holm, mcnemar_p, paired_interval
from published import QUADRANTS, SOURCE, console, say_machine, show_mean, show_rate

SURE = 0.05
IMAGENET_CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A quadrant's rate in two models, of the pictures that both have judged.

    Args:
        quadrant: Which.
        pairs: How often both, one or neither has it.
        p: McNemar's, two-sided.
    """

    quadrant: Quadrant
    pairs: Pairs
    p: float


def pair_up(first: Audited, second: Audited) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the lines of the pictures that are in a quadrant in both audits.

    Raises:
        ValueError: If a picture has another label in the other audit.
    """
    both = [(first[key], second[key]) for key in first if key in second]
    for one, other in both:
        if one["label_name"] != other["label_name"]:
            raise ValueError(
                f"{one['file']} is {one['label_name']!r} in one audit and "
                f"{other['label_name']!r} in the other"
            )
    return [(a, b) for a, b in both if a["quadrant"] and b["quadrant"]]


def contrast(first: Audited, second: Audited) -> list[Difference]:
    """Return how each quadrant's rate differs; nothing where no picture was judged in both."""
    judged = pair_up(first, second)
    if not judged:
        return []
    found = []
    for quadrant in Quadrant:
        count = Counter((a["quadrant"] == quadrant, b["quadrant"] == quadrant) for a, b in judged)
        pairs = Pairs(
            both=count[True, True],
            first=count[True, False],
            second=count[False, True],
            neither=count[False, False],
        )
        p = mcnemar_p(pairs.first, pairs.second)
        found.append(Difference(quadrant=quadrant, pairs=pairs, p=p))
    return found


def show_score_difference(first: Audited, second: Audited) -> str:
    """Return the mean of second score less first with its 95 % interval (normal, paired)."""
    return show_mean([b["score"] - a["score"] for a, b in pair_up(first, second)])


def imagenet_labels(data: str, root: Path) -> list[str]:
    """Return the option that maps ImageNet's folders to the outputs, which go by sorted name."""
    folder = Path(data)
    names = (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    )
    if len(names) != IMAGENET_CLASSES or not all(re.fullmatch(r"n\d{8}", n) for n in names):
        return []
    path = root / "imagenet_labels.json"
    path.write_text(json.dumps({name: str(i) for i, name in enumerate(names)}), encoding="utf-8")
    return ["--labels", str(path)]


def report(audits: Mapping[str, Audited], task: str, judges: Mapping[str, str], data: str) -> None:
    """Print rates beside the published ones, and which differ."""
    table = Table(title=f"Quadrants of {task} models, %, and average score", title_justify="left")
    table.add_column("model", overflow="fold")
    for column in ("judged", "CH", "CL", "WH", "WL", "score"):
        table.add_column(column, justify="right")
    for name, found in audits.items():
        judged = [line["quadrant"] for line in found.values() if line["quadrant"]]
        scores = [line["score"] for line in found.values() if line["quadrant"]]
        rates = [show_rate(judged.count(q.value), len(judged)) for q in Quadrant]
        count = f"{len(judged)} of {len(found)}"
        table.add_row(
            name, count, *rates, show_mean(scores), end_section=name not in QUADRANTS[task]
        )
        if name in QUADRANTS[task]:
            *shares, score = QUADRANTS[task][name]
            shown = [f"{share:.1f}" for share in shares]
            table.add_row("  published", "", *shown, f"{score:.2f}", style="dim", end_section=True)
    console.print(table)
    console.print(
        "CH, CL, WH, WL: Correct-High, Correct-Low, Wrong-High, Wrong-Low, of the judged pictures. "
        f"In brackets 95 % intervals. Data: {data}.",
        soft_wrap=True,
    )
    for judge in dict.fromkeys(judges.values()):
        console.print(f"Judge: {judge}", soft_wrap=True)
    if len(set(judges.values())) > 1:
        console.print("More than one judge: the models can't be compared.")
        return
    others = [name for name in QUADRANTS[task] if name not in audits]
    if others:
        console.print(f"Published as well, not run: {', '.join(others)}.", soft_wrap=True)
    console.print(f"Published: {SOURCE}.\n", soft_wrap=True)
    print_differences(audits)


def print_differences(audits: Mapping[str, Audited]) -> None:
    """Print each two models' differences, those beyond chance marked."""
    rows = [
        (one, other, difference)
        for one, other in combinations(audits, 2)
        for difference in contrast(audits[one], audits[other])
    ]
    if not rows:
        return
    table = Table(title="Second less first, on the same pictures", title_justify="left")
    for column in ("first", "second", "rate", "n", "difference, %", "p (Holm)", ""):
        table.add_column(column, justify="right" if column in ("n", "p (Holm)") else "left")
    for (one, other, found), p in zip(rows, holm([r.p for *_, r in rows]), strict=True):
        pairs, n = found.pairs, sum(found.pairs)
        ends = paired_interval(pairs)
        table.add_row(
            one,
            other,
            found.quadrant.value.replace("_", "-").title(),
            str(n),
            f"{100 * (pairs.second - pairs.first) / n:+.1f} "
            f"({100 * ends.lower:+.1f} to {100 * ends.upper:+.1f})",
            f"{p:.2g}",
            "real" if p <= SURE else "may be chance",
            end_section=found.quadrant is Quadrant.WRONG_LOW,
        )
    console.print(table)
    console.print(
        f"McNemar's test; Holm's correction for {len(rows)} tests; intervals: Newcombe's."
    )
    for one, other in combinations(audits, 2):
        told = show_score_difference(audits[one], audits[other])
        console.print(f"Average score, {other} less {one}: {told}", soft_wrap=True)


def main() -> None:
    """Audit each model, then print the tables."""
    parser = make_parser(__doc__, "runs/table4")
    parser.add_argument("--task", choices=list(QUADRANTS), default="classification")
    parser.add_argument("--models", nargs="+", help="NAME or NAME=WEIGHTS; the paper's if none")
    args, options = parse(parser)
    models = args.models or list(QUADRANTS[args.task])
    if "--labels" not in options:
        options += imagenet_labels(args.data, args.root)
    audits, judges = {}, {}
    for model in models:
        name = model.partition("=")[0]
        out = args.root / folder_name(name)
        audits[name] = run_audit([*model_options(model), "--task", args.task, *options], out)
        judges[name] = judge_of(out)
    report(audits, args.task, judges, args.data)
    say_machine()


if __name__ == "__main__":
    main()

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
--method, --batch-size and so on. Data: ImageNet's 1,000 folders are read as they are; they have no
masks, so a VLM has to judge them. VOC has masks. Cost: a call to the judge for each picture and
model. Time: about a forward for each picture and model, or the judge's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from audits import Audited, make_parser, model_options, parse, run_rows
from published import QUADRANTS, SOURCE, console, say_machine
from rates import print_differences, print_rates

IMAGENET_CLASSES = 1000


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
    print_rates(audits, f"Quadrants of {task} models, %, and average score", QUADRANTS[task])
    console.print(f"Data: {data}.", soft_wrap=True)
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


def main() -> None:
    """Audit each model, then print the tables."""
    parser = make_parser(__doc__, "runs/table4")
    parser.add_argument("--task", choices=list(QUADRANTS), default="classification")
    parser.add_argument("--models", nargs="+", help="NAME or NAME=WEIGHTS; the paper's if none")
    args, options = parse(parser, model="--models", weights="--models NAME=WEIGHTS")
    models = args.models or list(QUADRANTS[args.task])
    if "--labels" not in options:
        options += imagenet_labels(args.data, args.root)
    rows = {
        model.partition("=")[0]: [*model_options(model), "--task", args.task, *options]
        for model in models
    }
    audits, judges = run_rows(rows, args.root)
    report(audits, args.task, judges, args.data)
    say_machine()


if __name__ == "__main__":
    main()

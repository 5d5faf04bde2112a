r"""Which mask shows a judge best where a model looks: sharpness alpha, threshold beta, or overlay.

The paper tries (25, 0.4), (15, 0.6), (25, 0.7) and the heat map overlay, with ResNet18, and finds
(15, 0.6) nearest to people. With several --models the same is asked of other architectures.

    python examples/paper/table2_masks.py --models resnet18 convnext_tiny \
      --data coco:train2017:instances_train2017.json --labels labels.json --limit 700 \
      --judge gemini-2.5-flash-lite --base-url https://... --ratings people.csv

    python examples/paper/table2_masks.py --models my_models.load --data pictures --masks masks \
      --alphas 5 15 25 --betas 0.3 0.4 0.5 0.6 0.7     # a grid of your own, by object masks

All options of `vlmxai audit` can follow. IoU and the like are those of what each mask keeps, so
they change with beta too. People's scores are of one way of showing a picture: give those that fit.
Data: any with a mask for every picture. Cost: a call a picture, model and mask; none without
--judge. Time: a forward a picture, model and mask, or the judge's own. The heat map is drawn into
--root.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

from audits import (
    Audited,
    add_references,
    correlate,
    is_large,
    make_parser,
    model_options,
    parse,
    print_correlations,
    read_people,
    run_rows,
    say_judges,
)
from published import MASKS, console

mpl.use("agg")
import matplotlib.pyplot as plt

PAPER = ((25.0, 0.4), (15.0, 0.6), (25.0, 0.7))
"""Alpha and beta."""
Mask = tuple[float, float]


def draw(
    grids: Mapping[str, Mapping[Mask, Audited]],
    against: str,
    people: Mapping[str, float],
    least: float,
    judge: str,
    path: Path,
) -> Path:
    """Draw r of scores and a reference over alpha and beta, a panel a model; blank is undefined."""
    figure, axes = plt.subplots(
        1, len(grids), figsize=(3.4 * len(grids), 3), layout="constrained", squeeze=False
    )
    count = 0
    for axis, (model, grid) in zip(axes[0], grids.items(), strict=True):
        alphas, betas = sorted({a for a, _ in grid}), sorted({b for _, b in grid})
        values = [[float("nan")] * len(betas) for _ in alphas]
        for (alpha, beta), found in grid.items():
            kept = {key: of for key, of in found.items() if is_large(of, least)}
            r, n = correlate(kept, against, people)
            count = max(count, n)
            if r.value is not None:
                row, column = alphas.index(alpha), betas.index(beta)
                values[row][column] = r.value
                axis.text(column, row, f"{r.value:.2f}", ha="center", va="center")
        axis.imshow(values, vmin=0, vmax=1, cmap="Blues", alpha=0.7, origin="lower", aspect="auto")
        axis.set(
            title=model, xlabel="beta", ylabel="alpha",
            xticks=range(len(betas)), xticklabels=betas,
            yticks=range(len(alphas)), yticklabels=alphas,
        )  # fmt: skip
    figure.suptitle(f"r with {against}, at most n = {count} pictures\n{judge}", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path


def _name(model: str) -> str:
    return model.partition("=")[0]


def main() -> None:
    """Audit with each model and mask, then print the table and draw the heat map."""
    parser = make_parser(__doc__, "runs/table2")
    add_references(parser)
    parser.add_argument("--models", nargs="+", default=["resnet18"], help="NAME or NAME=WEIGHTS")
    parser.add_argument("--judge", default="reference", help="a VLM, or overlap with the masks")
    parser.add_argument("--alphas", nargs="+", type=float, help="with --betas: each with each")
    parser.add_argument("--betas", nargs="+", type=float, help="the paper's three pairs if none")
    args, options = parse(
        parser,
        model="--models",
        alpha="--alphas",
        beta="--betas",
        view="nothing: the overlay is a row",
    )
    if (args.alphas is None) != (args.betas is None):
        parser.error("Expected --alphas and --betas, got one of them. Pass both.")
    masks = [(a, b) for a in args.alphas for b in args.betas] if args.alphas else [*PAPER]
    people = read_people(args.ratings)
    given: dict[str, list[str]] = {}
    for model in args.models:
        shown = {f"({a:g}, {b:g})": ["--alpha", str(a), "--beta", str(b)] for a, b in masks}
        if args.judge != "reference":  # which looks at the mask, however it is shown
            shown["overlay"] = ["--view", "overlay"]
        own = [*model_options(model), *options, "--judge", args.judge]
        given |= {f"{_name(model)} {told}": [*own, *more] for told, more in shown.items()}
    rows, judges = run_rows(given, args.root)
    grids = {
        _name(model): {(a, b): rows[f"{_name(model)} ({a:g}, {b:g})"] for a, b in masks}
        for model in args.models
    }
    print_correlations("Masks (alpha, beta)", rows, people, MASKS, least=args.least)
    say_judges(judges.values(), args.data)
    against = "human" if people else "iou"
    path = draw(
        grids,
        against,
        people,
        args.least,
        next(iter(judges.values())),
        args.root / "table2_masks.png",
    )
    console.print(f"Heat map of r with {against}: {path}", soft_wrap=True)


if __name__ == "__main__":
    main()

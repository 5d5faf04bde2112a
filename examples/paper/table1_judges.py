r"""How far judges agree with people and with object masks, on masked pictures and on overlays.

The paper takes 700 COCO pictures whose main object covers a third, explains ResNet18 on them with
Grad-CAM, and correlates each judge's scores with people's, and with IoU, Dice, pixel accuracy and
F1 of what the mask keeps.

    python examples/paper/table1_judges.py --model resnet18 --weights DEFAULT \
      --data coco:train2017:instances_train2017.json --labels labels.json --limit 2000 \
      --judges gemini-2.5-flash-lite gemma-3-27b-it --base-url https://... --ratings people.csv

Beside them stand figures that ask no judge, of the same maps: insertion less deletion, Average Drop
(turned round, so that high is faithful) and AOPC, as `lightning_vlmxai.trust.faithfulness` defines
them; the paper states neither baseline nor steps of its own.

All options of `vlmxai audit` can follow. Data: any with a mask for every picture. Cost: two calls a
picture and judge; pictures whose object turns out smaller than --least are judged as well and left
out here, so choose the data beforehand where calls are dear. Time: some 90 forwards a picture for
the figures (none with --no-faithfulness), or the judge's own.
"""

from __future__ import annotations

from audits import (
    add_references,
    as_scores,
    make_parser,
    parse,
    print_correlations,
    read_people,
    run_rows,
    say_judges,
)
from published import JUDGES

VIEWS = ("masked", "overlay")
FIGURES = {
    "deletion & insertion": {"insertion": 1.0, "deletion": -1.0},
    "Average Drop": {"average_drop": -1.0},
    "AOPC": {"aopc": 1.0},
}
"""What is added up for each of the paper's baselines, so that high is faithful."""


def main() -> None:
    """Audit with each judge and view, then print the table."""
    parser = make_parser(__doc__, "runs/table1")
    add_references(parser)
    parser.add_argument(
        "--judges", nargs="+", default=["reference"], help="VLMs; reference: overlap with masks"
    )
    parser.add_argument("--no-faithfulness", action="store_true", help="leave these rows out")
    args, options = parse(
        parser,
        judge="--judges",
        view="--judges, for both views",
        faithfulness="--no-faithfulness, or nothing",
    )
    people = read_people(args.ratings)
    names = [name for figure in FIGURES.values() for name in figure]
    measured = [] if args.no_faithfulness else ["--faithfulness", f"[{', '.join(names)}]"]
    rows: dict[str, list[str]] = {}
    for judge in args.judges:
        # Overlap with a mask is the same whatever is shown.
        for view in VIEWS[:1] if judge == "reference" else VIEWS:
            own = [] if rows else measured  # the maps are the same in all
            rows[f"{judge}, {view}"] = [*options, *own, "--judge", judge, "--view", view]
    audits, judges = run_rows(rows, args.root)
    if measured:
        found = next(iter(audits.values()))
        audits |= {row: as_scores(found, figure) for row, figure in FIGURES.items()}
    print_correlations("Judges against references", audits, people, JUDGES, least=args.least)
    say_judges(judges.values(), args.data)


if __name__ == "__main__":
    main()

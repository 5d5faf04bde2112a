r"""How far judges agree with people and with object masks, on masked pictures and on overlays.

The paper takes 700 COCO pictures whose main object covers a third, explains ResNet18 on them with
Grad-CAM, and correlates each judge's scores with people's, and with IoU, Dice, pixel accuracy and
F1 of what the mask keeps.

    python examples/paper/table1_judges.py --model resnet18 --weights DEFAULT \
      --data coco:train2017:instances_train2017.json --labels labels.json --limit 2000 \
      --judges gemini-2.5-flash-lite gemma-3-27b-it --base-url https://... --ratings people.csv

All options of `vlmxai audit` can follow. Every picture has to have a mask. Cost: two calls a
picture and judge; pictures whose object turns out smaller than --least are judged as well and left
out here, so choose the data beforehand where calls are dear. Time: a forward a picture, or the
judge's own. Of the paper's baselines (deletion & insertion, Average Drop, AOPC) an audit measures
none: `VLMExplainCallback(faithfulness=...)` does; here they are quoted.
"""

from __future__ import annotations

from audits import (
    add_references,
    folder_name,
    judge_of,
    make_parser,
    parse,
    print_correlations,
    read_people,
    run_audit,
    say_judges,
)
from published import JUDGES

VIEWS = ("masked", "overlay")


def main() -> None:
    """Audit with each judge and view, then print the table."""
    parser = make_parser(__doc__, "runs/table1")
    add_references(parser)
    parser.add_argument(
        "--judges", nargs="+", default=["reference"], help="VLMs; reference: overlap with masks"
    )
    args, options = parse(parser)
    people = read_people(args.ratings)
    audits, judges = {}, []
    for judge in args.judges:
        # Overlap with a mask is the same whatever is shown.
        for view in VIEWS[:1] if judge == "reference" else VIEWS:
            row = f"{judge}, {view}"
            out = args.root / folder_name(row)
            audits[row] = run_audit([*options, "--judge", judge, "--view", view], out)
            judges.append(judge_of(out))
    print_correlations("Judges against references", audits, people, JUDGES, least=args.least)
    say_judges(judges, args.data)


if __name__ == "__main__":
    main()

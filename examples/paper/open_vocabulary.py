r"""Do quadrants change where maps come from RISE or occlusion, which look into no layer?

The paper names its own limit: CAM needs a layer with places. RISE (random masks) and occlusion (a
window that moves) ask about changed pictures instead, so they serve any model. Each method here is
a `vlmxai audit` of the same model, pictures and judge, in a folder of its own under --root; then
each two are held against each other on the pictures that both have judged.

    python examples/paper/open_vocabulary.py --model resnet18 --weights DEFAULT \
      --data voc:data --labels labels.json --limit 200 --judge gemini-2.5-flash-lite \
      --base-url https://...
    python examples/paper/open_vocabulary.py --model my_models.load --data pictures \
      --masks masks --perturbation.masks 500       # judged by overlap with the masks

All options of `vlmxai audit` can follow. Data: any, with a mask for every picture if no --judge is
named.
Predictions are the same whatever explains them, so of right answers Low is what isn't High, and of
wrong ones likewise: the two High rates are tested. Cost: a call to the judge for each picture and
method. Time: for each picture about a forward with CAM, 2,000 with RISE (--perturbation.masks), 169
with occlusion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations

from audits import Audited, make_parser, parse, run_rows, say_judges
from lightning_vlmxai.records import Quadrant
from published import console, show_rate, stop
from rates import pair_up, print_differences, print_rates

METHODS = ("gradcam", "rise", "occlusion")
HIGH = (Quadrant.CORRECT_HIGH, Quadrant.WRONG_HIGH)


def count_changes(first: Audited, second: Audited) -> tuple[Counter[tuple[str, str]], int]:
    """Return how often a picture goes from one quadrant to another, and how many have both.

    Raises:
        ValueError: If a picture is predicted otherwise in the other audit.
    """
    judged = pair_up(first, second)
    for one, other in judged:
        if one["prediction_name"] != other["prediction_name"]:
            raise ValueError(
                f"{one['file']} is predicted {one['prediction_name']!r} in one audit and "
                f"{other['prediction_name']!r} in the other: they are of two models"
            )
    moved = Counter((a["quadrant"], b["quadrant"]) for a, b in judged)
    changed = Counter({pair: n for pair, n in moved.items() if pair[0] != pair[1]})
    return changed, len(judged)


def print_changes(audits: Mapping[str, Audited]) -> None:
    """Print for each two methods how many pictures are in another quadrant, and in which."""
    for one, other in combinations(audits, 2):
        changed, n = count_changes(audits[one], audits[other])
        if not n:
            console.print(f"{one} and {other}: no picture was judged by both.")
            continue
        ways = [f"{count} from {_name(a)} to {_name(b)}" for (a, b), count in changed.most_common()]
        total = sum(changed.values())
        console.print(
            f"In another quadrant with {other} than with {one}: {show_rate(total, n)} %, {total} "
            f"of n = {n}{': ' + ', '.join(ways) if ways else ''}.",
            soft_wrap=True,
        )


def _name(quadrant: str) -> str:
    return quadrant.replace("_", "-").title()


def main() -> None:
    """Audit with each method, then print the tables."""
    parser = make_parser(__doc__, "runs/open_vocabulary")
    parser.add_argument("--methods", nargs="+", default=[*METHODS], help="as of vlmxai audit")
    args, options = parse(parser, method="--methods")
    if len(set(args.methods)) < 2:
        stop(
            f"Expected --methods to be at least two, got {' '.join(args.methods)}. "
            "Pass --methods gradcam rise occlusion."
        )
    rows = {method: [*options, "--method", method] for method in args.methods}
    audits, judges = run_rows(rows, args.root)
    print_rates(audits, "Quadrants by what explains the model", {})
    if len(set(judges.values())) > 1:
        console.print("More than one judge: the methods can't be compared.")
    else:
        print_changes(audits)
        print_differences(audits, HIGH)
    say_judges(judges.values(), args.data)


if __name__ == "__main__":
    main()

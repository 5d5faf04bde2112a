r"""Does it matter how a judge is asked? The original prompt, a longer and a shorter one.

    python examples/paper/table3_prompts.py --model resnet18 --weights DEFAULT \
      --data coco:train2017:instances_train2017.json --labels labels.json --limit 700 \
      --judge gemma-3-27b-it --base-url https://... --ratings people.csv

Each prompt's scores are held against people's and against object masks, as the paper does; beside
it stands how far prompts part on the same picture. All options of `vlmxai audit` can follow. The
prompts are this package's own words for the paper's three styles. Data: any with a mask for every
picture. Cost: three calls a picture. Time: the judge's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from audits import (
    Audited,
    add_references,
    make_parser,
    parse,
    print_correlations,
    read_people,
    run_rows,
    say_judges,
)
from published import PROMPTS, console, show_mean, stop

STYLES = ("original", "extended", "concise")


def say_spread(audits: Mapping[str, Audited]) -> list[str]:
    """Return how far the prompts part on pictures that all have scored."""
    keys = [
        key
        for key in next(iter(audits.values()))
        if all(key in of and of[key]["score"] is not None for of in audits.values())
    ]
    scores = {name: [found[key]["score"] for key in keys] for name, found in audits.items()}
    if not keys:
        return ["No picture has a score by all prompts."]
    spread = [max(of) - min(of) for of in zip(*scores.values(), strict=True)]
    told = [f"Largest less smallest score of a picture: {show_mean(spread)}, n = {len(keys)}"]
    for one, other in combinations(scores, 2):
        less = [b - a for a, b in zip(scores[one], scores[other], strict=True)]
        told.append(f"{other} less {one}: {show_mean(less)}, n = {len(keys)}")
    return told


def main() -> None:
    """Audit with each prompt, then print the table and the spread."""
    parser = make_parser(__doc__, "runs/table3")
    add_references(parser)
    parser.add_argument("--judge", help="a VLM")
    args, options = parse(parser, style="nothing: each is a row")
    if args.judge in (None, "reference"):
        stop(
            f"Expected --judge to be a VLM, got {args.judge}: no one else reads a prompt. "
            "Pass --judge gemini-2.5-flash-lite --base-url URL."
        )
    people = read_people(args.ratings)
    rows = {style: [*options, "--judge", args.judge, "--style", style] for style in STYLES}
    audits, judges = run_rows(rows, args.root)
    print_correlations("Prompts against references", audits, people, PROMPTS, least=args.least)
    for line in say_spread(audits):
        console.print(line, soft_wrap=True)
    say_judges(judges.values(), args.data)


if __name__ == "__main__":
    main()

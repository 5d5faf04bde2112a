"""Do corrected rates hold what they promise? Coverage and width of their intervals, simulated.

`python benchmarks/correction.py [--rounds 2000] [--judged 1000] [--seed 0]` prints Markdown tables:
for each judge (sensitivity / specificity), true rate and number of ratings, how often the interval
of the judge alone, of people alone and of both holds the truth, and how wide the last two are. The
ratings are of a plain random sample, then of one that takes half its ratings from what the judge
calls Low. A last table is of paired differences.
"""

from __future__ import annotations

import argparse
import time
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lightning_vlmxai.trust import CorrectedRate, corrected_difference, corrected_rate

JUDGES = ((0.95, 0.95), (0.85, 0.85), (0.6, 0.7), (0.5, 0.5))
RATES = (0.05, 0.1, 0.3)
RATINGS = (30, 60, 200)
DESIGNS = ("plain", "half from the judge's Low")

Bools = NDArray[np.bool_]


def judge_of(
    truth: Bools, sensitivity: float, specificity: float, rng: np.random.Generator
) -> Bools:
    """Return what a judge says who errs at random."""
    chance = np.where(truth, sensitivity, 1 - specificity)
    return rng.random(len(truth)) < chance


def sample(
    said: Bools, ratings: int, design: str, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return who is rated, and one over the chance of it for all."""
    weights = np.ones(len(said))
    if design == "plain":
        return rng.choice(len(said), ratings, replace=False), weights
    low, high = np.flatnonzero(said), np.flatnonzero(~said)
    of_low = min(ratings // 2, len(low))
    weights[low], weights[high] = len(low) / max(of_low, 1), len(high) / (ratings - of_low)
    parts = (low, of_low), (high, ratings - of_low)
    return np.concatenate([rng.choice(of, k, replace=False) for of, k in parts]), weights


def rate_once(
    truth: Bools,
    said: Bools,
    rated: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
    names: range | None = None,
) -> CorrectedRate:
    """Return the corrected rate where people tell the truth."""
    human = np.full(len(truth), np.nan)
    human[rated] = truth[rated]
    return corrected_rate(said.astype(np.float64), human, weights=weights, probes=names)


def cell(
    judge: tuple[float, float], rate: float, ratings: int, design: str, args: argparse.Namespace
) -> list[float]:
    """Return coverage of judge, people, both; width of people, both."""
    row_of = [int(1000 * value) for value in (*judge, rate, ratings)]
    rng = np.random.default_rng([args.seed, DESIGNS.index(design), *row_of])
    rows = np.zeros((args.rounds, 5))
    for row in rows:
        truth = rng.random(args.judged) < rate
        said = judge_of(truth, *judge, rng)
        found = rate_once(truth, said, *sample(said, ratings, design, rng))
        intervals = found.judge_interval, found.people_interval, found.interval
        row[:3] = [low <= rate <= high for low, high in intervals]
        row[3:] = [high - low for low, high in intervals[1:]]
    return list(rows.mean(axis=0))


def difference_cell(
    judge: tuple[float, float], ratings: int, *, are_same: bool, args: argparse.Namespace
) -> list[float]:
    """Return coverage and width of a difference from 30 % to 15 %: half of the Low are cured."""
    rng = np.random.default_rng(args.seed)
    rows = np.zeros((args.rounds, 2))
    names = range(args.judged)
    for row in rows:
        before = rng.random(args.judged) < 0.3
        after = before & (rng.random(args.judged) < 0.5)
        first = rng.choice(args.judged, ratings, replace=False)
        second = first if are_same else rng.choice(args.judged, ratings, replace=False)
        rates = [
            rate_once(truth, judge_of(truth, *judge, rng), rated, names=names)
            for truth, rated in ((before, first), (after, second))
        ]
        low, high = corrected_difference(*rates).interval
        row[:] = low <= -0.15 <= high, high - low
    return list(rows.mean(axis=0))


def main() -> None:
    """Print the tables, and the extremes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--judged", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    covered = []
    for design in DESIGNS:
        print(f"\n{args.judged} judged, {args.rounds} rounds a row, sample: {design}\n")
        print("| judge | rate | ratings | judge | people | corrected | width, people | corrected |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for judge, rate, ratings in product(JUDGES, RATES, RATINGS):
            found = cell(judge, rate, ratings, design, args)
            covered.append(found[2])
            shares = " | ".join(f"{100 * share:.1f} %" for share in found[:3])
            widths = " | ".join(f"{width:.3f}" for width in found[3:])
            name = f"{judge[0]:.2f} / {judge[1]:.2f}"
            print(f"| {name} | {rate:.2f} | {ratings} | {shares} | {widths} |", flush=True)
    print("\nDifference from 30 % to 15 % on the same probes\n")
    print("| judge | ratings | rated in both | covered | width |\n|---|---:|---|---:|---:|")
    for judge, ratings, are_same in product(JUDGES[1:3], RATINGS[1:], (True, False)):
        share, width = difference_cell(judge, ratings, are_same=are_same, args=args)
        name, same = f"{judge[0]:.2f} / {judge[1]:.2f}", "the same" if are_same else "others"
        print(f"| {name} | {ratings} | {same} | {100 * share:.1f} % | {width:.3f} |", flush=True)
    within = sum(0.92 <= share <= 0.97 for share in covered)
    print(
        f"\nThe corrected interval holds the truth in {100 * min(covered):.1f} to "
        f"{100 * max(covered):.1f} %; in {within} of {len(covered)} rows within 92 to 97 %. "
        f"{time.perf_counter() - start:.0f} s."
    )


if __name__ == "__main__":
    main()

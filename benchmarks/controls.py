"""Is a judge that falls told, and one that doesn't left in peace? Alarms of controls, simulated.

`python benchmarks/controls.py [--runs 2000] [--drifts 500] [--controls 8] [--seed 0]` prints
Markdown tables: how many runs of 20 rounds with a judge that stays what it is have an alarm (none
with `--runs 0`), and how many that drift after 5 good rounds have one within 1, 2, 3 and 5 rounds.

Scores are of two normal distributions with the area under the ROC curve that is named, in halves
from 0 to 5; "errs" are 5 or 0, wrong in so many of 100. A third of the bad controls bear another
name, the others that of the good one of the same picture.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from itertools import product
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lightning_vlmxai.trust.judge_watch import ControlRound, JudgeWatch

Scores = NDArray[np.float64]
Judge = Callable[[np.random.Generator, NDArray[np.bool_], NDArray[np.int64]], Scores]
"""From whether the answer is High, and the numbers of the names, to scores."""

ROUNDS, GOOD_ROUNDS = 20, 5


def normal(area: float) -> Judge:
    """Return a judge with such an area under the ROC curve."""
    half = NormalDist().inv_cdf(area) / math.sqrt(2)

    def judge(rng: np.random.Generator, truth: NDArray[np.bool_], _: object) -> Scores:
        middle = np.where(truth, half, -half)
        return np.clip(np.round(2 * (2.5 + 1.2 * rng.normal(middle))) / 2, 0, 5)

    return judge


def errs(share: float) -> Judge:
    """Return a judge that is sure, and wrong in a share of its answers."""

    def judge(rng: np.random.Generator, truth: NDArray[np.bool_], _: object) -> Scores:
        return np.where(truth ^ (rng.random(truth.shape) < share), 5.0, 0.0)

    return judge


def constant(_rng: np.random.Generator, truth: NDArray[np.bool_], _: object) -> Scores:
    """Say 3 to everything."""
    return np.full(truth.shape, 3.0)


def at_random(rng: np.random.Generator, truth: NDArray[np.bool_], _: object) -> Scores:
    """Say any whole number."""
    return rng.integers(0, 6, truth.shape).astype(float)


def by_label(_rng: np.random.Generator, _truth: object, names: NDArray[np.int64]) -> Scores:
    """Say what the name brings to mind."""
    return (names % 6).astype(float)


def sharp(rng: np.random.Generator, truth: NDArray[np.bool_], _: object) -> Scores:
    """Be as sure as a good judge of plain pictures is: 4 to 5, and 0 to 1, in halves."""
    return np.where(truth, 4.0, 0.0) + rng.integers(0, 3, truth.shape) / 2


GOOD: dict[str, Judge] = {
    "AUC .80": normal(0.8),
    "AUC .90": normal(0.9),
    "AUC .95": normal(0.95),
    "AUC .99": normal(0.99),
    "errs in 10": errs(0.1),
    "errs in 3": errs(0.03),
    "4 to 5, 0 to 1": sharp,
}
DRIFTS: dict[str, Judge] = {"constant 3": constant, "random": at_random, "label only": by_label}


def one_round(number: int, judge: Judge, pairs: int, rng: np.random.Generator) -> ControlRound:
    """Return a round of so many pairs of a good and a bad control."""
    names = rng.integers(0, 100, pairs)
    is_misnamed = (np.arange(pairs) + number) % 3 == 2
    other = np.where(is_misnamed, (names + rng.integers(1, 100, pairs)) % 100, names)
    truth = np.repeat([True, False], pairs)
    good, bad = np.split(judge(rng, truth, np.concatenate([names, other])), 2)
    return ControlRound(
        number=number,
        good=tuple(good.tolist()),
        bad=tuple(bad.tolist()),
        pairs=int((~is_misnamed).sum()),
        ties=int((good == bad)[~is_misnamed].sum()),
    )


def first_alarm(judges: list[Judge], pairs: int, rng: np.random.Generator) -> int | None:
    """Return the first round with an alarm in a run whose rounds have these judges."""
    watch = JudgeWatch()
    for number, judge in enumerate(judges):
        watch.take(one_round(number, judge, pairs, rng))
        if watch.is_fallen:
            return number
    return None


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--drifts", type=int, default=500)
    parser.add_argument("--controls", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start, pairs = time.perf_counter(), args.controls // 2
    print(f"{args.controls} controls a round, seed {args.seed}\n")
    print(f"| judge that stays | runs of {ROUNDS} rounds | with an alarm |\n|---|---:|---:|")
    for place, (name, judge) in enumerate(GOOD.items() if args.runs else ()):
        rng = np.random.default_rng([args.seed, 0, place])
        alarms = sum(
            first_alarm([judge] * ROUNDS, pairs, rng) is not None for _ in range(args.runs)
        )
        print(f"| {name} | {args.runs} | {alarms} ({100 * alarms / args.runs:.2f} %) |", flush=True)
    print(f"\n| good for {GOOD_ROUNDS} rounds | then | told within 1 | 2 | 3 | 5 rounds |")
    print("|---|---|---:|---:|---:|---:|")
    for place, ((name, judge), (after, drifted)) in enumerate(
        product(GOOD.items(), DRIFTS.items())
    ):
        rng = np.random.default_rng([args.seed, 1, place])
        told = np.zeros(5)
        for _ in range(args.drifts):
            judges = [judge] * GOOD_ROUNDS + [drifted] * 5
            found = first_alarm(judges, pairs, rng)
            if found is not None and found >= GOOD_ROUNDS:
                told[found - GOOD_ROUNDS :] += 1
        cells = " | ".join(
            f"{100 * told[within - 1] / args.drifts:.0f} %" for within in (1, 2, 3, 5)
        )
        print(f"| {name} | {after} | {cells} |", flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()

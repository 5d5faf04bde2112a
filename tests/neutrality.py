"""Training with the callback against training without it, over a matrix of ways to train.

`python tests/neutrality.py` prints a row for each combination; it fails if a single bit differs.
`--drawn 40` draws that many beyond the matrix (`--seed` others), with networks that harm what they
keep: each has to be equal, by the way that it needs, or refused in words that name the cause.

Image-text models train on other data, with other modules and tasks, so that few axes here mean
anything to them: their rows are in `tests/lightning/test_image_text_neutral.py`.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_vlmxai import Perturbation, Verdict, VLMExplainCallback
from lightning_vlmxai.errors import ModelChangedError
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.testing import ScriptedJudge
from lightning_vlmxai.trust import FAITHFULNESS
from neutral_drawn import causes, draw, expects, ways_told
from neutral_fit import Combination, Data, make_module, make_trainer
from neutral_state import (
    Difference,
    MemoryLogger,
    Recorder,
    State,
    find_differences,
    flatten,
    take_state,
)

PROBES = 6

AXES: Mapping[str, tuple[Any, ...]] = {
    "precision": ("32-true", "bf16-mixed", "bf16-true"),
    "norm": ("batch", "frozen", "held", "group"),
    "optimizer": ("sgd", "adam", "manual"),
    "compiled": ("", "given", "in place", "part", "function"),
    "averaging": ("", "ema", "mean"),
    "accumulate": (1, 4),
    "clip": ("", "norm", "value"),
    "frozen": (False, True),
    "source": ("map", "datamodule", "stream", "two", "split"),
    "augment": ("", "global", "own"),
    "validate": ("epoch", "every 2 batches", "every 2 epochs", "limited", "overfit"),
    "sanity": (2, 0),
    "checkpoint": ("", "saved", "resumed"),
    "logs": ("steps", "torchmetrics", "in forward"),
    "habit": ("", "counts", "replaces", "draws", "fills grad", "freezes", "hooks", "remembers"),
    "method": (
        "gradcam",
        "gradcam++",
        "eigencam",
        "layercam",
        "scorecam",
        "ablationcam",
        "rise",
        "pytorch_grad_cam.FinerCAM",
    ),
    "lag": (1, 0),
}
"""Values that every pair of is tried together; workers and compilers' backends cost too much."""

IMPOSSIBLE = (
    {"optimizer": "manual", "accumulate": 4},  # refused by Lightning, like the next two
    {"optimizer": "manual", "clip": "norm"},
    {"optimizer": "manual", "clip": "value"},
    {"source": "stream", "validate": "overfit"},  # a stream has no batches to come back to
)

Make = Callable[..., VLMExplainCallback]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one fit went through."""

    states: dict[str, State]
    validations: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A fit with the callback beside the same fit without it."""

    differences: list[Difference]
    values: int
    rounds: int
    judged: int
    seconds: float

    @property
    def largest(self) -> float:
        """The largest absolute difference; 0 where all is equal."""
        return max((d.size for d in self.differences), default=0.0)


def score(request: JudgeRequest) -> Verdict:
    """Return a verdict that depends on the probe alone."""
    return Verdict.scored(request.probe_index % 6)


def train(combination: Combination, folder: Path, callbacks: Callable[[], list[Any]]) -> Run:
    """Return what the fit of a combination went through, from the same seeds at every call."""
    torch.compiler.reset()
    recorder, logger = Recorder(), MemoryLogger()
    saved = folder / "checkpoints" / "last.ckpt"
    is_resumed = combination.checkpoint == "resumed"
    ends: dict[str, State] = {}
    for part in range(1 + is_resumed):
        pl.seed_everything(part, verbose=False)
        data, module = Data(combination), make_module(combination)
        trainer = make_trainer(
            combination, folder, first=callbacks(), last=[recorder], logger=logger
        )
        if is_resumed and not part:
            trainer.fit_loop.max_epochs = (trainer.max_epochs or 0) // 2
        given: dict[str, Any] = {"ckpt_path": saved} if part else {}
        with redirect_stdout(io.StringIO()):  # the summary at the end of a fit
            if combination.source == "datamodule":
                trainer.fit(module, datamodule=data, **given)
            else:
                trainer.fit(module, data.train_dataloader(), data.val_dataloader(), **given)
        ends[f"end {part}"] = take_state(trainer, trainer.lightning_module)
        if combination.checkpoint:
            checkpoint = torch.load(saved, weights_only=True)
            del checkpoint["callbacks"]  # our own state, and folders
            names = sorted(path.name for path in saved.parent.iterdir())
            ends[f"file {part}"] = dict(flatten({"file": checkpoint, "names": names}, "checkpoint"))
    states = recorder.states | ends | logger.states
    return Run(states=states, validations=recorder.validations)


def compare(combination: Combination, folder: Path, make: Make = VLMExplainCallback) -> Comparison:
    """Return what differs between a fit with the callback and the same fit without it.

    Raises:
        RuntimeError: If not every validation was explained and judged, for then an equality
            would prove nothing.
    """
    start = time.perf_counter()
    # Answers come while the training goes on, as they do from a server.
    judge = ScriptedJudge(score, delay_s=0.005)

    def ours() -> list[Any]:
        return [
            make(
                judge,
                probe_size=PROBES,
                method=combination.method,
                lag=combination.lag,
                isolation=combination.isolation,
                controls=combination.controls,
                faithfulness=combination.faithfulness,
                find_shortcuts=combination.find_shortcuts,
                perturbation=Perturbation(top_channels=3, masks=8),
                run_dir=folder / "vlmxai",
            )
        ]

    without = train(combination, folder / "without", list)
    with_it = train(combination, folder / "with", ours)
    lines = (folder / "vlmxai" / "samples.jsonl").read_text().splitlines()
    # A resumed run writes the round that was open at the checkpoint again.
    pairs = {(record["round"], record["probe"]) for record in map(json.loads, lines)}
    explained = Counter(number for number, _ in pairs)
    judged = [request for request in judge.requests if request.round_number >= 0]
    if explained != dict.fromkeys(range(without.validations), PROBES) or not judged:
        raise RuntimeError(
            f"{without.validations} validations of {PROBES} probes, but explained were "
            f"{dict(explained)}, and {len(judged)} judged"
        )
    return Comparison(
        differences=find_differences(with_it.states, without.states),
        values=sum(len(state) for state in without.states.values()),
        rounds=len(explained),
        judged=len(judged),
        seconds=time.perf_counter() - start,
    )


def make_pairwise() -> Iterator[Combination]:
    """Yield combinations until every possible pair of values of any two axes was there.

    Greedy and without chance: each row takes the first pair that is missing, then on every other
    axis the value that adds most missing pairs, the usual one where none adds any.
    """
    missing = {
        pair: None
        for one, other in combinations(AXES, 2)
        for a in AXES[one]
        for b in AXES[other]
        if _is_possible(dict(pair := ((one, a), (other, b))))
    }
    while missing:
        row = dict(next(iter(missing)))
        for axis in (axis for axis in AXES if axis not in row):
            possible = [v for v in AXES[axis] if _is_possible({**row, axis: v})]
            row[axis] = max(possible, key=lambda v: _count_new(row, axis, v, missing))
        for pair in combinations([(axis, row[axis]) for axis in AXES], 2):
            missing.pop(pair, None)
        yield Combination(**row)


def make_cover() -> list[Combination]:
    """Return a few combinations that have every value of every axis in them."""
    # A step that is compiled with all that it calls takes its time: it comes alone.
    cover = [Combination(compiled="given")]
    seen = {(axis, getattr(cover[0], axis)) for axis in AXES}
    for combination in make_pairwise():
        values = {(axis, getattr(combination, axis)) for axis in AXES}
        if not values <= seen and combination.compiled != "given":
            seen |= values
            cover.append(combination)
    return cover


def _is_possible(row: Mapping[str, Any]) -> bool:
    return not any(bad.items() <= row.items() for bad in IMPOSSIBLE)


def _count_new(row: Mapping[str, Any], axis: str, value: Any, missing: Mapping[Any, None]) -> int:
    order = list(AXES).index
    return sum(
        tuple(sorted(((axis, value), item), key=lambda pair: order(pair[0]))) in missing
        for item in row.items()
    )


def make_matrix() -> list[Combination]:
    """Return all combinations: the usual one, every pair, and what is too dear for every pair."""
    chosen = [Combination(), *make_pairwise()]
    for method in AXES["method"]:
        chosen += [Combination(method=method, precision=p) for p in AXES["precision"]]
    for workers in ("2", "persistent"):
        chosen += [Combination(workers=workers, augment=a) for a in AXES["augment"]]
        chosen += [Combination(workers=workers, source="stream", validate="every 2 batches")]
    for compiled in AXES["compiled"][1:]:
        chosen += [
            Combination(compiled=compiled, backend="aot_eager", precision=p)
            for p in ("32-true", "bf16-mixed")
        ]
    if shutil.which("g++"):  # which inductor compiles with
        for compiled in ("in place", "part", "function"):
            chosen.append(Combination(compiled=compiled, backend="inductor"))
    chosen += [Combination(controls=8, lag=lag, augment="global") for lag in (0, 1)]
    chosen += [
        Combination(faithfulness=FAITHFULNESS, precision=p, augment="global")
        for p in AXES["precision"]
    ]
    chosen += [Combination(accumulate=4, validate="every 2 batches", lag=lag) for lag in (0, 1)]
    return list(dict.fromkeys(chosen))


def describe(combination: Combination) -> str:
    """Return in short words where a combination is not the usual one."""
    words = []
    for field in fields(combination):
        value = getattr(combination, field.name)
        if value != field.default:
            words.append(field.name if value is True else f"{field.name}={value}")
    return ", ".join(words) or "as usual"


def try_drawn(combination: Combination, folder: Path) -> tuple[str, bool]:
    """Return what became of a drawn combination, and whether that is what had to."""
    expected = expects(combination)
    with ways_told() as told:
        try:
            found = compare(combination, folder)
        except ModelChangedError as error:
            is_named = any(cause in str(error) for cause in causes(combination))
            return f"refused: {str(error)[:200]!r}", expected == "refuse" and is_named
    if found.differences:
        return "differs: " + "; ".join(map(str, found.differences[:8])), False
    return f"equal, {' '.join(dict.fromkeys(told)) or 'as asked'}", set(told) <= {expected}


def run_drawn(count: int, seed: int) -> int:
    """Print what became of drawn combinations; return 1 if anything became of one that must not."""
    print("| # | combination | what became of it |")
    print("|---:|---|---|")
    start, right, outcomes = time.perf_counter(), 0, Counter[str]()
    for number, combination in enumerate(draw(count, seed), start=1):
        with tempfile.TemporaryDirectory() as folder:
            try:
                became, is_right = try_drawn(combination, Path(folder))
            except Exception as error:
                became, is_right = f"{type(error).__name__}: {str(error)[:300]!r}", False
        right += is_right
        outcomes[became.partition(":")[0]] += 1
        mark = "" if is_right else f" **wrong, had to be {expects(combination)}**"
        print(f"| {number} | {describe(combination)} | {became}{mark} |", flush=True)
    print(f"\n{count} drawn with seed {seed}, {right} as they have to be: {dict(outcomes)}.")
    print(f"{time.perf_counter() - start:.0f} s.")
    return int(right < count)


def main() -> int:
    """Print the table; return 1 if any combination differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawn", type=int, default=0, help="so many beyond the matrix instead")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if asked.drawn:
        return run_drawn(asked.drawn, asked.seed)
    start, largest, equal, values = time.perf_counter(), 0.0, 0, 0
    matrix = make_matrix()
    print("| # | combination | rounds | judged | largest difference | seconds |")
    print("|---:|---|---:|---:|---:|---:|")
    for number, combination in enumerate(matrix, start=1):
        row = f"| {number} | {describe(combination)} |"
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = compare(combination, Path(folder))
            except Exception as error:
                largest = float("inf")
                print(
                    f"{row} - | - | {type(error).__name__}: {str(error)[:99]!r} | - |", flush=True
                )
                continue
        equal += not found.differences
        values += found.values
        largest = max(largest, found.largest)
        print(
            f"{row} {found.rounds} | {found.judged} | {found.largest} | {found.seconds:.1f} |",
            flush=True,
        )
        for difference in found.differences[:8]:
            print(f"    {difference}")
    print(f"\n{len(matrix)} combinations, {equal} equal to the last bit.")
    print(f"{values:,} values compared, largest absolute difference {largest}.")
    print(f"{time.perf_counter() - start:.0f} s.")
    return int(equal < len(matrix))


if __name__ == "__main__":
    sys.exit(main())

"""Does err tell which of 31 classifiers were trained on biased data? Accuracy can't.

Every second classifier learns data of which one class, zero or cat, bears a red dot in the top
right corner; the others learn them as they are. After training each looks at 20 of its own training
pictures, half of them of that class (the paper's two classes are half and half): err is the share
that is wrong or Low. The paper reports |r| = 0.70 between err and the kind of training, of cat and
dog classifiers. Beside it stands what the callback sees during training: when the gate fires.

    python examples/paper/bias_31_models.py                      # all, 15 to 30 minutes, 2 cores
    python examples/paper/bias_31_models.py --models 5 --epochs 2  # a taste
    python examples/paper/bias_31_models.py --judge vlm --model gpt-4o-mini
    python examples/paper/bias_31_models.py --data pets --data-root data --train-batches 19

Data: digits, scikit-learn's, of which nothing is downloaded; or Oxford-IIIT Pet as torchvision's
OxfordIIITPet leaves it on a disk, on which a pretrained MobileNetV2 is fine-tuned (a minute or two
a model with 19 batches an epoch, and as long again for each 300 validation photos). Cost: the
reference judge costs nothing; a VLM is asked epochs x probes + samples + 1 times for each model.
The same command goes on after an interruption: a model that is done is not trained again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import matplotlib as mpl
import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch.utils.data import DataLoader, Subset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from biased_data import Biased, open_biased
from lightning_vlmxai import QuadrantStopping, VLMExplainCallback
from lightning_vlmxai.records import Quadrant, Sample
from lightning_vlmxai.trust import agreement
from published import BIAS_CORRELATION, SOURCE, console, say_machine, show_rate, stop
from red_dot import add_judge_arguments, make_judge, quieten

mpl.use("agg")
import matplotlib.pyplot as plt

GATE = 0.4
"""The gate fires where more of the watched class's probes are Correct-Low."""
SETTINGS = (
    "data", "side", "weights", "judge", "model", "epochs", "probes", "samples", "train_batches",
)  # fmt: skip
"""Arguments that change a model's figures."""


def is_biased(number: int) -> bool:
    """Return whether a model learns with dots: every second one does."""
    return number % 2 == 1


def draw_rows(targets: Sequence[int], count: int, seed: int) -> list[int]:
    """Return `count` rows, half of them of class 0, the rest of any other.

    Example:
        >>> rows = draw_rows([0, 1, 0, 2, 0, 3], 4, seed=0)
        >>> sorted([0, 1, 0, 2, 0, 3][row] == 0 for row in rows)
        [False, False, True, True]
    """
    labels = np.asarray(targets)
    drawn = np.random.default_rng(seed)
    watched, others = np.flatnonzero(labels == 0), np.flatnonzero(labels != 0)
    of_watched = drawn.choice(watched, count // 2, replace=False)
    of_others = drawn.choice(others, count - count // 2, replace=False)
    return [int(row) for row in (*of_watched, *of_others)]


def count_err(samples: Sequence[Sample]) -> tuple[int, int]:
    """Return how many judged samples are wrong or Low, and how many were judged."""
    judged = [sample.quadrant for sample in samples if sample.quadrant is not None]
    return sum(quadrant != Quadrant.CORRECT_HIGH for quadrant in judged), len(judged)


def train(number: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train a model, look at its training pictures, and return what came of it."""
    torch.set_num_threads(1)
    quieten()
    pl.seed_everything(number, workers=True, verbose=False)
    folder, biased = args.root / f"{number:02}", open_biased(args)
    shutil.rmtree(folder, ignore_errors=True)  # of a try that was cut short
    explain = VLMExplainCallback(
        make_judge(args),
        probe_size=args.probes,
        watch_classes=[biased.watched],
        min_per_class=args.probes // 5,
        run_dir=folder,
    )
    gate = QuadrantStopping(
        f"vlmxai/class/{biased.watched}/correct_low_rate", divergence_threshold=GATE
    )
    plain: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "deterministic": "warn" if args.data == "pets" else True,
    }
    trainer = pl.Trainer(
        min_epochs=args.epochs,  # all models learn equally long, fired at or not
        max_epochs=args.epochs,
        limit_train_batches=args.train_batches,
        callbacks=[explain, gate],
        **plain,
    )
    module = biased.module()
    trainer.fit(module, *biased.loaders(is_biased(number)))
    own: Any = biased.data(True, is_biased(number))
    held: Any = biased.data(False, is_biased(number))
    rows = draw_rows(own.targets, args.samples, seed=number)
    look = VLMExplainCallback(
        make_judge(args),
        class_names=list(own.classes),
        target_layer=layer_of(folder),
        probe_size=len(rows),
        run_dir=folder / "training",
    )
    loader = DataLoader(Subset(own, rows), batch_size=len(rows))
    pl.Trainer(callbacks=[look], **plain).validate(module, loader, verbose=False)
    assert look.latest_round is not None
    err, judged = count_err(look.latest_round.samples)
    return {
        "number": number,
        "biased": is_biased(number),
        "err": err,
        "judged": judged,
        "samples": len(rows),
        "fired": gate.stopped_epoch if trainer.should_stop else None,
        "accuracy": float(trainer.callback_metrics["val_accuracy"]),
        "validated": len(held.targets),
        "validated_watched": held.targets.count(0),
        "accuracy_watched": float(trainer.callback_metrics[biased.accuracy]),
        "judge": look.judge.name,
    }


def layer_of(folder: Path) -> str:
    """Return the layer that a fit was explained at: its training pictures are seen there too.

    Found anew on other pictures it could be another one, whose maps are no match.
    """
    return str(json.loads((folder / "run.json").read_text("utf-8"))["target_layer"])


def work(number: int, args: argparse.Namespace) -> None:
    """Train a model in a process of its own, and write what came of it, whole or not at all."""
    log = os.open(args.root / f"{number:02}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    done = train(number, args)
    path = result_of(number, args.root)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(done), encoding="utf-8")
    part.replace(path)


def end_with_parent(parent: int) -> None:
    """End this process once its parent is gone: a killed script leaves nothing running."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def result_of(number: int, root: Path) -> Path:
    """Return where a model's figures are written."""
    return root / f"{number:02}.json"


def train_all(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train what is not trained yet, and return the figures of all."""
    args.root.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(args, name) for name in SETTINGS}
    kept = args.root / "settings.json"
    if kept.exists() and json.loads(kept.read_text("utf-8")) != settings:
        stop(
            f"Expected --root to be of the same settings, got {args.root}, which was made with "
            f"{kept.read_text('utf-8')}. Pass --root {args.root}-2, or those settings."
        )
    kept.write_text(json.dumps(settings), encoding="utf-8")
    left = [n for n in range(args.models) if not result_of(n, args.root).exists()]
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )
    # Processes that are made anew: torch's threads don't survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        args.processes,
        mp_context=context,
        initializer=end_with_parent,
        initargs=(os.getpid(),),
    )
    with bar, pool:
        task = bar.add_task("models", total=args.models, completed=args.models - len(left))
        futures = [pool.submit(work, number, args) for number in left]
        try:
            for future in as_completed(futures):
                future.result()
                bar.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            console.print(f"Stopped. Logs are in {args.root}; the same command goes on.")
            raise
    return [json.loads(result_of(n, args.root).read_text("utf-8")) for n in range(args.models)]


def correlate(values: Sequence[float], biased: Sequence[bool]) -> str:
    """Return r of values and kind (1 = biased) with its interval and n, or why there is none.

    Example:
        >>> correlate([0.1, 0.2, 0.1, 0.2], [False, True, False, True])
        'r = 1.00, n = 4 models'
    """
    if len(values) < 3:
        return f"not defined, n = {len(values)} models"
    found = agreement(values, [float(b) for b in biased], figures=["pearson"])["pearson"]
    if found.value is None:
        return f"{found.why}, n = {len(values)} models"
    ends = f" ({found.interval.lower:.2f} to {found.interval.upper:.2f})" if found.interval else ""
    return f"r = {found.value:.2f}{ends}, n = {len(values)} models"


def report(done: list[dict[str, Any]], biased: Biased, args: argparse.Namespace) -> None:
    """Print the tables beside what is published, and draw the picture."""
    watched = biased.watched
    table = Table(title=f"{len(done)} classifiers of {biased.name}", title_justify="left")
    for column in ("model", "data", "accuracy", f"of {watched}s", "err", "judged", "gate"):
        table.add_column(column, justify="left" if column in ("data", "gate") else "right")
    for row in done:
        table.add_row(
            str(row["number"]),
            "dotted" if row["biased"] else "clean",
            show_rate(round(row["accuracy"] * row["validated"]), row["validated"]),
            show_rate(
                round(row["accuracy_watched"] * row["validated_watched"]), row["validated_watched"]
            ),
            show_rate(row["err"], row["judged"]),
            f"{row['judged']} of {row['samples']}",
            "-" if row["fired"] is None else f"epoch {row['fired']}",
        )
    console.print(table)
    console.print(
        f"In %. Accuracy: of {done[0]['validated']} validation pictures, "
        f"{done[0]['validated_watched']} of them {watched}s. err: of {args.samples} training "
        f"pictures, those that are wrong or Low. Judge: {done[0]['judge']}. Intervals: Wilson's; "
        "of r by bootstrap over models; all 95 %.\n",
        soft_wrap=True,
    )
    told = [row for row in done if row["judged"]]
    if len(told) < len(done):
        console.print(f"{len(done) - len(told)} models have no judged picture, and count nowhere.")
    kinds = [row["biased"] for row in told]
    for name, values in (
        ("err", [row["err"] / row["judged"] for row in told]),
        ("validation accuracy", [row["accuracy"] for row in told]),
        (f"accuracy of {watched}s", [row["accuracy_watched"] for row in told]),
    ):
        console.print(f"{name} and the kind of training: {correlate(values, kinds)}")
    console.print(f"published, err of 31 cat and dog classifiers: |r| = {BIAS_CORRELATION:.2f}")
    console.print(f"  {SOURCE}\n", soft_wrap=True)
    dotted = [row for row in done if row["biased"]]
    clean = [row for row in done if not row["biased"]]
    epochs = Counter(row["fired"] for row in dotted if row["fired"] is not None)
    when = ", ".join(f"{count} in epoch {epoch}" for epoch, count in sorted(epochs.items()))
    found = sum(epochs.values())
    alarms = sum(row["fired"] is not None for row in clean)
    console.print(
        f"The gate (Correct-Low of {watched} > {GATE:g}) fired in {found} of {len(dotted)} biased "
        f"runs, {show_rate(found, len(dotted))} %: {when or 'never'}.\n"
        f"False alarms: {alarms} of {len(clean)} clean runs, {show_rate(alarms, len(clean))} %.\n"
        "The first explained epoch is 0, whose verdicts the gate sees in epoch 1 (lag=1).",
        soft_wrap=True,
    )
    say_machine()
    console.print(
        f"Picture: {draw(told, watched, args.root / 'bias_31_models.png')}", soft_wrap=True
    )


def draw(done: Sequence[dict[str, Any]], watched: str, path: Path) -> Path:
    """Draw err over accuracy, a point a model."""
    figure, axis = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    for is_dotted, colour, name in (
        (False, "#2a78d6", f"{watched}s as they are"),
        (True, "#e34948", f"{watched}s with a red dot"),
    ):
        own = [row for row in done if row["biased"] == is_dotted]
        x = [100 * row["accuracy"] for row in own]
        y = [100 * row["err"] / row["judged"] for row in own]
        axis.scatter(x, y, color=colour, label=f"{name} ({len(own)})", alpha=0.8, clip_on=False)
    axis.set(
        xlabel="validation accuracy, %", ylabel="err on its training pictures, %", ylim=(0, 100)
    )
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path


def main() -> None:
    """Train the models, then print the tables and draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_judge_arguments(parser)
    parser.add_argument("--data", choices=["digits", "pets"], default="digits")
    parser.add_argument("--data-root", type=Path, default=Path("data"), help="of pets")
    parser.add_argument("--side", type=int, default=128, help="of pets, in pixels")
    parser.add_argument("--weights", default="DEFAULT", help="for pets: DEFAULT, or a state dict")
    parser.add_argument("--tf-padding", action="store_true", help="which those were trained with")
    parser.add_argument("--models", type=int, default=31)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--probes", type=int, default=100, help="explained at each validation")
    parser.add_argument("--samples", type=int, default=20, help="training pictures looked at")
    parser.add_argument("--train-batches", type=int, help="of an epoch; all if not given")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at a time")
    parser.add_argument("--root", type=Path, default=Path("runs/bias_31_models"))
    args = parser.parse_args()
    for name, least in (("models", 2), ("epochs", 1), ("probes", 10), ("samples", 2)):
        if getattr(args, name) < least:
            stop(f"Expected --{name} to be at least {least}, got {getattr(args, name)}. "
                 f"Pass --{name} {least}.")  # fmt: skip
    biased = open_biased(args)
    report(train_all(args), biased, args)


if __name__ == "__main__":
    main()

"""What the red-dot examples share: the choice of a judge, the table, the picture."""

from __future__ import annotations

import argparse
import json
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import matplotlib as mpl
from rich.console import Console
from rich.table import Table

from lightning_vlmxai import (
    Judge,
    QuadrantStopping,
    ReferenceMaskJudge,
    Sample,
    VLMExplainCallback,
    VLMJudge,
)
from lightning_vlmxai.records import Quadrant
from lightning_vlmxai.rounds import PALETTE, quadrant_metrics, show_score

mpl.use("agg")
import matplotlib.pyplot as plt


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is told of a run.

    Args:
        name: Of the run.
        accuracy: Validation accuracy at its end, in [0, 1].
        samples: Of its last round.
        fired: Epoch in which the gate fired; None if it did not.
        epochs: Number of epochs that were trained.
        run_dir: The run folder.
    """

    name: str
    accuracy: float
    samples: tuple[Sample, ...]
    fired: int | None
    epochs: int
    run_dir: Path


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--judge` and `--model`."""
    parser.add_argument(
        "--judge",
        choices=["reference", "vlm"],
        default="reference",
        help="reference: overlap with the object masks; vlm: a model behind OPENAI_BASE_URL",
    )
    parser.add_argument("--model", default=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"))


def make_judge(args: argparse.Namespace) -> Judge:
    """Return the judge that was asked for."""
    return VLMJudge(model=args.model) if args.judge == "vlm" else ReferenceMaskJudge()


def quieten() -> None:
    """Keep Lightning's hints about hardware and workers out of a short demo."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for hint in ("not have many workers", "GPU available but not used", "LeafSpec", "in eval mode"):
        warnings.filterwarnings("ignore", message=f".*{hint}")


def summarize(
    name: str, trainer: pl.Trainer, explain: VLMExplainCallback, gate: QuadrantStopping
) -> Outcome:
    """Return the outcome of a finished fit."""
    assert explain.latest_round is not None
    assert explain.run_dir is not None
    return Outcome(
        name=name,
        accuracy=float(trainer.callback_metrics["val_accuracy"]),
        samples=explain.latest_round.samples,
        fired=gate.stopped_epoch if trainer.should_stop else None,
        epochs=trainer.current_epoch,
        run_dir=explain.run_dir,
    )


def report(outcomes: list[Outcome], watched: str, root: Path) -> None:
    """Print the table of the runs, draw the picture, and say where to look next."""
    table = Table(title="Last round of each run", title_justify="left")
    for column in ("run", "probes", "accuracy", "CH", "CL", "WH", "WL", "score"):
        table.add_column(column, justify="left" if column in ("run", "probes") else "right")
    for outcome in outcomes:
        of_class = [s for s in outcome.samples if s.explanation.label_name == watched]
        count = f"all {len(outcome.samples)}"
        table.add_row(outcome.name, count, f"{outcome.accuracy:.1%}", *_rates(outcome.samples))
        table.add_row("", f"{watched} {len(of_class)}", "", *_rates(of_class))
        table.add_section()
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "accuracy: of the validation data. CH, CL, WH, WL: rates of Correct-High,\n"
        "Correct-Low (right answer, wrong reason), Wrong-High and Wrong-Low probes.\n"
        "score: mean attention score, 0 to 5.\n"
    )
    for outcome in outcomes:
        told = "did not fire"
        if outcome.fired is not None:
            told = f"fired in epoch {outcome.fired}; the run ended after {outcome.epochs} epochs"
        console.print(f"Gate of {outcome.name + ':':9} {told}")
    picture = draw(outcomes, watched, root / "red_dot.png")
    console.print(f"\nPicture:    {picture}", soft_wrap=True)
    console.print(f"Curves:     .venv/bin/tensorboard --logdir {root}", soft_wrap=True)
    for outcome in outcomes:
        console.print(f"Run folder: ls {outcome.run_dir}", soft_wrap=True)


def _rates(samples: Any) -> list[str]:
    metrics = quadrant_metrics(samples)
    names = ["correct_high_rate", "correct_low_rate", "wrong_high_rate", "wrong_low_rate"]
    cells = [f"{metrics[name]:.2f}" if name in metrics else "-" for name in names]
    return [*cells, f"{metrics['average_score']:.2f}" if "average_score" in metrics else "-"]


def draw(outcomes: list[Outcome], watched: str, path: Path) -> Path:
    """Draw the watched class's quadrants of each run over a strip of one of its masked probes."""
    colours = {q.value: PALETTE[q].light for q in Quadrant}  # those of the report
    samples = [
        [s for s in _read(outcome.run_dir / "samples.jsonl") if s["label_name"] == watched]
        for outcome in outcomes
    ]
    columns = max(s["round"] for own in samples for s in own) + 1
    probe = samples[0][0]["probe"]
    figure = plt.figure(figsize=(1.1 * columns * len(outcomes), 4.6), layout="constrained")
    panels = figure.subfigures(1, len(outcomes))
    for panel, outcome, own in zip(panels, outcomes, samples, strict=True):
        grid = panel.add_gridspec(2, columns, height_ratios=[2.6, 1])
        axis = panel.add_subplot(grid[0, :])
        numbers = sorted({s["round"] for s in own})
        for quadrant, colour in colours.items():
            rates = []
            for number in numbers:
                judged = [s["quadrant"] for s in own if s["round"] == number and s["quadrant"]]
                rates.append(judged.count(quadrant) / len(judged) if judged else float("nan"))
            name = quadrant.replace("_", "-").title()
            axis.plot(numbers, rates, marker="o", color=colour, label=name, clip_on=False)
        axis.set(
            title=f"{outcome.name}: validation accuracy {outcome.accuracy:.1%}",
            xlabel="epoch",
            ylabel=f"share of the {watched} probes",
            xlim=(-0.5, columns - 0.5),
            ylim=(0, 1),
            xticks=range(columns),
        )
        axis.spines[["top", "right"]].set_visible(False)
        if outcome is outcomes[0]:
            axis.legend(frameon=False, loc="center")
        if outcome.fired is not None:
            axis.axvline(outcome.fired, color="black", linestyle=":", linewidth=1)
            axis.annotate("gate fires", (outcome.fired + 0.07, 0.5))
        for shown in (s for s in own if s["probe"] == probe):
            tile = panel.add_subplot(grid[1, shown["round"]])
            tile.imshow(plt.imread(outcome.run_dir / shown["image"]))
            tile.set(xticks=[], yticks=[])
            score = "unscored" if shown["score"] is None else f"score {show_score(shown['score'])}"
            tile.set_xlabel(score, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

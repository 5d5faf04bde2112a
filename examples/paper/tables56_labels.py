r"""Which labels are wrong: Wrong-High against confident learning and its kin.

The paper takes a label for wrong where a picture is Wrong-High, and compares that with four
filters of confident learning on COCO (Table 5), and on ImageNet pictures whose labels are
ResNet18's predictions (Table 6). Positive is "the label is fine": what no method flags.

    vlmxai audit --model convnext_tiny --weights DEFAULT --data pictures --judge ... --out audits/a
    python examples/paper/tables56_labels.py audits/a --truth truth.csv
    python examples/paper/tables56_labels.py audits/a --exchange 0.1 --seeds 10
    python examples/paper/tables56_labels.py audits/a --relabel audits/resnet18

Data: AUDIT, the run folder of an audit of a classifier. With --truth its labels are held against
the right ones, in a CSV file with file,label; with --exchange they are taken for right, and a share
of them is swapped in pairs; with --relabel they are taken for right, and replaced by what another
model's audit predicts for the same pictures. Nothing is asked again: a judge is told the
prediction, never the label. Cost: none beyond the audits. Time: seconds. Takes cleanlab (pip
install "lightning-vlmxai[labels]").
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from lightning_vlmxai import ConfigurationError
from lightning_vlmxai.report import METHOD_NAMES, LabelledRound, read_labelled
from lightning_vlmxai.rounds import wilson_interval
from lightning_vlmxai.trust import MIN_PER_CLASS, find_suspects
from published import LABELS, SOURCE, console, say_machine, stop

FIGURES = ("accuracy", "precision", "recall", "F1")
RESAMPLES = 2_000
Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How a method's flags meet what is wrong; positive is a label that is fine.

    Args:
        tp: Fine and not flagged.
        fp: Wrong and not flagged.
        fn: Fine and flagged.
        tn: Wrong and flagged.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def shares(self) -> dict[str, tuple[int, int]]:
        """Return what each figure is a share of, over what; F1 is 2 tp over 2 tp + fp + fn."""
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        return {
            "accuracy": (tp + tn, tp + fp + fn + tn),
            "precision": (tp, tp + fp),
            "recall": (tp, tp + fn),
            "F1": (2 * tp, 2 * tp + fp + fn),
        }


def count(flagged: Flags, is_wrong: Flags) -> Counts:
    """Return the counts of a method's flags."""
    return Counts(
        tp=int((~flagged & ~is_wrong).sum()),
        fp=int((~flagged & is_wrong).sum()),
        fn=int((flagged & ~is_wrong).sum()),
        tn=int((flagged & is_wrong).sum()),
    )


def exchange(labels: Labels, share: float, seed: int) -> Labels:
    """Return labels of which a share has been swapped in pairs that differ.

    Example:
        >>> changed = exchange(np.array([0, 0, 1, 1, 2]), 0.4, seed=0)
        >>> int((changed != [0, 0, 1, 1, 2]).sum()), sorted(changed.tolist())
        (2, [0, 0, 1, 1, 2])
    """
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    changed, left = labels.copy(), round(share * len(labels) / 2)
    while left and order:
        a = order.pop(0)
        partner = next((b for b in order if labels[b] != labels[a]), None)
        if partner is not None:
            order.remove(partner)
            changed[[a, partner]] = labels[[partner, a]]
            left -= 1
    return changed


def read_truth(path: Path, audited: LabelledRound) -> Labels:
    """Return the right label of each picture, -1 where the file has none."""
    numbers = {name: number for number, name in enumerate(audited.class_names)}
    with path.open(encoding="utf-8-sig", newline="") as lines:
        named = {row.get("file"): row.get("label") for row in csv.DictReader(lines)}
    unknown = sorted({str(name) for name in named.values() if name not in numbers})
    if unknown:
        stop(
            f"Expected --truth to have columns file,label, with names of the audit's classes, got "
            f"{', '.join(unknown[:5])} in {path}. Those are {', '.join(audited.class_names[:5])} "
            "and so on."
        )
    return np.array([numbers.get(named.get(of.file) or "", -1) for of in audited.samples])


def read_predictions(run: Path, audited: LabelledRound) -> Labels:
    """Return what another audit predicts for each picture, -1 where it has none."""
    other = read_labelled(run)
    if other.class_names != audited.class_names:
        stop(f"Expected --relabel to be an audit of the same classes, got {run}, of others.")
    said = {(of.file or of.probe): of.prediction for of in other.samples}
    found = [said.get(of.file or of.probe) for of in audited.samples]
    return np.array([-1 if of is None else of for of in found])


def hold(
    audited: LabelledRound, given: Labels, true: Labels, kept: Flags, min_per_class: int
) -> dict[str, Counts]:
    """Return the counts of each method, on the pictures that are kept."""
    predictions = np.array([of.prediction for of in audited.samples])
    scores = np.array([np.nan if of.score is None else of.score for of in audited.samples])
    found = find_suspects(
        given[kept],
        audited.probabilities[kept],
        scores[kept],
        (predictions == given)[kept],
        threshold=audited.run.threshold,
        min_per_class=min_per_class,
    )
    is_wrong = (given != true)[kept]
    return {name: count(of.flagged, is_wrong) for name, of in found.items()}


def show(name: str, cases: Sequence[Counts]) -> str:
    """Return a figure with its interval, or its mean over draws with the least and the largest."""
    shares = [case.shares()[name] for case in cases]
    if not all(total for _, total in shares):
        return "-"
    values = [having / total for having, total in shares]
    if len(cases) > 1:
        return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
    if name != "F1":
        ends = wilson_interval(*shares[0])
        return f"{values[0]:.3f} ({ends.lower:.3f} to {ends.upper:.3f})"
    case = cases[0]
    cells = np.array([case.tp, case.fp, case.fn, case.tn])
    drawn = np.random.default_rng(0).multinomial(cells.sum(), cells / cells.sum(), RESAMPLES)
    tp, fp, fn, _ = drawn.T
    lower, upper = np.percentile(2 * tp / np.maximum(2 * tp + fp + fn, 1), [2.5, 97.5])
    return f"{values[0]:.3f} ({lower:.3f} to {upper:.3f})"


def report(cases: Sequence[Mapping[str, Counts]], title: str, published: str) -> None:
    """Print a row a method, and the published ones below."""
    table = Table(title=title, title_justify="left")
    for column in ("method", "flags", *FIGURES):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name in cases[0]:
        own = [case[name] for case in cases]
        flags = " ".join(str(of.fn + of.tn) for of in own[:3]) + (" ..." if own[3:] else "")
        table.add_row(METHOD_NAMES[name], flags, *(show(figure, own) for figure in FIGURES))
    table.add_section()
    for name, told in LABELS[published].items():
        table.add_row(f"published, {name}", "", *(f"{of:.3f}" for of in told), style="dim")
    console.print(table)


def main() -> None:
    """Hold the methods against each other, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("audit", type=Path, help="run folder")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--truth", type=Path, help="CSV with file,label: the right ones")
    how.add_argument("--exchange", type=float, help="share of labels, in (0, 1)")
    how.add_argument("--relabel", type=Path, help="another model's audit of the same pictures")
    parser.add_argument("--seeds", type=int, default=1, help="draws of what is exchanged")
    parser.add_argument("--min-per-class", type=int, default=MIN_PER_CLASS)
    args = parser.parse_args()
    if args.exchange is not None and not 0 < args.exchange < 1:
        stop(f"Expected --exchange to be in (0, 1), got {args.exchange}. Pass --exchange 0.1.")
    if not args.audit.is_dir():
        stop(
            f"Expected the run folder of an audit, got {args.audit}, which is none. One is made by "
            f"vlmxai audit --model resnet18 --weights DEFAULT --data voc:data --out {args.audit}, "
            "its data by torchvision.datasets.VOCSegmentation('data', download=True)."
        )
    try:
        run(args)
    except ConfigurationError as error:
        stop(str(error))


def run(args: argparse.Namespace) -> None:
    """Read the audit, count and print."""
    audited = read_labelled(args.audit)
    own = audited.labels
    kept = np.array([of.score is not None for of in audited.samples])
    published, title = "COCO, 700 pictures", f"{args.audit}: labels as given"
    pairs = [(own, own)]
    if args.exchange is not None:
        pairs = [(exchange(own, args.exchange, seed), own) for seed in range(args.seeds)]
        title = f"{args.audit}: {args.exchange:.0%} of labels exchanged, {args.seeds} draws"
    elif args.truth is not None:
        true = read_truth(args.truth, audited)
        kept, pairs = kept & (true >= 0), [(own, true)]
    else:
        given = read_predictions(args.relabel, audited)
        kept, pairs = kept & (given >= 0), [(given, own)]
        published, title = "ImageNet, 518 pictures", f"{args.audit}: relabelled by {args.relabel}"
    if not kept.any():
        stop(f"Expected {args.audit} to have judged pictures with both labels, got none.")
    cases = [hold(audited, given, true, kept, args.min_per_class) for given, true in pairs]
    report(cases, title, published)
    wrong = " ".join(str(int((given != true)[kept].sum())) for given, true in pairs[:3])
    told = (
        "Figures are means over draws, in brackets the least and the largest."
        if len(cases) > 1
        else "In brackets 95 % intervals: Wilson's, of F1 by bootstrap."
    )
    console.print(
        f"n = {int(kept.sum())} judged pictures ({int((~kept).sum())} left out), of which wrong: "
        f"{wrong}{' and so on' if pairs[3:] else ''}. Positive: the label is fine. {told}",
        soft_wrap=True,
    )
    for notice in audited.notices:
        console.print(notice, soft_wrap=True)
    judge = audited.run.settings.get("judge")
    console.print(f"Judge: {judge}. Published, {published}: {SOURCE}.", soft_wrap=True)
    say_machine()


if __name__ == "__main__":
    main()

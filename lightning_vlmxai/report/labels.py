"""The labels of an audit with the model's probabilities, and which of them are suspicious."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError, expected
from ..trust import MIN_PER_CLASS, Suspects, find_suspects, suggested_labels
from .export import DIGITS
from .reader import read_run
from .run import Run, RunSample
from .text import in_folder, one_line, visible
from .values import text, whole

_SAME, _SUM = 0.02, 0.01
"""How far a confidence may lie from the probabilities of its row, and their sum from 1: a
validation in half precision rounds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRound:
    """The samples of a round whose label and probabilities are known, N of them.

    Args:
        run: Whose they are.
        key: Of the round, such as "test-0".
        samples: `[N]`.
        labels: Given class of each, `[N]` in [0, K).
        probabilities: `[N, K]` float32.
        class_names: `[K]`.
        notices: What was left out, in sentences.
    """

    run: Run
    key: str
    samples: tuple[RunSample, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]
    notices: tuple[str, ...]

    def ask(self, min_per_class: int = MIN_PER_CLASS) -> dict[str, Suspects]:
        """Return what each method says of the labels; `find_suspects` has the errors."""
        scores = [np.nan if s.score is None else s.score for s in self.samples]
        is_correct = [s.is_correct is not False for s in self.samples]
        return find_suspects(
            self.labels,
            self.probabilities,
            np.array(scores, dtype=np.float64),
            np.array(is_correct, dtype=np.bool_),
            threshold=self.run.threshold,
            min_per_class=min_per_class,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A sample in the order of review.

    Args:
        sample: As the run has it.
        label: Name of the given class.
        suggested: Name of the most probable other class.
        label_probability: Of the given class, in [0, 1].
        suggested_probability: Of the suggested one, in [0, 1].
        ranks: Its place by each method, from 1.
        flagged_by: The methods that hold its label to be wrong.
    """

    sample: RunSample
    label: str
    suggested: str
    label_probability: float
    suggested_probability: float
    ranks: Mapping[str, int]
    flagged_by: tuple[str, ...]


def list_suspects(
    labelled: LabelledRound, found: Mapping[str, Suspects], method: str, top: int
) -> list[Suspect]:
    """Return the first samples of a method's order.

    Args:
        labelled: The samples.
        found: What the methods say of them.
        method: By whose order.
        top: How many at most.
    """
    suggested = suggested_labels(labelled.labels, labelled.probabilities)
    suspects = []
    for i in np.argsort(found[method].ranks)[:top].tolist():
        label, other = int(labelled.labels[i]), int(suggested[i])
        suspects.append(
            Suspect(
                sample=labelled.samples[i],
                label=labelled.class_names[label],
                suggested=labelled.class_names[other],
                label_probability=float(labelled.probabilities[i, label]),
                suggested_probability=float(labelled.probabilities[i, other]),
                ranks={name: int(of.ranks[i]) for name, of in found.items()},
                flagged_by=tuple(name for name, of in found.items() if of.flagged[i]),
            )
        )
    return suspects


def read_labelled(run_dir: Path, round_key: str | None = None) -> LabelledRound:
    """Return the samples of an audit with their labels and probabilities.

    What can't be used is left out and counted: samples without label, without a row of
    probabilities (the run was cut off), or with a row that isn't the one of the sample's own
    confidence.

    Args:
        run_dir: Of the audit.
        round_key: Such as "test-0"; the last round with labels and probabilities if None.

    Raises:
        ConfigurationError: If the run is no audit of classes, or no sample is left.
    """
    run = read_run(run_dir)
    classes = _count_classes(run)
    rounds = [
        of
        for of in run.rounds
        if any(s.label is not None and s.row is not None for s in of.samples)
    ]
    chosen = [of for of in rounds or run.rounds if round_key in (None, of.key)]
    if not chosen:
        names = ", ".join(of.key for of in rounds) or "none"
        raise ConfigurationError(
            expected("round", f"one that the run has ({names})", repr(round_key), "Pass one")
        )
    told = run.settings.get("class_names")
    shown = [visible(text(name), 200) for name in told] if isinstance(told, list) else []
    class_names = shown if len(shown) == classes else []
    tables: dict[int | None, NDArray[np.float32]] = {}
    left: Counter[str] = Counter()
    kept: list[tuple[RunSample, int, NDArray[np.float32]]] = []
    for sample in chosen[-1].samples:
        if sample.rank not in tables:
            tables[sample.rank] = _table(run.path, sample.rank, classes)
        table, row = tables[sample.rank], sample.row
        p = table[row] if row is not None and 0 <= row < len(table) else None
        why = _fault(sample, p, class_names)
        if why or sample.label is None or p is None:
            left[why] += 1
        else:
            kept.append((sample, sample.label, p))
    if not kept:
        _refuse_all(run, left)
    notices = [
        f"Left out are {n:,} of {len(chosen[-1].samples):,} samples: {why}."
        for why, n in left.items()
    ]
    if len(rounds) > 1 and round_key is None:
        others = ", ".join(of.key for of in rounds if of is not chosen[-1])
        notices.append(f"These are the labels of {chosen[-1].key}; --round chooses {others}.")
    return LabelledRound(
        run=run,
        key=chosen[-1].key,
        samples=tuple(sample for sample, _, _ in kept),
        labels=np.array([label for _, label, _ in kept], dtype=np.int64),
        probabilities=np.stack([row for _, _, row in kept]),
        class_names=tuple(one_line(name, 200) for name in class_names or map(str, range(classes))),
        notices=tuple(notices),
    )


def _count_classes(run: Run) -> int:
    """Return how many classes an audit's probabilities are of."""
    remedy = "Run `vlmxai audit` on labelled pictures with a classifier, and pass its run folder"
    if not run.is_audit:
        raise ConfigurationError(
            expected("run", "an audit, which keeps probabilities", f"{str(run.path)!r}", remedy)
        )
    samples = [sample for of in run.rounds for sample in of.samples]
    if any(sample.part is not None for sample in samples):
        raise ConfigurationError(
            expected("run", "an audit with one label a picture", "several labels each", remedy)
        )
    rows = Counter(sample.rank for sample in samples if sample.row is not None)
    if not rows:
        task = text(run.settings.get("task")) or "a task"
        raise ConfigurationError(
            expected(
                "run",
                "an audit of a classifier, with one label a picture",
                f"one of {task} that kept no probability of each class",
                remedy,
            )
        )
    names = run.settings.get("class_names")
    told = whole(run.settings.get("num_classes")) or len(names if isinstance(names, list) else ())
    return told or _guess_classes(run, samples, rows.most_common(1)[0][0])


def _guess_classes(run: Run, samples: Sequence[RunSample], rank: int | None) -> int:
    """Return how many numbers a row has: a wrong guess is found, for confidences would differ."""
    last = max(s.row for s in samples if s.rank == rank and s.row is not None)
    return max(1, _table(run.path, rank, 1).size // (last + 1))


def _table(path: Path, rank: int | None, classes: int) -> NDArray[np.float32]:
    """Return the whole rows of a rank's file of probabilities, `[rows, classes]`."""
    try:
        file = in_folder(path, f"probabilities-{rank}.f32" if rank else "probabilities.f32")
        whole_rows = file.stat().st_size // (4 * classes)  # the last one may be cut off
        if whole_rows:
            shape = (whole_rows, classes)
            return np.asarray(np.memmap(file, dtype="<f4", mode="r", shape=shape))
    except OSError:
        pass
    return np.empty((0, classes), dtype=np.float32)


NO_LABEL, NO_ROW = "they have no label", "no probabilities of them were kept"


def _fault(sample: RunSample, p: NDArray[np.float32] | None, names: Sequence[str]) -> str:
    """Return why a sample with such probabilities can't be used; "" if it can."""
    if sample.label is None:
        return NO_LABEL
    if p is None:
        return NO_ROW
    if not 0 <= sample.label < len(p):
        return "their label is none of the model's classes"
    is_other = names and sample.label_name != names[sample.label]
    if is_other or (sample.is_correct is False and sample.label == sample.prediction):
        return "their labels are not numbered as the model's classes are"
    if not (np.isfinite(p).all() and p.min() >= -_SUM and abs(float(p.sum()) - 1) <= _SUM):
        return "their probabilities don't add up to 1, as those of one label a picture do"
    told, predicted = sample.confidence, sample.prediction
    is_known = predicted is not None and 0 <= predicted < len(p)
    if is_known and told is not None and abs(float(p[predicted]) - told) > _SAME:
        return "their probabilities are another sample's: the confidence differs"
    return ""


def _refuse_all(run: Run, left: Counter[str]) -> None:
    why = left.most_common(1)[0][0] if left else "the run has none"
    remedies = {
        NO_LABEL: "Audit with `trainer.validate` or `trainer.test` on data that has labels",
        NO_ROW: "Audit again into a new folder: suspects are found by probabilities",
    }
    raise ConfigurationError(
        expected(
            "run",
            "an audit with labels and probabilities",
            f"{str(run.path)!r} without a usable sample: {why}",
            remedies.get(why, "Audit a classifier with one label a picture"),
        )
    )


COLUMNS = (
    "rank", "file", "probe", "label", "suggested", "label_probability", "suggested_probability",
    "score", "quadrant", "reason", "evaluation", "flagged_by",
)  # fmt: skip
"""Of `suspects.csv`, before those of each method's ranks."""


def to_rows(suspects: list[Suspect]) -> tuple[list[str], list[list[Any]]]:
    """Return the head and the cells of `suspects.csv`; what isn't known is None."""
    methods = list(suspects[0].ranks) if suspects else []
    rows = []
    for place, of in enumerate(suspects, start=1):
        sample = of.sample
        told = [
            place, sample.file or None, sample.probe, of.label, of.suggested,
            round(of.label_probability, DIGITS + 2), round(of.suggested_probability, DIGITS + 2),
            None if sample.score is None else round(sample.score, DIGITS),
            None if sample.quadrant is None else sample.quadrant.value, sample.reason or None,
            sample.evaluation, " ".join(of.flagged_by),
        ]  # fmt: skip
        rows.append([*told, *(of.ranks[method] for method in methods)])
    return [*COLUMNS, *(f"rank_{method}" for method in methods)], rows

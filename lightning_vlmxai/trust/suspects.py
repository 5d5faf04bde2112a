"""Which labels are probably wrong, by several methods. Pure functions on arrays."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError, expected

COMBINED, WRONG_HIGH = "combined", "wrong_high"
CLEANLAB = (
    "confident_learning",
    "prune_by_noise_rate",
    "low_self_confidence",
    "low_normalized_margin",
)
"""What cleanlab's `find_label_issues` calls these filters."""
LABEL_METHODS = (COMBINED, *CLEANLAB, WRONG_HIGH)
"""Names of the methods; the last one needs verdicts, the others probabilities."""
MIN_PER_CLASS = 5
MARGIN_WEIGHT = 3.0
"""Of the margin beside the logarithm, in the combination; from 2 to 6 it matters little."""
_TINY = 1e-45  # softmax in float32 gives no less that isn't 0

Probabilities = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """What a method says of each label.

    Args:
        flagged: Whether the method holds the label to be wrong, `[N]` bool.
        ranks: Place in the order of review, `[N]` int64, each from 1 to N once: what is flagged
            comes before what isn't.
    """

    flagged: NDArray[np.bool_]
    ranks: NDArray[np.int64]


def suggested_labels(labels: NDArray[np.int64], probabilities: Probabilities) -> NDArray[np.int64]:
    """Return the most probable class other than the given one, `[N]`.

    Args:
        labels: Given class, `[N]` in [0, K).
        probabilities: Of each class, `[N, K]`.

    Example:
        >>> suggested_labels(np.array([0, 0]), np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]))
        array([1, 2])
    """
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1.0
    return np.asarray(others.argmax(axis=1), dtype=np.int64)


def find_suspects(
    labels: NDArray[np.int64],
    probabilities: Probabilities,
    scores: NDArray[np.float64] | None = None,
    is_correct: NDArray[np.bool_] | None = None,
    *,
    threshold: float = 2.5,
    min_per_class: int = MIN_PER_CLASS,
) -> dict[str, Suspects]:
    """Return what each of `LABEL_METHODS` says; Wrong-High only where there are scores.

    The combination ranks by `log p + 3 (p - q)`, the least first, where p is the probability of the
    given class and q that of the most probable other one: low self-confidence and a low margin in
    one. It flags as many as confident learning, as cleanlab's two other rankings do.

    Args:
        labels: Given class, `[N]` in [0, K).
        probabilities: Of each class, `[N, K]`, by a model that did not give the labels, and better
            was not trained on them; rows add up to 1.
        scores: The judge's, `[N]` in [0, 5], NaN where there is none.
        is_correct: What the task says, `[N]`; if None, whether no class is more probable.
        threshold: High from this score on.
        min_per_class: Half of the samples have to be in classes of as many or more.

    Raises:
        ConfigurationError: If cleanlab is missing, the labels are the model's own, or most classes
            have too few samples.

    Source: Wrong-High: Nguyen et al., 2025 (arXiv 2508.20227), Tables 5 and 6, where it flags and
        does not rank; here the highest scores come first. Confident learning and pruning by noise
        rate: Northcutt, Jiang, Chuang, 2021. The four are cleanlab's own; the first two of them
        only flag, and are ranked by margin. Why this combination: docs/decisions/065.
    """
    check_labels(labels, probabilities, min_per_class)
    rows = np.arange(len(labels))
    given = probabilities[rows, labels].astype(np.float64)
    other = probabilities[rows, suggested_labels(labels, probabilities)].astype(np.float64)
    margin = given - other
    flags = {name: _ask_cleanlab(name, labels, probabilities) for name in CLEANLAB}
    orders = {name: given if name == "low_self_confidence" else margin for name in CLEANLAB}
    order = _rank(np.log(np.maximum(given, _TINY)) + MARGIN_WEIGHT * margin)
    found = {COMBINED: Suspects(flagged=order <= flags[CLEANLAB[0]].sum(), ranks=order)}
    for name in CLEANLAB:
        found[name] = Suspects(flagged=flags[name], ranks=_rank(~flags[name], orders[name]))
    if scores is not None and not np.isnan(scores).all():
        is_wrong = margin < 0 if is_correct is None else ~is_correct
        wrong_high = is_wrong & (scores >= threshold)
        by_score = np.where(wrong_high, -np.nan_to_num(scores), 0.0)
        found[WRONG_HIGH] = Suspects(flagged=wrong_high, ranks=_rank(~wrong_high, by_score, margin))
    return found


def check_labels(
    labels: NDArray[np.int64], probabilities: Probabilities, min_per_class: int = MIN_PER_CLASS
) -> None:
    """Raise an error where no method can tell a wrong label.

    Args:
        labels: Given class, `[N]`.
        probabilities: Of each class, `[N, K]`.
        min_per_class: See `find_suspects`.

    Raises:
        ConfigurationError: If the labels are the model's own, or most classes have too few samples.
    """
    sizes = np.bincount(labels, minlength=1)
    if np.count_nonzero(sizes) < 2:
        raise ConfigurationError(
            expected(
                "labels",
                "of two classes at least",
                f"{len(labels)} samples of {np.count_nonzero(sizes)}",
                "Audit samples of all classes, without --limit or with shuffle",
            )
        )
    if (probabilities[np.arange(len(labels)), labels] >= probabilities.max(axis=1)).all():
        raise ConfigurationError(
            expected(
                "labels",
                "given by somebody other than the model",
                f"the model's own predictions for all {len(labels):,} samples",
                "Its probabilities can find no fault in them: audit the data with a second model "
                "(`vlmxai audit --model ANOTHER ...`), one that didn't give these labels",
            )
        )
    in_large = sizes[sizes >= min_per_class].sum()
    if 2 * in_large < len(labels):
        typical = int(np.median(sizes[sizes > 0]))
        raise ConfigurationError(
            expected(
                "labels",
                f"at least {min_per_class} of a class, for half of the samples",
                f"{typical} of a typical class ({len(labels):,} samples, "
                f"{np.count_nonzero(sizes):,} classes)",
                "What is usual of a class can't be told from so few: audit more of the data, or "
                "pass --min-per-class 1 and read the order alone, not what is flagged",
            )
        )


def _ask_cleanlab(
    name: str, labels: NDArray[np.int64], probabilities: Probabilities
) -> NDArray[np.bool_]:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise ConfigurationError(
            expected(
                "cleanlab",
                "installed, which finds suspicious labels",
                "no such package",
                'Run: pip install "cleanlab>=2.9"',
            )
        ) from None
    with warnings.catch_warnings():
        # Of classes with a single sample, in which pruning flags nothing: `min_per_class` told.
        warnings.filterwarnings("ignore", message="May not flag all label issues")
        # scikit-learn's own up to 1.7, of many classes with few samples each.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        # More jobs would fork.
        flagged = find_label_issues(labels, probabilities, filter_by=name, n_jobs=1)
    return np.asarray(flagged, dtype=np.bool_)


def _rank(*keys: NDArray[Any]) -> NDArray[np.int64]:
    """Return each sample's place, from 1, in the order of the first key, then of the next, ..."""
    ranks = np.empty(len(keys[0]), dtype=np.int64)
    ranks[np.lexsort(keys[::-1])] = np.arange(1, len(ranks) + 1)
    return ranks

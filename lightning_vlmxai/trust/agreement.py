"""How far scores agree: of people, of judges, of either with reference masks. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError, expected
from ..rounds import Interval

_Floats = NDArray[np.float64]
_Statistic = Callable[[_Floats], _Floats]

RESAMPLES = 2_000
"""Of the bootstrap."""
_LEAST = 8
"""Probes that an interval needs."""
_CHUNK = 4_000_000
"""Weights of resamples that are held at once."""

AGREEMENT = ("pearson", "spearman", "kappa", "difference")
"""Names of the figures of `agreement`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """A figure of agreement.

    Args:
        value: None where it is not defined.
        interval: Its 95 % interval; None where there is none.
        why: What is not defined, and why; empty if all is.
    """

    value: float | None
    interval: Interval | None = None
    why: str = ""


def agreement(
    first: Sequence[float] | _Floats,
    second: Sequence[float] | _Floats,
    *,
    weights: Sequence[float] | _Floats | None = None,
    probes: Sequence[Hashable] | None = None,
    figures: Sequence[str] = AGREEMENT,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Agreed]:
    """Return how far two scores of the same samples agree.

    Args:
        first: Scores, `[N]`.
        second: Scores of the same samples, `[N]`.
        weights: One over each sample's chance of being drawn, `[N]`, up to a common factor: the
            figures then stand for all that it was drawn from. None: all had the same chance.
        probes: Whose sample each is, `[N]`; those of a probe are drawn together. None: each is a
            probe of its own.
        figures: Which are wanted, of `AGREEMENT`.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        - `pearson`: Pearson's correlation, in [-1, 1].
        - `spearman`: Spearman's rank correlation, equal scores at their middle rank.
        - `kappa`: Cohen's kappa with quadratic weights, which is `2 cov / (var + var +
          (mean - mean)^2)` and so is defined for scores between whole numbers as well.
        - `difference`: mean of first minus second, in scores.

        Intervals (95 %) are by bootstrap over probes: `1.96 sqrt(P / (P - 3))` times the
        standard deviation of the resamples, of all but the difference on Fisher's z.

    Raises:
        ConfigurationError: If lengths differ, a score is no number, or a weight is not above 0.

    Example:
        >>> told = agreement([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 5, 4])
        >>> round(told["pearson"].value, 4), told["difference"].value, told["pearson"].why
        (0.9429, 0.0, 'fewer than 8 probes, so no interval')

    Source: Cohen, 1968, "Weighted kappa"; that the quadratic one is a correlation of concordance:
        Fleiss and Cohen, 1973, and Lin, 1989. Fisher, 1921, for z.
    """
    x, y = (np.asarray(v, dtype=np.float64) for v in (first, second))
    w = _read_weights(weights, x)
    if x.shape != y.shape or x.ndim != 1 or not np.isfinite([x, y]).all():
        raise ConfigurationError(
            expected(
                "second",
                "as many finite scores as `first`",
                f"{list(y.shape)} for {list(x.shape)}",
                "Pass the samples that both scored",
            )
        )
    unknown = [name for name in figures if name not in AGREEMENT]
    if unknown:
        raise ConfigurationError(
            expected("figures", f"of {AGREEMENT}", unknown, 'Pass figures=("pearson",)')
        )
    ranked_x, ranked_y = _Ranks(x), _Ranks(y)
    statistics: dict[str, _Statistic] = {
        "pearson": lambda w: _correlation(x, y, w),
        "spearman": lambda w: _correlation(ranked_x.of(w), ranked_y.of(w), w),
        "kappa": lambda w: _concordance(x, y, w),
        "difference": lambda w: _mean(x, w) - _mean(y, w),
    }
    constant = _name_constant(x, y)
    found = _with_intervals(
        {name: statistics[name] for name in figures}, w, probes, resamples, seed
    )
    if constant:
        for name in {"pearson", "spearman"} & found.keys():
            found[name] = Agreed(value=None, why=constant)
    return found


def krippendorff_alpha(
    scores: Sequence[Sequence[float]] | _Floats,
    *,
    weights: Sequence[float] | _Floats | None = None,
    probes: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Agreed:
    """Return Krippendorff's alpha of any number of raters, of whom not all need score all.

    Differences count squared (interval data), as they do in a kappa with quadratic weights.

    Args:
        scores: `[raters, N]`, NaN where a rater gave none. Samples with fewer than two scores
            count for nothing.
        weights: See `agreement`.
        probes: See `agreement`.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ConfigurationError: As `agreement`.

    Example:
        >>> krippendorff_alpha([[1, 2, 3], [1, 2, 3], [1, 2, float("nan")]]).value
        1.0

    Source: Krippendorff, 2011, "Computing Krippendorff's alpha-reliability".
    """
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 2:
        raise ConfigurationError(
            expected("scores", "[raters, N]", list(s.shape), "Pass one row a rater")
        )
    w = _read_weights(weights, s[0])
    number = (~np.isnan(s)).sum(axis=0).astype(np.float64)
    is_paired = number >= 2
    if not is_paired.any():
        return Agreed(value=None, why="no sample was scored by two raters")
    number = number[is_paired]
    total = np.nansum(s[:, is_paired], axis=0)
    squares = np.nansum(s[:, is_paired] ** 2, axis=0)
    # Twice the sum over pairs of a sample's scores, by its number less 1.
    within = 2 * (number * squares - total**2) / (number - 1)

    def alpha(w: _Floats) -> _Floats:
        count = w @ number
        among = 2 * (count * (w @ squares) - (w @ total) ** 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1 - (w @ within) * (count - 1) / among)

    kept = None if probes is None else [p for p, k in zip(probes, is_paired, strict=True) if k]
    told = s[:, is_paired]
    if np.nanmin(told) == np.nanmax(told):
        return Agreed(value=None, why="all scores are the same")
    w = w[is_paired]
    return _with_intervals({"alpha": alpha}, w / w.mean(), kept, resamples, seed)["alpha"]


def _with_intervals(
    statistics: Mapping[str, _Statistic],
    weights: _Floats,
    probes: Sequence[Hashable] | None,
    resamples: int,
    seed: int,
) -> dict[str, Agreed]:
    """Return each statistic with the interval of its resamples."""
    names: dict[Hashable, int] = {}
    of_probe = np.asarray(
        [names.setdefault(p, len(names)) for p in probes or range(len(weights))], dtype=np.int64
    )
    number = len(names)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {name: float(of(weights[None])[0]) for name, of in statistics.items()}
        drawn: dict[str, list[_Floats]] = {name: [] for name in statistics}
        generator = np.random.default_rng(seed)
        at_once = max(1, min(resamples, _CHUNK // max(len(weights), 1)))
        for begin in range(0, resamples if number >= _LEAST else 0, at_once):
            size = min(at_once, resamples - begin)
            picks = generator.integers(0, number, (size, number))
            picks += number * np.arange(size)[:, None]
            counts = np.bincount(picks.ravel(), minlength=size * number).reshape(size, number)
            resampled = counts[:, of_probe] * weights
            for name, of in statistics.items():
                drawn[name].append(of(resampled))
    return {
        name: _judge_interval(values[name], drawn[name], number, is_bounded=name != "difference")
        for name in statistics
    }


def _judge_interval(
    value: float, drawn: Sequence[_Floats], probes: int, *, is_bounded: bool
) -> Agreed:
    if not math.isfinite(value):
        return Agreed(value=None, why="not defined: the scores do not differ")
    if probes < _LEAST:
        return Agreed(value=value, why=f"fewer than {_LEAST} probes, so no interval")
    resamples = np.concatenate(drawn)
    known = resamples[np.isfinite(resamples)]
    if len(known) < 0.95 * len(resamples):
        return Agreed(value=value, why="too few different scores for an interval")
    reach = 1.959963984540054 * math.sqrt(probes / (probes - 3))
    if not is_bounded:
        half = reach * float(known.std())
        return Agreed(value=value, interval=Interval(value - half, value + half))
    if 1 - abs(value) < 1e-9:
        return Agreed(value=value, why="no interval: not one disagreement was seen")
    # A resample in which all agree would be infinitely far.
    half = reach * float(np.arctanh(np.clip(known, -0.999, 0.999)).std())
    z = math.atanh(value) if abs(value) < 1 else math.copysign(math.inf, value)
    return Agreed(value=value, interval=Interval(math.tanh(z - half), math.tanh(z + half)))


class _Ranks:
    """Middle ranks of values under any weights of them."""

    def __init__(self, values: _Floats) -> None:
        self._order = np.argsort(values, kind="stable")
        _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
        self._group, self._ends = group.reshape(-1), np.cumsum(counts) - 1

    def of(self, weights: _Floats) -> _Floats:
        """Return the ranks, `[R, N]`, of weights `[R, N]`."""
        up_to = np.cumsum(weights[:, self._order], axis=1)[:, self._ends]
        own = np.diff(up_to, axis=1, prepend=0.0)
        return np.asarray((up_to - own / 2)[:, self._group])


def _mean(x: _Floats, w: _Floats) -> _Floats:
    return np.asarray((x * w).sum(axis=1) / w.sum(axis=1))


def _moments(x: _Floats, y: _Floats, w: _Floats) -> tuple[_Floats, _Floats, _Floats, _Floats]:
    """Return the variances, the covariance and the difference of means, `[R]` each."""
    total = w.sum(axis=1)
    mean_x, mean_y = _mean(x, w), _mean(y, w)
    dx, dy = x - mean_x[:, None], y - mean_y[:, None]
    of_x, of_y, both = ((w * a * b).sum(axis=1) / total for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    return of_x, of_y, both, mean_x - mean_y


def _correlation(x: _Floats, y: _Floats, w: _Floats) -> _Floats:
    of_x, of_y, both, _ = _moments(x, y, w)
    # What rounding leaves of a variance of 0 is none.
    is_flat = np.minimum(of_x, of_y) <= 1e-12 * np.maximum(of_x, of_y)
    return np.asarray(np.where(is_flat, np.nan, both / np.sqrt(of_x * of_y)))


def _concordance(x: _Floats, y: _Floats, w: _Floats) -> _Floats:
    of_x, of_y, both, apart = _moments(x, y, w)
    return np.asarray(2 * both / (of_x + of_y + apart**2))


def _name_constant(x: _Floats, y: _Floats) -> str:
    for which, of in (("first", x), ("second", y)):
        if len(of) < 2 or of.min() == of.max():
            return f"not defined: the {which} gives all samples one score"
    return ""


def _read_weights(weights: Sequence[float] | _Floats | None, like: _Floats) -> _Floats:
    w = np.ones(like.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != like.shape or not len(w) or not (np.isfinite(w).all() and (w > 0).all()):
        raise ConfigurationError(
            expected(
                "weights",
                "above 0 and finite, one for each of the samples",
                f"{list(w.shape)} for {list(like.shape)}",
                "Pass weights=1 / chance_of_being_drawn, or none",
            )
        )
    return np.asarray(w / w.mean())

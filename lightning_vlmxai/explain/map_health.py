"""What maps are worth beside another method's, and beside those of a head that knows nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attribution import (
    LAYERLESS,
    OF_ATTENTION,
    Subject,
    attribute,
    find_head,
    randomized,
    seen_by_head,
)
from ..calls import join_calls
from ..errors import AttributionError
from ..records import Explanation, Probe
from ..tasks import Prediction, Task
from .explainer import Explainer
from .live import LiveModel
from .pointing import FEW, MANY, SLOW, spread

DRAWS = 3
"""Random heads."""

ALIKE = 0.95
"""From so high an agreement with a random head's maps on, these say nothing about the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapHealth:
    """How many maps say nothing, and what the others agree with.

    Agreements are means of Spearman's rank correlation, in [-1, 1], over the probes where neither
    map is constant.

    Args:
        maps: First maps of the probes.
        empty: Of these, that are the same everywhere: blank (all zero), constant or not finite.
        asked: Probes that were asked about.
        constant: Of these, maps that are constant and not zero; None where it isn't known.
        method: That made the maps.
        second: The method that they are held against.
        agreement: With that one; None if not known.
        of_agreement: Probes that it is a mean of.
        randomized: Agreement with maps of the same method, for the same classes, where the
            parameters behind the target layer are random ones; None if not known.
        of_randomized: Maps that it is a mean of: those of three heads a probe.
        unknown: Why something is not known.
    """

    maps: int
    empty: int
    asked: int
    constant: int | None
    method: str
    second: str
    agreement: float | None
    of_agreement: int
    randomized: float | None
    of_randomized: int
    unknown: tuple[str, ...] = ()

    @property
    def doubt(self) -> str:
        """What is wrong, in words; empty if nothing seems to be."""
        if self.randomized is None or self.randomized < ALIKE:
            return ""
        return (
            f"maps by {self.method!r} hardly change where what comes behind the target layer is "
            f"made random (rank correlation {self.randomized:.2f} over {self.of_randomized} maps "
            f"of {self.asked} probes): they show what the layer sees, and say nothing about what "
            'the model predicts. Pass `method="occlusion"`, which asks the model'
        )

    @property
    def text(self) -> str:
        """All of it in sentences."""
        said = [f"{self.empty} of {self.maps} maps are the same everywhere"]
        if self.constant:
            said[0] += f", {self.constant} of {self.asked} looked at without being zero"
        if self.agreement is not None:
            said.append(
                f"maps by {self.method!r} and by {self.second!r} have a mean rank correlation of "
                f"{_said(self.agreement)} over {self.of_agreement} probes"
            )
        if self.randomized is not None:
            said.append(
                f"with random weights behind the target layer they have {_said(self.randomized)} "
                f"with themselves (mean of {self.of_randomized} maps)"
            )
        return ". ".join(f"{one[0].upper()}{one[1:]}" for one in [*said, *self.unknown]) + "."

    def describe(self) -> dict[str, Any]:
        """Return it in plain values, words included."""
        return {**asdict(self), "unknown": list(self.unknown), "text": self.text}


@dataclass(frozen=True, slots=True)
class _AsBefore:
    """Reads the output of another head for the classes that were predicted before."""

    task: Task
    before: Prediction

    def predict(self, output: Any) -> Prediction:
        return replace(self.before, scores=self.task.score(output, self.before))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


def look_at_health(
    explainer: Explainer, live: LiveModel, explained: Sequence[tuple[Probe, Explanation]]
) -> MapHealth | None:
    """Return how the maps are; None of fewer than 8 probes of one shape.

    At most 16 probes are asked about: one forward for the second method, and, where a method takes
    no more than one itself, one for its own maps, two for the parameters behind the layer and three
    with random ones.

    Args:
        explainer: That made the explanations.
        live: The model; it is left as it was.
        explained: Probes, and of each its first explanation.

    Source: Adebayo et al., 2018, arXiv 1810.03292, section 3.1.
    """
    alike = [(p, e) for p, e in explained if p.call.shapes == explained[0][0].call.shapes]
    if len(alike) < FEW:
        return None
    some = spread(alike, MANY)
    second = _second(explainer.method)
    unknown: list[str] = []
    constant = agreement = random = None
    of_agreement = of_random = 0
    with live.lent() as module:
        call = explainer.prepared(join_calls([probe.call for probe, _ in some]), module)
        other = replace(explainer, method=second)
        name = None if explainer.target_layer is None else live.inner_name(explainer.target_layer)

        def subject(of: Explainer) -> Subject:
            return of.subject(module, of.target_of(module, call, name), call)

        maps = torch.stack([found.saliency for _, found in some])
        is_slow = explainer.method in (*SLOW, *LAYERLESS) and explainer.method not in OF_ATTENTION
        if not is_slow:
            own = subject(explainer)
            found = attribute(own, explainer.method, perturbation=explainer.perturbation)
            maps = found.raw.float().cpu()
            constant = int((_is_flat(maps) & (maps.flatten(1) != 0).any(dim=1)).sum())
            random, of_random, why = _randomized(explainer, own, maps, found.prediction)
            unknown += [why] if why else []
        else:
            unknown += ["maps with random weights were not made: each would take many forwards"]
        try:
            there = attribute(subject(other), second).raw.float().cpu()
            agreement, of_agreement = _agree(maps, there)
        except AttributionError:
            unknown += [f"the model has no maps by {second!r} to hold them against"]
    return MapHealth(
        maps=len(explained),
        empty=sum(e.is_blank for _, e in explained),
        asked=len(some),
        constant=constant,
        method=explainer.method,
        second=second,
        agreement=agreement,
        of_agreement=of_agreement,
        randomized=random,
        of_randomized=of_random,
        unknown=tuple(unknown),
    )


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation of each pair of rows, NaN where one is constant.

    Args:
        first: `[B, N]`.
        second: `[B, N]`.

    Returns:
        `[B]` float64 in [-1, 1]; equal values have their middle rank.

    Example:
        >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 4.0, 9.0]]))
        tensor([1.], dtype=torch.float64)
    """
    x, y = (_ranks(values) - (values.shape[1] - 1) / 2 for values in (first, second))
    return (x * y).sum(dim=1) / (x.square().sum(dim=1) * y.square().sum(dim=1)).sqrt()


def _randomized(
    explainer: Explainer, own: Subject, maps: Tensor, before: Prediction
) -> tuple[float | None, int, str]:
    """Return the agreement with maps of random heads, of how many, and why if it isn't known."""
    if explainer.method in OF_ATTENTION:
        return None, 0, "it isn't known which parameters come behind the attention that is read"
    head = find_head(own)
    if not head:
        return None, 0, "behind the target layer no parameter was found that could be random"
    seen = seen_by_head(own)
    task = _AsBefore(own.task, before)
    pairs = []
    for seed in range(DRAWS):
        with randomized(head, seed=seed):
            now = seen_by_head(own) if seed == 0 else seen
            if len(now) != len(seen) or not all(map(torch.equal, now, seen)):
                return None, 0, "what comes behind the target layer comes before it as well"
            raw = attribute(replace(own, task=task), explainer.method).raw.float().cpu()
        pairs.append(_correlations(maps, raw))
    return *_mean(torch.cat(pairs)), ""


def _agree(maps: Tensor, other: Tensor) -> tuple[float | None, int]:
    return _mean(_correlations(maps, other))


def _correlations(maps: Tensor, other: Tensor) -> Tensor:
    """Return the correlation of each pair of maps, on the coarser grid."""
    if maps.shape[1:] != other.shape[1:]:
        rows, columns = (min(a, b) for a, b in zip(maps.shape[1:], other.shape[1:], strict=True))
        maps, other = (
            F.adaptive_avg_pool2d(m[:, None], (rows, columns))[:, 0] for m in (maps, other)
        )
    known = ~(_is_flat(maps) | _is_flat(other))
    found = rank_correlation(maps.flatten(1), other.flatten(1))
    return found.where(known, torch.nan)


def _mean(values: Tensor) -> tuple[float | None, int]:
    """Return the mean of what is known, and of how many; of fewer than 8 there is none."""
    known = values[values.isfinite()]
    return (float(known.mean()) if len(known) >= FEW else None), len(known)


def _is_flat(maps: Tensor) -> Tensor:
    """Return which maps say nothing, as `normalize_saliency` has it, `[B]` bool."""
    flat = maps.flatten(1)
    span = flat.amax(dim=1) - flat.amin(dim=1)
    return ~flat.isfinite().all(dim=1) | ~(span > 1e-6 * flat.abs().amax(dim=1))


def _ranks(values: Tensor) -> Tensor:
    """Return the rank of each value in its row from 0 on, equal ones at their middle rank."""
    values = values.double().contiguous()
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    upto = torch.searchsorted(ordered, values, right=True)
    return (below + upto - 1).double() / 2


def _second(method: str) -> str:
    """Return the method that another is held against; one that asks for no class and gradient."""
    if method in OF_ATTENTION:
        return "clip_exact" if method == "gradeclip" else "gradeclip"
    return "gradcam" if method == "eigencam" else "eigencam"


def _said(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{round(value, 2) + 0.0:.2f}"

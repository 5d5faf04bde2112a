"""Tell where maps don't show what predictions hang on, and which layer's maps do."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..attribution import (
    LAYERLESS,
    OF_ATTENTION,
    Losses,
    Target,
    attribute,
    candidates,
    find_losses,
    normalize_saliency,
)
from ..calls import Call, join_calls
from ..errors import AttributionError
from ..records import Explanation, Probe
from .explainer import Explainer
from .live import LiveModel

FEW, MANY, START = 8, 16, 32
"""Probes that are asked about at first, where these look bad, and where "auto" chooses, once."""

NEAR = 0.05
"""Shares that are less apart count as equal: the last layer of them is taken."""

LEAST = 0.1
"""Below so much confidence lost by the worst window nothing is known: no place matters much."""

SLOW = ("scorecam", "ablationcam")
"""Methods whose maps aren't made at other layers to compare: they ask about each channel."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointing:
    """What predictions lose where maps peak, beside what they lose elsewhere.

    Args:
        peak: Of confidence, where the window at the map's peak is hidden, `[B]`.
        most: By the window that matters most, `[B]`.
        mean: By a window drawn blindly, `[B]`.
    """

    peak: Tensor
    most: Tensor
    mean: Tensor

    @classmethod
    def of(cls, losses: Losses, saliency: Tensor) -> Pointing:
        """Return where maps, `[B, H, W]`, point; constant ones point nowhere."""
        is_flat = saliency.flatten(1).amax(dim=1) == saliency.flatten(1).amin(dim=1)
        peak = losses.at_peak(saliency).masked_fill(is_flat.cpu(), 0.0)
        return cls(peak=peak, most=losses.most, mean=losses.values.mean(dim=1))

    @property
    def share(self) -> float:
        """Sum of `peak` over that of `most`: 1 is as good as asking about each window."""
        return float(self.peak.sum() / self.most.sum())

    @property
    def is_blind(self) -> bool:
        """Whether, beyond doubt, maps point hardly better than a window drawn blindly.

        Less than a quarter is won of what can be won over that, two standard errors added.
        """
        won, best = self.peak - self.mean, (self.most - self.mean).sum()
        return float((won.sum() + 2 * _error(won)) / best) < 0.25

    def is_worse_than(self, other: Pointing) -> bool:
        """Return whether another points better, by much and beyond doubt."""
        gained = other.peak - self.peak
        is_sure = float(gained.sum()) > 2.5 * _error(gained)
        return is_sure and other.share - self.share >= 0.25


def find_fault(
    explainer: Explainer, live: LiveModel, explained: Sequence[tuple[Probe, Explanation]]
) -> str:
    """Return in words where maps don't show what predictions hang on; empty if they seem to.

    On 8 probes each of 16 windows is hidden. If the prediction loses clearly less by that at the
    map's peak than by the window that matters most, 16 are asked about, and the maps of other
    layers. Where no window matters much, as in untrained networks, or of fewer than 8 probes,
    nothing is said.

    Args:
        explainer: That made the explanations.
        live: The model; it is left as it was.
        explained: Probes, and of each its first explanation.

    Example:
        >>> find_fault(Explainer(), LiveModel(nn.Identity()), [])
        ''
    """
    shown = [(probe, found) for probe, found in explained if not found.is_blank]
    alike = [(p, found) for p, found in shown if p.call.shapes == shown[0][0].call.shapes]
    if explainer.method in LAYERLESS - OF_ATTENTION or len(alike) < FEW:
        return ""
    first = _point(explainer, live, spread(alike, FEW))
    if first is None or first[1].share >= 0.5:
        return ""
    some = spread(alike, MANY)
    seen = _point(explainer, live, some)
    if seen is None:
        return ""
    losses, here = seen
    is_fixed = explainer.method in (*SLOW, *OF_ATTENTION)
    can_compare = not is_fixed and explainer.reshape_transform is None
    asked = [probe for probe, _ in some]
    layers = compare_layers(explainer, live, asked, losses) if can_compare else []
    better = [(name, there) for name, there in layers if here.is_worse_than(there)]
    if not better and not here.is_blind:
        return ""
    place = "" if explainer.target_layer is None else f" at {explainer.target_layer!r}"
    told = (
        f"maps by {explainer.method!r}{place} don't show what predictions hang on: of "
        f"{len(some)} probes they lose {_said(here.peak)} of confidence "
        "where the sixteenth of the picture at the map's peak is hidden, and "
        f"{_said(here.most)} by the sixteenth that matters most. "
    )
    at_any = 'Pass `method="occlusion"`, which asks about each place'
    if better:
        name, there = last_of_the_best(better)
        at_any = (
            f'At {name!r} they lose {_said(there.peak)}. Pass `target_layer="{name}"`, '
            'or `method="occlusion"`, which asks about each place'
        )
    return told + at_any


def ask(explainer: Explainer, live: LiveModel, probes: Sequence[Probe]) -> Losses | None:
    """Return what predictions lose by each window; None where none matters much.

    Args:
        explainer: How the output is read.
        live: The model; it is left as it was.
        probes: Of one shape.
    """
    with live.lent() as module:
        call = explainer.prepared(join_calls([probe.call for probe in probes]), module)
        nowhere = Target(name="", layer=module)
        found = [find_losses(explainer.subject(module, nowhere, part)) for part in _parts(call)]
    values = torch.cat([losses.values for losses in found])
    losses = replace(found[0], values=values)
    return None if float(losses.most.mean()) < LEAST else losses


def compare_layers(
    explainer: Explainer, live: LiveModel, probes: Sequence[Probe], losses: Losses
) -> list[tuple[str, Pointing]]:
    """Return where the maps of the layers that could be explained point.

    Args:
        explainer: How maps are made.
        live: The model; it is left as it was.
        probes: Of one shape.
        losses: Of these, as `ask` found them.

    Returns:
        Name and what was seen: of the layer that is explained by default first, then of others,
        the last first.
    """
    with live.lent() as module:
        call = explainer.prepared(join_calls([probe.call for probe in probes]), module)
        own = explainer.target_of(module, call)
        found = []
        for target in [own, *(c for c in candidates(module, call) if c.name != own.name)]:
            pointing = _look(explainer, module, target, call, losses)
            if pointing is not None:
                found.append((live.outer_name(target.name), pointing))
    return found


def choose_by_pointing(explainer: Explainer, live: LiveModel, probes: Sequence[Probe]) -> Explainer:
    """Return the explainer at the last layer whose maps point nearly as well as any layer's.

    Where none of them point, Occlusion is taken; where no window matters much, or there are fewer
    than 8 probes, all stays.

    Args:
        explainer: Whose layer was found.
        live: The model; it is left as it was.
        probes: Those like the first are asked about, 32 at most.
    """
    alike = [probe for probe in probes if probe.call.shapes == probes[0].call.shapes]
    some = spread(alike, START)
    losses = ask(explainer, live, some) if len(alike) >= FEW else None
    layers = [] if losses is None else compare_layers(explainer, live, some, losses)
    if not layers:
        return explainer
    (found, here), (name, there) = layers[0], last_of_the_best(layers)
    if there.is_blind:
        return replace(explainer, method="occlusion", target_layer=None)
    if name != found:
        warnings.warn(
            f'vlmxai: method="auto" explains at {name!r}: where the sixteenth of the picture at '
            f"the map's peak is hidden, predictions lose {_said(there.peak)} of their "
            f"confidence there, {_said(here.peak)} at {found!r}.",
            stacklevel=2,
        )
    return replace(explainer, target_layer=name)


def last_of_the_best(layers: Sequence[tuple[str, Pointing]]) -> tuple[str, Pointing]:
    """Return the first in that order whose maps point nearly as well as the best ones."""
    best = max(there.share for _, there in layers)
    return next((name, there) for name, there in layers if there.share >= best - NEAR)


def spread(things: Sequence[_T], most: int) -> list[_T]:
    """Return at most so many, evenly from all.

    Example:
        >>> spread("abcdef", 3)
        ['a', 'c', 'e']
    """
    count = min(len(things), most)
    return [things[i * len(things) // count] for i in range(count)]


def _look(
    explainer: Explainer, module: nn.Module, target: Target, call: Call, losses: Losses
) -> Pointing | None:
    """Return where a layer's maps point; None if it has none."""
    maps = []
    for part in _parts(call):
        subject = explainer.subject(module, target, part)
        try:
            raw = attribute(subject, explainer.method, perturbation=explainer.perturbation).raw
        except AttributionError:
            return None
        maps.append(normalize_saliency(raw, size=subject.picture_size))
    return Pointing.of(losses, torch.cat(maps))


def _point(
    explainer: Explainer, live: LiveModel, explained: Sequence[tuple[Probe, Explanation]]
) -> tuple[Losses, Pointing] | None:
    """Return what windows take, and where the maps of explanations point; None as `ask`."""
    losses = ask(explainer, live, [probe for probe, _ in explained])
    if losses is None:
        return None
    return losses, Pointing.of(losses, torch.stack([found.saliency for _, found in explained]))


def _parts(call: Call) -> list[Call]:
    """Return a call in parts of 16 rows, which are run at a time."""
    count = len(call.images)
    starts = range(0, count, MANY)
    return [call.take(torch.arange(start, min(start + MANY, count))) for start in starts]


def _error(values: Tensor) -> float:
    """Return the standard error of the sum."""
    return float(values.std(correction=0) * len(values) ** 0.5)


def _said(values: Tensor) -> str:
    """Return the mean with two digits, never as -0.00."""
    return f"{round(float(values.mean()), 2) + 0.0:.2f}"

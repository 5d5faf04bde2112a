"""What an attention was given and gave in a forward, and how the one is made of the other.

How a module is wired (how many heads, which scale, which mask, where its heads' outputs are joined)
is not taken from its class: queries, keys and values are read where they are projected, what they
give is computed anew, and a wiring counts only if that is what the module really gave.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .projections import Shown

Seen = tuple[Shown | None, Tensor, Tensor]
"""What a run of an attention showed, what is at its wiring's place, and the gradient there."""

Masking = Literal["none", "given", "inverted", "causal"]
"""Which mask an attention uses: none, the one it is given, true where it looks, or the past."""

SLACK, SLACK_IN_HALF = 1e-3, 3e-2
"""How far what is computed anew may be off, relative to the largest: in float32, and in less."""

_ROWS_TRIED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """How the outputs of an attention's heads are made and found.

    Args:
        rows: Axis of the samples.
        heads: How many there are.
        scale: What products of queries and keys are multiplied by.
        masking: Which mask is used.
        place: The child that is given the heads' outputs; "" if the module gives them, or what its
            output projection makes of them.
        projects: Whether the latter.
    """

    rows: int
    heads: int
    scale: float
    masking: Masking
    place: str
    projects: bool

    def with_one_head(self, width: int) -> Wiring:
        """Return the same with one head of that width."""
        return replace(self, heads=1, scale=width**-0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What an attention looked at and what the score makes of it; all float32, heads side by side.

    Args:
        queries: `[B, Lq, E]`, before the scale.
        keys: `[B, Lk, E]`.
        values: `[B, Lk, D]`.
        gradients: Of the score with respect to the heads' outputs before the output projection,
            `[B, Lq, D]`.
        mask: What is added before the softmax, broadcast to `[B, h, Lq, Lk]`; None without.
        heads: h.
        scale: What products of queries and keys are multiplied by.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    gradients: Tensor
    mask: Tensor | None
    heads: int
    scale: float

    @property
    def read(self) -> Tensor:
        """Which queries the score hangs on in some sample, `[R]` int64."""
        return _read(self.gradients)

    def attend(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attention of some queries, `[B, h, R, Lk]`, and what it gives, `[B, R, D]`."""
        return attend(self.queries, self.keys, self.values, self.heads, self.scale, self.mask, rows)


def solve(shown: Shown, rows: int) -> Wiring | None:
    """Return the wiring with which an attention's outputs come out best; None if none does.

    Args:
        shown: What a run showed.
        rows: Axis of the samples.
    """
    queries, keys, values = _projections(shown, rows)
    places = {name: _rows_first(t, rows) for name, t in shown.places.items()}
    if len({len(queries), len(keys), len(values)}) > 1 or keys.shape[1] != values.shape[1]:
        return None
    count, width = queries.shape[1], math.gcd(queries.shape[2], values.shape[2])
    if queries.shape[2] != keys.shape[2]:
        return None
    shown = replace(shown, count=count)
    some = torch.tensor(
        sorted({*range(min(count, _ROWS_TRIED - 1)), count - 1}), device=keys.device
    )
    best: tuple[float, Wiring] | None = None
    for heads in (n for n in range(1, width + 1) if width % n == 0):
        for masking, mask in _maskings(shown, len(queries), heads, count, keys.shape[1]).items():
            for scale in ((queries.shape[2] // heads) ** -0.5, 1.0):
                made = attend(queries, keys, values, heads, scale, mask, some)[1]
                for place, projects, error in _errors(shown, made, values, places, some):
                    if error <= slack(shown.values) and (best is None or error < best[0]):
                        wiring = Wiring(
                            rows=rows,
                            heads=heads,
                            scale=scale,
                            masking=masking,
                            place=place,
                            projects=projects,
                        )
                        best = error, wiring
    return None if best is None else best[1]


def look_through(seen: Seen, wiring: Wiring) -> Look | None:
    """Return what an attention of a known wiring looked at; None if it is wired otherwise.

    Args:
        seen: What its run showed.
        wiring: How it was wired before.
    """
    shown, gave, gradient = seen
    if shown is None:
        return None
    queries, keys, values = _projections(shown, wiring.rows)
    gave, gradient = (_rows_first(t.detach(), wiring.rows) for t in (gave, gradient))
    maskings = _maskings(shown, len(queries), wiring.heads, queries.shape[1], keys.shape[1])
    if wiring.masking not in maskings or (wiring.projects and shown.out is None):
        return None
    mask = maskings[wiring.masking]
    shown = replace(shown, count=queries.shape[1])
    read = _read(gradient)
    with torch.autocast(gave.device.type, enabled=False):
        if len(read):
            made = attend(queries, keys, values, wiring.heads, wiring.scale, mask, read)[1]
            found = _errors(shown, made, values, {wiring.place: gave}, read)
            error = next((off for _, projects, off in found if projects == wiring.projects), None)
            if error is None or not error <= slack(shown.values):
                return None
        if wiring.projects and shown.out is not None:
            # The output projection is linear: a gradient passes it without being recorded.
            whole = gradient.new_zeros(*gradient.shape[:2], shown.out[0].shape[1])
            whole[:, read] = gradient[:, read] @ shown.out[0].float()
            gradient = whole
    return Look(
        queries=queries,
        keys=keys,
        values=values,
        gradients=gradient,
        mask=mask,
        heads=wiring.heads,
        scale=wiring.scale,
    )


def outputs_of(shown: Shown, wiring: Wiring, features: Tensor) -> Tensor:
    """Return what an attention would give at its wiring's place if it was wired so.

    Args:
        shown: What its run shows.
        wiring: Any.
        features: What it gives at that place.
    """
    queries, keys, values = _projections(shown, wiring.rows)
    masks = _maskings(shown, len(queries), wiring.heads, queries.shape[1], keys.shape[1])
    every = torch.arange(queries.shape[1], device=queries.device)
    mask = masks.get(wiring.masking)
    made = attend(queries, keys, values, wiring.heads, wiring.scale, mask, every)[1]
    if wiring.projects and shown.out is not None:
        weight, bias = shown.out
        made = F.linear(made.to(weight.dtype), weight, bias)
    return (made if wiring.rows == 0 else made.transpose(0, 1)).to(features.dtype)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    heads: int,
    scale: float,
    mask: Tensor | None,
    rows: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the attention of some queries, `[B, h, R, Lk]`, and what it gives, `[B, R, D]`.

    Args:
        queries: `[B, Lq, E]`.
        keys: `[B, Lk, E]`.
        values: `[B, Lk, D]`.
        heads: h.
        scale: Of the products.
        mask: What is added to them, broadcast to `[B, h, Lq, Lk]`.
        rows: Numbers of the queries, `[R]` int64.

    Source: Vaswani et al., 2017, arXiv 1706.03762, Eq. 1.
    """
    with torch.autocast(keys.device.type, enabled=False):
        asked, heard, said = (
            t.view(*t.shape[:2], heads, t.shape[2] // heads).transpose(1, 2)
            for t in (queries[:, rows], keys, values)
        )
        products = asked @ heard.transpose(2, 3) * scale
        if mask is not None:
            products = products + (mask[..., rows, :] if mask.shape[-2] > 1 else mask)
        weights = products.softmax(dim=3)
        return weights, (weights @ said).transpose(1, 2).flatten(2)


def slack(values: Tensor) -> float:
    """Return how far what is computed anew may be off, relative to the largest."""
    is_rounded = values.is_cuda and torch.get_float32_matmul_precision() != "highest"
    is_full = values.dtype in (torch.float32, torch.float64) and not is_rounded
    return SLACK if is_full else SLACK_IN_HALF


def _read(gradients: Tensor) -> Tensor:
    return gradients.ne(0).any(dim=2).any(dim=0).nonzero().flatten()


def _projections(shown: Shown, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    queries, keys, values = (
        _rows_first(t, rows) for t in (shown.queries, shown.keys, shown.values)
    )
    return queries, keys, values


def _rows_first(tensor: Tensor, rows: int) -> Tensor:
    return (tensor if rows == 0 else tensor.transpose(0, 1)).float()


def _maskings(
    shown: Shown, batch: int, heads: int, queries: int, keys: int
) -> dict[Masking, Tensor | None]:
    """Return every mask that may be used, broadcast to `[B, h, Lq, Lk]`."""
    found: dict[Masking, Tensor | None] = {}
    if shown.masks:
        added = [
            _additive(mask, batch, heads, queries, keys, is_padding="padding" in name)
            for name, mask in shown.masks.items()
        ]
        known = [mask for mask in added if mask is not None]
        if len(known) == len(added):
            found["given"] = sum(known[1:], start=known[0])
        if len(shown.masks) == 1 and known:
            (mask,) = shown.masks.values()
            if mask.dtype == torch.bool:
                found["inverted"] = _additive(~mask, batch, heads, queries, keys, is_padding=False)
    found["none"] = None
    if queries == keys > 1:
        full = torch.full((queries, keys), -math.inf, device=shown.keys.device)
        found["causal"] = full.triu(diagonal=1)
    return found


def _additive(
    mask: Tensor, batch: int, heads: int, queries: int, keys: int, *, is_padding: bool
) -> Tensor | None:
    """Return a mask as it is added, of four axes or two; a bool is true where none looks."""
    added = mask.float()
    if mask.dtype == torch.bool:
        added = torch.zeros(mask.shape, device=mask.device).masked_fill(mask, -math.inf)
    if added.shape[-1] != keys:
        return None
    if is_padding and added.ndim == 2:
        return added[:, None, None]
    if added.ndim == 3:
        return (
            added.view(batch, -1, queries, keys) if len(added) in (batch, batch * heads) else None
        )
    return added if added.ndim in (2, 4) else None


def _errors(
    shown: Shown, made: Tensor, values: Tensor, places: Mapping[str, Tensor], some: Tensor
) -> Iterator[tuple[str, bool, float]]:
    """Yield where outputs may be, whether projected, and how far off they are there.

    How far is told against how far values differ from their mean: what all of them have in common
    comes out of any attention.

    Args:
        shown: What a run showed.
        made: Outputs of some queries, computed anew, `[B, R, D]`.
        values: What they are made of, `[B, Lk, D]`.
        places: Where they may be, `[B, Lq, D]`.
        some: Numbers of these queries, `[R]` int64.
    """
    some_values = values[:, :: max(values.shape[1] // 16, 1)]
    differing = some_values - values.mean(dim=1, keepdim=True)

    def off(gave: Tensor, made: Tensor, differing: Tensor) -> float:
        if gave.shape[::2] != made.shape[::2] or not made.numel():
            return math.inf
        return float((gave[:, some] - made).abs().amax() / differing.abs().amax().clamp(min=1e-30))

    for place, gave in places.items():
        if len(gave) != len(made) or gave.shape[1] != shown.count:
            continue
        yield place, False, off(gave, made, differing)
        if place == "" and shown.out is not None and shown.out[0].shape[1] == made.shape[2]:
            weight, bias = shown.out[0].float(), shown.out[1]
            bare = gave if bias is None else gave - bias.float()
            yield place, True, off(bare, made @ weight.T, differing @ weight.T)

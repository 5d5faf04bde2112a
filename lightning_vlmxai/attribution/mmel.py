"""A reconstruction of MMEL: looks of several blocks, at the picture in two sizes, in one map.

The paper (arXiv 2509.15243) publishes no code, and its formulas aren't at hand: known is that on
top of Grad-ECLIP it takes features of several scales, adaptive weights, and weights of layers over
the depth by the alignment of picture and text. How these are filled in is ours (docs/decisions,
072).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..tasks import Prediction
from .attention import Look, Seen, look_through
from .clip import as_map, shares
from .looking import Attention, LastLook, alike, last_look, look_at, otherwise
from .perturbation import Perturbation
from .reading import Layout
from .subject import Attribution, Subject

Windows = tuple[tuple[float, float], ...]
Looks = list[tuple[Look, Layout]]

CORNERS: Windows = ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5), (0.25, 0.25))
"""Top and left, as shares of the sides, of the windows of half a side that are enlarged."""


def mmel(subject: Subject, _options: Perturbation) -> Attribution:
    """Return a reconstruction of MMEL: what several looks at two scales add, in one map.

    Each look's map is `ReLU(r_i)` of `clip.shares`, by way of the query that the answer is read
    from, the largest set to 1. Looks of the last four blocks are weighted by how much they add to
    the score (their alignment with the text), the picture and its five enlarged windows by the
    confidence in the prediction there.

    Costs a forward of the picture and one for each window, and their backwards.

    Args:
        subject: What is explained; its target layer plays no part.

    Raises:
        AttributionError: If no attention is found that can be read so.

    Source: after arXiv 2509.15243, which doesn't say all of it; no figure of the paper is
    claimed for it.
    """
    return reconstruct(subject)


def reconstruct(
    subject: Subject,
    *,
    blocks: int = 4,
    windows: Windows = CORNERS,
    by_alignment: bool = True,
    by_confidence: bool = True,
    all_queries: bool = False,
) -> Attribution:
    """Return `mmel` with other choices.

    Args:
        subject: What is explained.
        blocks: How many of the last looks count.
        windows: Top and left of the windows of half a side, as shares of the sides.
        by_alignment: Whether looks count by what they add to the score; else alike.
        by_confidence: Whether windows count by the confidence there; else alike.
        all_queries: Whether looks of all queries count, not that of the one that is read alone.
    """
    last = last_look(subject, "mmel", blocks=blocks)
    images, (height, width) = subject.images, subject.picture_size

    def merge(looks: Looks, confidences: Tensor, size: tuple[int, int]) -> Tensor:
        merged = F.interpolate(
            _merge(looks, by_alignment=by_alignment)[:, None],
            size,
            mode="bilinear",
            align_corners=False,
        )[:, 0]
        return merged * confidences[:, None, None] if by_confidence else merged

    looks = _through(last, [*last.earlier, (last.attention, last.seen)], all_queries)
    confidences = subject.task.confidence(last.answer, last.prediction).detach().float()
    raw = merge(looks, confidences, (height, width))
    around, covered = torch.zeros_like(raw), torch.zeros_like(raw)
    tall, wide = -(-height // 2), -(-width // 2)
    for top, left in windows:
        down, right = round(top * height), round(left * width)
        rows, columns = slice(down, down + tall), slice(right, right + wide)
        window = images[:, :, rows, columns]
        enlarged = F.interpolate(window.float(), (height, width), mode="bilinear").to(images.dtype)
        part = replace(subject, inputs=subject.call.with_images(enlarged))
        found = looks_of(part, last, last.prediction, blocks=blocks, all_queries=all_queries)
        around[:, rows, columns] += merge(*found, (window.shape[2], window.shape[3]))
        covered[:, rows, columns] += 1
    return Attribution(raw=raw + around / covered.clamp(min=1), prediction=last.prediction)


def looks_of(
    subject: Subject,
    last: LastLook,
    prediction: Prediction,
    *,
    blocks: int = 4,
    all_queries: bool = False,
) -> tuple[Looks, Tensor]:
    """Return the last looks at a picture, in order, and the confidence in a prediction there.

    Args:
        subject: What is explained.
        last: The last look, as it was found.
        prediction: Whose score's gradients are taken, and whose confidence is given, `[B]`.
        blocks: How many at most.
        all_queries: Whether gradients at all queries count, not at those alone that are read.
    """
    confidences: list[Tensor] = []

    def run() -> Tensor:
        output = subject.call.run(subject.module)
        confidences.append(subject.task.confidence(output, prediction).detach().float())
        with torch.enable_grad():
            return subject.task.score(output, prediction)

    attentions = [*alike(last.attention, last.before)[: blocks - 1][::-1], last.attention]
    seen = look_at(subject.module, attentions, run)
    return _through(last, zip(attentions, seen, strict=True), all_queries), confidences[-1]


def _through(
    last: LastLook, found: Iterable[tuple[Attention, Seen | None]], all_queries: bool
) -> Looks:
    """Return what attentions looked at, of those that the score's gradient reaches."""
    looks: Looks = []
    for attention, one in found:
        if one is None or attention.wiring is None or attention.layout is None:
            continue
        look = look_through(one, attention.wiring)
        if look is None:
            raise otherwise("mmel", attention)
        if last.is_self and not all_queries:
            only = torch.zeros_like(look.gradients)
            only[:, last.look.read] = look.gradients[:, last.look.read]
            look = replace(look, gradients=only)
        looks.append((look, attention.layout))
    return looks


def _merge(looks: Looks, *, by_alignment: bool) -> Tensor:
    """Return the maps of looks, weighted by what they add to the score, `[B, h, w]`."""
    relevance = [shares(look) for look, _ in looks]
    maps = torch.stack(
        [as_map(r, layout).relu() for r, (_, layout) in zip(relevance, looks, strict=True)], dim=1
    )
    weights = torch.stack([r.sum(dim=1).relu() for r in relevance], dim=1)
    if not by_alignment:
        weights = torch.ones_like(weights)
    # Where no look adds anything, all count alike.
    weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, 1.0)
    weights = weights / weights.sum(dim=1, keepdim=True)
    peaks = maps.amax(dim=(2, 3), keepdim=True).clamp(min=1e-12)
    return (weights[:, :, None, None] * maps / peaks).sum(dim=1)

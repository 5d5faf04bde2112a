"""The embedded judge: overlap with ground-truth object masks. It is not a vision-language model."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigurationError, expected
from ..records import JudgeRequest, UnscoredReason, Verdict

_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


def overlap_score(mask: Tensor, reference: Tensor, *, tolerance: float = 1 / 32) -> float:
    """Return 5 x F_0.5 of the kept region against the object, a score in [0, 5].

    With P the share of kept pixels that lie on the object (or within the tolerance of it) and R
    the share of the object that is kept, F_0.5 = 1.25 P R / (0.25 P + R). It grows with either.

    Args:
        mask: Eq. 1, `[H, W]` in [0, 1]; kept where >= 0.5.
        reference: Where the object is, `[H, W]` bool.
        tolerance: How far beside the object still counts as on it, as a share of the shorter
            side: saliency maps are upsampled from a coarse grid and can't follow an outline.

    Raises:
        ValueError: If nothing is kept or there is no object, for which no overlap is defined.

    Example:
        >>> import torch
        >>> reference = torch.tensor([[True, True, False, False]])
        >>> overlap_score(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), reference)  # P = 1, R = 1/2
        4.166666666666667

    Source: van Rijsbergen, 1979, "Information Retrieval", chapter 7, E = 1 - F with weight 0.5.
        Why this map and this tolerance: docs/decisions/001.
    """
    overlap = measure_overlap(mask, reference, tolerance=tolerance)
    if overlap.recall == 0:
        return 0.0
    return (
        5 * 1.25 * overlap.precision * overlap.recall / (0.25 * overlap.precision + overlap.recall)
    )


class Overlap(NamedTuple):
    """Precision and recall of a kept region, each in [0, 1]."""

    precision: float
    recall: float


def measure_overlap(mask: Tensor, reference: Tensor, *, tolerance: float) -> Overlap:
    """Return the P and R of `overlap_score`, which has the arguments and errors."""
    kept = mask >= 0.5
    if not kept.any() or not reference.any():
        raise ValueError("Expected a kept region and an object, got an empty one.")
    near = _near(reference, tolerance)
    return Overlap(float(near[kept].float().mean()), float(kept[reference].float().mean()))


def name_place(y: float, x: float) -> str:
    """Return in which ninth of a picture a point lies, in words.

    Args:
        y: From the top, in [0, 1].
        x: From the left, in [0, 1].

    Example:
        >>> name_place(0.1, 0.9), name_place(0.5, 0.5), name_place(0.5, 1.0)
        ('top right', 'centre', 'middle right')
    """
    row, column = _ROWS[min(2, int(3 * y))], _COLUMNS[min(2, int(3 * x))]
    return " ".join(dict.fromkeys((row, column))).replace("middle centre", "centre")


PLACE_NAMES = frozenset(name_place(y / 2, x / 2) for y in range(3) for x in range(3))
"""Of the nine."""


def find_places(
    mask: Tensor, reference: Tensor, *, tolerance: float
) -> tuple[tuple[str, bool], ...]:
    """Return where the kept region lies, and whether on the object, as in `Verdict.attends_to`.

    Ninths of the picture that hold a fifth of what is kept: at most two off the object, one on it.

    Args:
        mask: Eq. 1, `[H, W]` in [0, 1]; kept where >= 0.5.
        reference: Where the object is, `[H, W]` bool.
        tolerance: See `overlap_score`.
    """
    kept, near = mask >= 0.5, _near(reference, tolerance)
    (height, width), least = kept.shape, int(kept.sum()) / 5
    found: list[tuple[str, bool]] = []
    for where, is_object, most in ((kept & ~near, False, 2), (kept & near, True, 1)):
        rows, columns = where.nonzero().unbind(1)
        counts = torch.bincount(3 * rows // height * 3 + 3 * columns // width, minlength=9)
        for ninth in counts.argsort(descending=True, stable=True)[:most].tolist():
            if counts[ninth] > 0 and counts[ninth] >= least:
                place = name_place((ninth // 3 + 0.5) / 3, (ninth % 3 + 0.5) / 3)
                found.append((place, is_object))
    return tuple(found)


def _near(reference: Tensor, tolerance: float) -> Tensor:
    """Return what lies on an object or within the tolerance of it, `[H, W]` bool."""
    radius = round(tolerance * min(reference.shape))
    if not radius:
        return reference
    near = F.max_pool2d(reference.float()[None, None], 2 * radius + 1, stride=1, padding=radius)
    return near[0, 0] > 0.5


class ReferenceMaskJudge:
    """Scores a kept region by its overlap with the data set's own object mask.

    Deterministic, without network or key, and *not* a vision-language model: it sees the outline
    of the object and nothing else, its words are filled-in figures, and what it says is attended to
    are places. Use it where the data set
    has object masks, to find shortcuts for free or to check what a VLM says.

    Args:
        tolerance: See `overlap_score`.

    Raises:
        ConfigurationError: If the tolerance is outside [0, 0.5].
    """

    name = "reference-mask (overlap with ground truth, not a VLM)"
    concurrency = 1
    reads_labels = False

    def __init__(self, tolerance: float = 1 / 32) -> None:
        if not (math.isfinite(tolerance) and 0 <= tolerance <= 0.5):
            raise ConfigurationError(
                expected("tolerance", "in [0, 0.5]", tolerance, "Pass a share of the picture side")
            )
        self.tolerance = tolerance

    def check(self) -> None:
        """Need nothing."""

    async def open(self) -> None:
        """Need nothing."""

    async def close(self) -> None:
        """Hold nothing."""

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Return the overlap as a score, or unscored(no_reference_mask)."""
        reference = request.reference_mask
        if reference is None or not reference.any():
            return Verdict.unscored(
                UnscoredReason.NO_REFERENCE_MASK,
                "the sample has no object mask: return (image, label, reference_mask) from the "
                "data set, or use VLMJudge",
            )
        score = overlap_score(request.mask, reference, tolerance=self.tolerance)
        overlap = measure_overlap(request.mask, reference, tolerance=self.tolerance)
        return Verdict.scored(
            score,
            evaluation=(
                f"{overlap.precision:.0%} of the kept region lies on the object or close beside "
                f"it, and covers {overlap.recall:.0%} of it."
            ),
            justification="5 x F0.5 of the kept region against the reference mask; no VLM judged.",
            attends_to=find_places(request.mask, reference, tolerance=self.tolerance),
        )

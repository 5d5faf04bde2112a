"""What can't be right in what the judge will see: told, each cause once, with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..records import Probe
from .reference_masks import find_mask_doubts


def find_doubts(probes: Sequence[Probe]) -> list[str]:
    """Return a sentence for each thing that can't be right in probes' pictures and masks.

    Args:
        probes: All of a run.

    Example:
        >>> find_doubts([])
        []
    """
    if not probes:
        return []
    found = []
    count = len(probes)
    flat = sum(float(p.pixels.max() - p.pixels.min()) < 1 / 255 for p in probes)
    if flat:
        found.append(
            f"{flat} of {count} pictures are of one single value, in which nothing can be seen; if "
            "they should not be, pass `picture=`, a function from a row to what the judge shall see"
        )
    brightest = max(float(probe.pixels.max()) for probe in probes)
    if flat < count and brightest < 0.05:
        found.append(
            f"the brightest of all pictures' pixels is {brightest:.3f} of 1, as if they were "
            "divided by 255 twice; make them brighter by `picture=`, a function from a row to what "
            "the judge shall see"
        )
    clipped = [_share_clipped(probe) for probe in probes]
    many = [share for share in clipped if share > 0.3]
    if 2 * len(many) > count:
        found.append(
            f"{len(many)} of {count} pictures are black or white in {sum(many) / len(many):.0%} of "
            "their pixels where the network's input is not the same all over: the function that "
            "`picture=` is cuts values off"
        )
    return [*found, *find_mask_doubts([probe.reference_mask for probe in probes])]


def _share_clipped(probe: Probe) -> float:
    """Return the share of values at 0 or 1 beneath which the network's input varies."""
    given = probe.call.images[0].float()
    if given.shape[0] not in (1, 3) or given.shape[1:] != probe.pixels.shape[1:]:
        return 0.0
    given = given.expand(3, -1, -1)
    slack = 0.02 * float(given.std(unbiased=False))
    share = 0.0
    for end in (0.0, 1.0):
        at_end: Tensor = probe.pixels == end
        for channel, is_there in zip(given, at_end, strict=True):
            values = channel[is_there]
            if len(values) > 1 and float(values.std(unbiased=False)) > slack:
                share += float(is_there.float().mean()) / 3
    return share

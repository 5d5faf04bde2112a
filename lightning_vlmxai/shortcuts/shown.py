"""Pictures as interventions changed them, for people to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ..records import Explanation
from .interventions import Effect, erase, paste

MOST = 12
"""Pictures of each kind that are kept."""


class Shown(NamedTuple):
    """A picture with its cue erased, or with the cue pasted.

    Args:
        kind: "erased" or "pasted".
        probe: Index of the probe.
        pixels: `[3, H, W]`, float32 in [0, 1].
    """

    kind: str
    probe: int
    pixels: Tensor


def show(
    kind: str,
    effect: Effect | None,
    of: Mapping[int, Explanation],
    regions: Mapping[int, Tensor],
    donors: Mapping[int, int] | None = None,
) -> tuple[Shown, ...]:
    """Return the first pictures of an effect as they were changed.

    Filling and pasting do the same to a picture as to what the network is given, which is a
    linear function of it in each channel.

    Args:
        kind: "erased" or "pasted".
        effect: Whose changes' rows are indices of probes; of None there are no pictures.
        of: The probes' explanations, by index.
        regions: What was changed in each probe, `[H, W]` bool.
        donors: The probe whose picture was pasted into each; None where it was erased.
    """
    found = []
    for probe in [change.row for change in effect.changes][:MOST] if effect else []:
        pixels, region = of[probe].pixels[None].float(), regions[probe][None]
        if donors is None:
            changed = erase(pixels, region)
        else:
            changed = paste(pixels, of[donors[probe]].pixels[None].float(), region)
        found.append(Shown(kind, probe, changed[0].clamp(0, 1)))
    return tuple(found)

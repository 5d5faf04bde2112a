"""What the values of reference masks mean: told from all of them together, or asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ProbeError, expected

_MOST = 512
"""How many different values are kept: more are those of a grey picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskReading:
    """Which values are on the object.

    Args:
        above: Those above this; None if `only` says it.
        only: This one.
        without: But this one.
        doubt: What should be told of it; empty if nothing.
    """

    above: float | None = 0.0
    only: float | None = None
    without: float | None = None
    doubt: str = ""

    def read(self, mask: Any) -> Tensor:
        """Return where the object is, `[H, W]` bool.

        Args:
            mask: `[H, W]` or with one channel before or after.
        """
        values = as_array(mask)
        if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
            values = values.squeeze(0 if values.shape[0] == 1 else 2)
        on = values == self.only if self.above is None else values > self.above
        if self.without is not None:
            on &= values != self.without
        return torch.from_numpy(on)


def as_array(mask: Any) -> np.ndarray[Any, Any]:
    """Return a mask's values as float64: of a tensor of any kind, an array, or a PIL image."""
    if isinstance(mask, Tensor):
        mask = mask.detach().as_subclass(Tensor).cpu()
        mask = mask.double().numpy()
    return np.asarray(mask, dtype=np.float64)


def values_of(mask: Any) -> frozenset[float]:
    """Return the different values of a mask, at most some hundred.

    Example:
        >>> sorted(values_of(torch.tensor([[0, 255], [1, 0]])))
        [0.0, 1.0, 255.0]
    """
    found = np.unique(as_array(mask))
    if len(found) > _MOST:
        found = found[np.linspace(0, len(found) - 1, _MOST).astype(int)]
    return frozenset(found.tolist())


def understand(
    values: Iterable[float],
    *,
    access: str = "row[2]",
    line: str = "Item(image=row[0], target=row[1], reference_mask={})",
) -> MaskReading:
    """Return what the values of all masks mean, where that can be known.

    0 and 1, 0 and 255, and -1 and 1 are off and on the object; 1, 2, 3 are the object, the ground
    and the border of a trimap; class numbers are on it unless they are 0, and 255 beside them is
    void. Values between two ends are those of an interpolated mask: they are cut in the middle,
    and told.

    Args:
        values: See `values_of`.
        access: How the mask is reached in a row, as code, for messages.
        line: What `unpack` has to return, with a place for the mask.

    Raises:
        ProbeError: If it can't be known; the message has a line that says it.

    Example:
        >>> understand({1.0, 2.0, 3.0}).read([[1, 2], [3, 1]]).tolist()
        [[True, False], [False, True]]
    """
    found = {float(value) for value in values}
    if found <= {0.0, 1.0} or found <= {-1.0, 1.0} or found <= {-1.0, 0.0, 1.0}:
        return MaskReading()
    if found <= {0.0, 255.0}:
        return MaskReading()
    if found == {1.0, 2.0, 3.0}:
        return MaskReading(above=None, only=1.0)
    low, high = min(found), max(found)
    is_finite = all(math.isfinite(value) for value in found)
    is_whole = is_finite and all(value == round(value) for value in found)
    if is_finite and not is_whole:
        for start, end in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
            slack = 0.01 * (end - start)
            if start - slack <= low and end - slack <= high <= end + slack:
                middle = (start + end) / 2
                return MaskReading(above=middle, doubt=_between(len(found), middle))
    if is_whole and low == 0.0 and found != {0.0, 1.0, 2.0} and high <= 255:
        numbers = found - {0.0, 255.0}
        if high < 255:
            return MaskReading(doubt=_classes(numbers, ""))
        if max(numbers) <= 127:
            return MaskReading(
                without=255.0, doubt=_classes(numbers, ", and 255 as void, which is not on it")
            )
    shown = ", ".join(f"{value:g}" for value in sorted(found)[:6])
    test = "== 1" if found <= {0.0, 1.0, 2.0, 3.0} else f"> {(low + high) / 2:g}"
    raise ProbeError(
        expected(
            "reference_mask",
            "one whose values are known (0 and 1, 0 and 255, -1 and 1, a trimap's 1, 2 and 3, or "
            "class numbers with 0 for the ground)",
            f"{len(found)} values, {shown}{', ...' if len(found) > 6 else ''}",
            "Say which are on the object, such as `unpack=lambda row: "
            f"{line.format(f'{access} {test}')}`",
        )
    )


def find_mask_doubts(masks: Sequence[Tensor | None]) -> list[str]:
    """Return a sentence for each thing that can't be right in masks that were read.

    Args:
        masks: `[H, W]` bool each; None where a probe has none.
    """
    have = [mask for mask in masks if mask is not None]
    if not have:
        return []
    covered = sum(float(mask.float().mean()) for mask in have) / len(have)
    told = ""
    if covered == 0:
        told = (
            f"all {len(have)} reference masks are empty, so nothing can be scored by them: look at "
            "what the data set returns as mask"
        )
    elif covered > 0.95:
        told = (
            f"the {len(have)} reference masks cover {covered:.0%} of their pictures on average, so "
            "that any map scores high by them: look at what the data set returns as mask"
        )
    return [told] if told else []


def _between(count: int, middle: float) -> str:
    return (
        f"reference masks hold {count} values between two ends, as if they were resized by "
        f"interpolation: those above {middle:g} are taken for the object; resize masks by "
        "`interpolation=NEAREST`"
    )


def _classes(numbers: Iterable[float], more: str) -> str:
    shown = ", ".join(f"{n:g}" for n in sorted(numbers)[:4])
    return (
        f"reference masks hold class numbers ({shown}, ...): what is not 0 is taken for the object"
        f"{more}"
    )

"""Lines that show a picture where none was found: made of the values that were seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .normalizations import Normalization

_DEPTHS = (1023, 4095, 16383, 65535)


def picture_line(access: str, images: Sequence[Tensor]) -> str:
    """Return a `picture=` line for rows that hold such images.

    Bytes, floats up to 255 and integers of a usual depth are divided; else values are stretched
    from the 1st to the 99th percentile of those seen. Of several bands the first three are taken.

    Args:
        access: How the image is reached in its row, as code.
        images: `[C, H, W]` each.

    Example:
        >>> picture_line("row[0]", [torch.tensor([[[-2.0, 3.0]]])])
        'picture=lambda row: ((row[0].float() + 2) / 5).clamp(0, 1)'
    """
    channels = images[0].shape[0]
    kept = channels if channels in (1, 3) else 3 if channels > 3 else 1
    access = access if kept == channels else f"{access}[:{kept}]"
    if images[0].dtype == torch.uint8:
        return f"picture=lambda row: {access}"
    few = [image[:kept].flatten()[:: 1 + image.numel() // 65536] for image in images]
    values = torch.cat([part.double() for part in few])
    is_whole = bool((values == values.round()).all())
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return f"picture=lambda row: {access}.float()"
    if low >= 0 and high <= 255:
        return f"picture=lambda row: {access}.float() / 255"
    full = next((depth for depth in _DEPTHS if high <= depth), None)
    if low >= 0 and is_whole and full is not None and kept == channels and high > full / 8:
        return f"picture=lambda row: {access}.float() / {full}"
    ordered = values.sort().values
    low, high = (float(ordered[round(q * (len(ordered) - 1))]) for q in (0.01, 0.99))
    return stretch(access, low, high)


def stretch(access: str, low: float, high: float) -> str:
    """Return a `picture=` line that shows `low` black and `high` white."""
    spread = high - low if high > low else 1.0
    shifted = f"- {low:.4g}" if low >= 0 else f"+ {-low:.4g}"
    return f"picture=lambda row: (({access}.float() {shifted}) / {spread:.4g}).clamp(0, 1)"


def normalization_line(given: Sequence[Tensor]) -> str:
    """Return a `normalization=` line that shows an input's lowest value black, its highest white.

    Args:
        given: What the network was given, `[C, H, W]` each.
    """
    low = min(float(image.min()) for image in given)
    high = max(float(image.max()) for image in given)
    spread = high - low if high > low else 1.0
    return str(Normalization(mean=(-low / spread,), std=(1 / spread,)))

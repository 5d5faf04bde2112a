"""What is kept of a picture against where the object is. Pure functions."""

from __future__ import annotations

from torch import Tensor


def mask_agreement(mask: Tensor, reference: Tensor) -> dict[str, float]:
    """Return how well the kept region covers the object: `iou`, `dice`, `pixel_accuracy`.

    Of two binary masks F1 is Dice, which is why a table with both has one column twice.

    Args:
        mask: Eq. 1, `[H, W]` in [0, 1]; kept where >= 0.5.
        reference: Where the object is, `[H, W]` bool.

    Raises:
        ValueError: If there is no object.

    Example:
        >>> import torch
        >>> mask = torch.tensor([[0.9, 0.8, 0.1, 0.0]])
        >>> mask_agreement(mask, torch.tensor([[True, False, False, False]]))
        {'iou': 0.5, 'dice': 0.6666666666666666, 'pixel_accuracy': 0.75}
    """
    if not reference.any():
        raise ValueError("Expected an object, got an empty reference mask.")
    kept = mask >= 0.5
    both, either = int((kept & reference).sum()), int((kept | reference).sum())
    return {
        "iou": both / either,
        "dice": 2 * both / (both + either),
        "pixel_accuracy": int((kept == reference).sum()) / reference.numel(),
    }

"""Eq. 1 and Eq. 2 of the paper: a sigmoid mask that keeps attended pixels. Pure tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_mask(saliency: Tensor, *, alpha: float = 15.0, beta: float = 0.6) -> Tensor:
    """Return Eq. 1, `1 / (1 + exp(alpha * (beta - v)))`, for every entry `v` of a saliency map.

    The mask is at least 0.5 exactly where the saliency is at least `beta`.

    Args:
        saliency: Any shape, values in [0, 1].
        alpha: Sharpness; the larger, the closer to a hard threshold.
        beta: Threshold in [0, 1].

    Returns:
        Mask of the same shape, float32 in [0, 1].

    Example:
        >>> soft_mask(torch.tensor([0.4, 0.6, 1.0]))
        tensor([0.0474, 0.5000, 0.9975])

    Source: Nguyen, Pham, Ngo and Hy, 2025, arXiv 2508.20227, Eq. 1.
    """
    return torch.sigmoid(alpha * (saliency.float() - beta))


def apply_mask(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return Eq. 2, the pixels times the mask: attended regions stay, the rest goes black.

    Args:
        pixels: `[..., C, H, W]`, un-normalised, in [0, 1].
        mask: `[..., H, W]` in [0, 1].

    Returns:
        `[..., C, H, W]`, float32 in [0, 1].

    Example:
        >>> apply_mask(torch.ones(3, 1, 2), torch.tensor([[0.0, 0.5]]))[0]
        tensor([[0.0000, 0.5000]])

    Source: Nguyen, Pham, Ngo and Hy, 2025, arXiv 2508.20227, Eq. 2.
    """
    return pixels.float() * mask.float().unsqueeze(-3)


def mask_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union of two masks' attended regions (where >= 0.5).

    Args:
        first: `[..., H, W]` in [0, 1].
        second: The same shape.

    Returns:
        `[...]`, float32 in [0, 1]; 1 where both regions are empty.

    Example:
        >>> mask_iou(torch.tensor([[0.9, 0.9]]), torch.tensor([[0.9, 0.1]]))
        tensor(0.5000)
    """
    a, b = first >= 0.5, second >= 0.5
    union = (a | b).sum(dim=(-2, -1))
    both = (a & b).sum(dim=(-2, -1))
    return torch.where(union > 0, both / union.clamp(min=1), 1.0)

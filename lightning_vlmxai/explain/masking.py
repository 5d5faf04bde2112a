"""Eq. 1 and Eq. 2 of the paper: a sigmoid mask that keeps attended pixels. Pure tensors."""

from __future__ import annotations

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigurationError, expected
from ..records import Fill


def soft_mask(saliency: Tensor, *, alpha: float = 15.0, beta: float = 0.6) -> Tensor:
    """Return Eq. 1, `1 / (1 + exp(alpha * (beta - v)))`, for every entry `v` of a saliency map.

    The mask is at least 0.5 exactly where the saliency is at least `beta`.

    Args:
        saliency: Any shape and floating dtype, values in [0, 1].
        alpha: Sharpness, above 0; the larger, the closer to a hard threshold, which infinity is.
        beta: Threshold in [0, 1].

    Returns:
        Mask of the same shape, float32 in [0, 1].

    Raises:
        ConfigurationError: If alpha or beta is out of range.

    Example:
        >>> soft_mask(torch.tensor([0.4, 0.6, 1.0]))
        tensor([0.0474, 0.5000, 0.9975])

    Source: Nguyen, Pham, Ngo and Hy, 2025, arXiv 2508.20227, Eq. 1.
    """
    if not alpha > 0:
        raise ConfigurationError(expected("alpha", "above 0", alpha, "Pass alpha=15.0"))
    if not 0.0 <= beta <= 1.0:
        raise ConfigurationError(expected("beta", "in [0, 1]", beta, "Pass beta=0.6"))
    distance = saliency.float() - beta
    # Infinity times zero is not a number, and on the threshold the mask is 0.5 for every alpha.
    mask = torch.sigmoid((distance * alpha).where(distance != 0, 0.0))
    # A tiny distance below the threshold times a small alpha would round up to 0.5.
    below = torch.nextafter(mask.new_tensor(0.5), mask.new_tensor(0.0))
    return torch.where(distance < 0, mask.minimum(below), mask)


def apply_mask(pixels: Tensor, mask: Tensor, *, fill: Fill = "black") -> Tensor:
    """Return Eq. 2, the pixels times the mask: attended regions stay, the rest goes black.

    Args:
        pixels: `[..., C, H, W]`, un-normalised, in [0, 1].
        mask: `[..., H, W]` in [0, 1].
        fill: What the rest goes to: black (the paper's), the blurred picture, a middle grey, or
            the picture's mean colour.

    Returns:
        `[..., C, H, W]`, float32 in [0, 1].

    Raises:
        ConfigurationError: If there is no such fill.

    Example:
        >>> apply_mask(torch.ones(3, 1, 2), torch.tensor([[0.0, 0.5]]))[0]
        tensor([[0.0000, 0.5000]])
        >>> apply_mask(torch.ones(3, 1, 2), torch.tensor([[0.0, 0.5]]), fill="grey")[0]
        tensor([[0.5000, 0.7500]])

    Source: Nguyen, Pham, Ngo and Hy, 2025, arXiv 2508.20227, Eq. 2; the fills other than black
    are ours.
    """
    picture, kept = pixels.float(), mask.float().unsqueeze(-3)
    if fill == "black":
        return picture * kept
    if fill == "grey":
        rest = torch.full_like(picture, 0.5)
    elif fill == "mean":
        rest = picture.mean(dim=(-2, -1), keepdim=True)
    elif fill == "blur":
        rest = blur(picture, sigma=max(picture.shape[-2:]) / 16)
    else:
        raise ConfigurationError(
            expected("fill", f"one of {', '.join(get_args(Fill))}", repr(fill), "Pass one")
        )
    return torch.lerp(rest.expand_as(picture), picture, kept.expand_as(picture))


def blur(pixels: Tensor, *, sigma: float) -> Tensor:
    """Return pixels under a Gaussian blur; beyond the border the border's pixels go on.

    Args:
        pixels: `[..., H, W]`.
        sigma: Standard deviation in pixels, above 0.

    Example:
        >>> blur(torch.tensor([[0.0, 1.0, 0.0]]), sigma=0.5).round(decimals=2)
        tensor([[0.1100, 0.7900, 0.1100]])
    """
    reach = max(1, round(3 * sigma))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32, device=pixels.device)
    kernel = torch.softmax(-0.5 * (steps / sigma).square(), dim=0)
    planes = pixels.float().reshape(-1, 1, *pixels.shape[-2:])
    # One axis after the other: the Gaussian is separable.
    planes = F.pad(planes, (reach, reach, reach, reach), mode="replicate")
    planes = F.conv2d(planes, kernel.view(1, 1, 1, -1))
    return F.conv2d(planes, kernel.view(1, 1, -1, 1)).view(pixels.shape)


def overlay(pixels: Tensor, saliency: Tensor, *, weight: float = 0.5) -> Tensor:
    """Return the picture under a heat map: red where the saliency is 1, blue where it is 0.

    Args:
        pixels: `[..., 3, H, W]`, un-normalised, in [0, 1].
        saliency: `[..., H, W]` in [0, 1].
        weight: Of the heat map, in [0, 1].

    Returns:
        `[..., 3, H, W]`, float32 in [0, 1].

    Example:
        >>> overlay(torch.zeros(3, 1, 2), torch.tensor([[0.0, 1.0]]), weight=1.0)[:, 0, 1]
        tensor([0.5000, 0.0000, 0.0000])

    Source: the view of LangXAI, the rival of Eq. 2; the colours are the usual jet, whose ends are
    dark blue and dark red.
    """
    level = 4 * saliency.float().unsqueeze(-3)
    colours = torch.cat([1.5 - (level - centre).abs() for centre in (3.0, 2.0, 1.0)], dim=-3)
    return torch.lerp(pixels.float(), colours.clamp(0, 1), weight)


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

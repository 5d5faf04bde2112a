"""What speaks for a picture: its range, its steps, and that an input was made of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_SLACK = 0.01
"""How far outside of [0, 1] a picture may be by rounding."""

_OVERSHOOT = 0.15
"""How far a few pixels may be outside beside edges, where a bicubic filter made them."""


def to_picture(image: Tensor | None) -> Tensor | None:
    """Return an image as float32 in [0, 1] if it is a picture; None if it isn't.

    Args:
        image: `[C, H, W]`; uint8, or floating and within [0, 1], of one or three channels.
    """
    if image is None or image.ndim != 3 or image.shape[0] not in (1, 3):
        return None
    if image.dtype == torch.uint8:
        return image.float() / 255
    if not image.is_floating_point() or not image.numel():
        return None
    picture = image.float()
    low, high = float(picture.min()), float(picture.max())
    if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):  # not a number is no picture either
        return None
    outside = ((picture < -_SLACK) | (picture > 1 + _SLACK)).float().mean()
    return picture.clamp(0, 1) if float(outside) <= 0.01 else None


def to_pictures(images: Tensor) -> Tensor | None:
    """Return floating images `[B, C, H, W]` as pictures; None unless each is one (`to_picture`)."""
    if images.shape[1] not in (1, 3) or not images.numel():
        return None
    values = images.float()
    low, high = values.aminmax()
    if not (float(low) >= -_OVERSHOOT and float(high) <= 1 + _OVERSHOOT):
        return None
    if float(low) < -_SLACK or float(high) > 1 + _SLACK:
        outside = ((values < -_SLACK) | (values > 1 + _SLACK)).float().flatten(1).mean(dim=1)
        if float(outside.max()) > 0.01:
            return None
    return values.clamp(0, 1)


def is_made_of(given: Tensor, picture: Tensor, *, tolerance: float = 1e-2) -> bool:
    """Return whether an image is, channel by channel, a rising linear function of a picture.

    Args:
        given: `[C, H, W]`.
        picture: `[C, H', W']`; of another size it is not taken for the source, since nobody can
            say whether it was cut or scaled.
        tolerance: Largest residual, as a share of the channel's spread.
    """
    return residual_of(given, picture) <= tolerance


def residual_of(given: Tensor, picture: Tensor) -> float:
    """Return how far an image is from a rising linear function of a picture of its size.

    That is the residual as a share of the spread, of the worst channel; infinite where it falls,
    or where the sizes differ. A channel of one value is made of one of one value only.
    """
    if given.shape != picture.shape:
        return float("inf")
    x, y = picture.double().flatten(1), given.double().flatten(1)
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    slope = (x * y).sum(dim=1, keepdim=True) / (x * x).sum(dim=1, keepdim=True).clamp(min=1e-12)
    residual = (y - slope * x).pow(2).mean(dim=1).sqrt()
    spread, source = (part.pow(2).mean(dim=1).sqrt() for part in (y, x))
    ratio = residual / spread.clamp(min=1e-12)
    ratio = torch.where(slope[:, 0] > 0, ratio, torch.inf)
    is_flat = (spread < 1e-6) & (source <= 1e-5 * picture.double().abs().amax().clamp(min=1))
    return float(torch.where(is_flat, 0.0, ratio).max())


def is_on_grid(pictures: Sequence[Tensor]) -> bool:
    """Return whether pixels are whole 255ths, as bytes are and nothing else is by chance."""
    values = _distinct([picture * 255 for picture in pictures], digits=3)
    return bool(((values - values.round()).abs() < 0.05).float().mean() >= 0.98)


def fills_range(pictures: Sequence[Tensor]) -> bool:
    """Return whether pictures together go from black to white in each channel, no further.

    Another mean or standard deviation would leave a gap at an end, or leave [0, 1].
    """
    low = torch.stack([picture.flatten(1).amin(dim=1) for picture in pictures]).amin(dim=0)
    high = torch.stack([picture.flatten(1).amax(dim=1) for picture in pictures]).amax(dim=0)
    return bool((low.abs() <= 2 / 255).all() and ((high - 1).abs() <= 2 / 255).all())


def difference(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return the largest difference of two lists of pictures of the same sizes."""
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


def _distinct(pictures: Sequence[Tensor], *, digits: int) -> Tensor:
    """Return the different values, so that a large plain ground does not outvote the rest."""
    few = [picture.flatten()[:: 1 + picture.numel() // 8192] for picture in pictures]
    scale = float(10**digits)
    values: Tensor = torch.unique((torch.cat(few).double() * scale).round())
    return values / scale

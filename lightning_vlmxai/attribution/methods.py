"""The CAM family: activations and gradients in, raw saliency maps out. One function a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor

from .capture import Capture

Method = Callable[[Capture], Tensor]


def gradcam(captured: Capture) -> Tensor:
    """Return Grad-CAM, `ReLU(sum_k w_k A_k)` with `w_k = mean_ij g`, as `[B, h, w]`.

    Source: Selvaraju et al., 2017, arXiv 1610.02391, Eq. 1 and 2.
    """
    weights = captured.gradients.mean(dim=(2, 3), keepdim=True)
    return F.relu((weights * captured.activations).sum(dim=1))


METHODS: Mapping[str, Method] = MappingProxyType({"gradcam": gradcam})
"""Every method by the name that `VLMExplainCallback(method=...)` takes."""


def normalize_saliency(raw: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Return raw maps resized to the picture and scaled to [0, 1], each by its own range.

    Args:
        raw: `[B, h, w]`.
        size: Height and width of the picture.

    Returns:
        `[B, H, W]`, float32 in [0, 1]. A map that is constant or not finite is all zero: it says
        nothing about where the model looked.

    Example:
        >>> import torch
        >>> normalize_saliency(torch.tensor([[[1.0, 3.0]]]), size=(1, 2))
        tensor([[[0., 1.]]])
    """
    finite = raw.isfinite().flatten(1).all(dim=1)[:, None, None]
    resized = F.interpolate(
        raw.float().where(finite, 0.0).unsqueeze(1), size=size, mode="bilinear"
    ).squeeze(1)
    low, high = resized.amin(dim=(1, 2), keepdim=True), resized.amax(dim=(1, 2), keepdim=True)
    span = high - low
    # Rounding of a constant map is not a signal: 1e-6 of its size is float32's own noise.
    meaningful = span > 1e-6 * high.abs()
    return ((resized - low) / span.where(meaningful, 1.0)).where(meaningful, 0.0)

"""The CAM family's formulas: activations and gradients in, raw saliency maps out.

`A` are the activations of the target layer and `g` the gradients of the score with respect to
them, both `[B, C, h, w]` float32; every formula returns `[B, h, w]` float32, at least 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

P = ParamSpec("P")

_AREA = (2, 3)


def _in_float32(formula: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Return a formula outside of autocast, which would round its matrix products."""

    @wraps(formula)
    def run(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = next(t.device.type for t in (*args, *kwargs.values()) if isinstance(t, Tensor))
        with torch.autocast(device, enabled=False):
            return formula(*args, **kwargs)

    return run


@_in_float32
def cam(activations: Tensor, class_weights: Tensor) -> Tensor:
    """Return CAM, `ReLU(sum_k W[c, k] A_k)`.

    Args:
        activations: `A`, pooled by their spatial mean right before the linear classifier.
        class_weights: The classifier's weights for the explained class, `[B, C]`.

    Example:
        >>> cam(torch.tensor([[[[1.0, 2.0]], [[3.0, 1.0]]]]), torch.tensor([[2.0, -1.0]]))
        tensor([[[0., 3.]]])

    Source: Zhou et al., 2016, arXiv 1512.04150, Eq. 2; the ReLU is ours, as in the other methods.
    """
    return F.relu(torch.einsum("bk,bkhw->bhw", class_weights, activations))


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return Grad-CAM, `ReLU(sum_k w_k A_k)` with `w_k = mean_ij g`.

    Args:
        activations: `A`.
        gradients: `g`.

    Example:
        >>> gradcam(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[1.0, 3.0]]]]))
        tensor([[[2., 4.]]])

    Source: Selvaraju et al., 2017, arXiv 1610.02391, Eq. 1 and 2.
    """
    return cam(activations, gradients.mean(dim=_AREA))


def gradcam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return Grad-CAM++, `ReLU(sum_k w_k A_k)` with `w_k = sum_ij a ReLU(g)`.

    `a = g^2 / (2 g^2 + g^3 sum_ij A_k + 1e-6)`, and 0 where `g = 0`.

    Args:
        activations: `A`.
        gradients: `g`.

    Example:
        >>> gradients = torch.tensor([[[[0.0, 2.0]]]])
        >>> gradcam_plus_plus(torch.ones(1, 1, 1, 2), gradients).round(decimals=3)
        tensor([[[0.3330, 0.3330]]])

    Source: Chattopadhyay et al., 2018, arXiv 1710.11063, Eq. 19 and 7, where the score is the
    exponential of the logit, so that its derivatives are powers of `g`. The 1e-6 keeps the
    quotient finite; pytorch-grad-cam has the same.
    """
    g = _exact(gradients)
    squares = g.square()
    sums = _exact(activations).sum(dim=_AREA, keepdim=True)
    alphas = (squares / (2 * squares + squares * g * sums + 1e-6)).where(g != 0, 0.0)
    return cam(activations, (alphas * F.relu(g)).sum(dim=_AREA).float())


def xgradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return XGrad-CAM, `ReLU(sum_k w_k A_k)` with `w_k = sum_ij g A / sum_ij A_k`.

    Args:
        activations: `A`.
        gradients: `g`.

    Example:
        >>> xgradcam(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[1.0, 5.0]]]]))
        tensor([[[ 4., 12.]]])

    Source: Fu et al., 2020, arXiv 2008.02312, Eq. 9. 1e-7 is added to the denominator, as in
    pytorch-grad-cam, so that a channel that is all zero has weight 0.
    """
    a = _exact(activations)
    weights = (_exact(gradients) * a).sum(dim=_AREA) / (a.sum(dim=_AREA) + 1e-7)
    return cam(activations, weights.float())


def _exact(tensor: Tensor) -> Tensor:
    """Return float64, for quotients whose denominator may vanish: normalised tokens sum to 0."""
    return tensor if tensor.device.type == "mps" else tensor.double()  # Metal has no float64


@_in_float32
def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return HiResCAM, `ReLU(sum_k g A_k)`.

    Args:
        activations: `A`.
        gradients: `g`.

    Example:
        >>> hirescam(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[-1.0, 3.0]]]]))
        tensor([[[0., 6.]]])

    Source: Draelos and Carin, 2020, arXiv 2011.08891, Eq. 5; the ReLU is ours, as in the others.
    """
    return F.relu(torch.einsum("bkhw,bkhw->bhw", gradients, activations))


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return LayerCAM, `ReLU(sum_k ReLU(g) A_k)`.

    Args:
        activations: `A`.
        gradients: `g`.

    Example:
        >>> gradients = torch.tensor([[[[-1.0, 3.0]], [[1.0, 0.0]]]])
        >>> layercam(torch.tensor([[[[2.0, 2.0]], [[1.0, 1.0]]]]), gradients)
        tensor([[[1., 6.]]])

    Source: Jiang et al., 2021, IEEE TIP 30, Eq. 4 to 6.
    """
    return hirescam(activations, F.relu(gradients))


@_in_float32
def eigencam(activations: Tensor) -> Tensor:
    """Return EigenCAM, the ReLU of the activations' first principal component.

    The activations, `h w` rows of C features less their mean, are projected on their first right
    singular vector. Its sign is arbitrary; ours makes the extreme of larger size positive: what
    stands out from the rest of a picture is more often the object than the background.

    Args:
        activations: `A`.

    Example:
        >>> eigencam(torch.tensor([[[[1.0, 1.0, 4.0]]]])).round(decimals=3)
        tensor([[[0., 0., 2.]]])

    Source: Muhammad and Yeasin, 2020, arXiv 2008.00299, section 3; the centring as in
    pytorch-grad-cam, which leaves the sign to LAPACK; the sign as in Chung and Ying, 2025,
    doi 10.3390/app15137562, Eq. 13.
    """
    rows = activations.flatten(2).transpose(1, 2)
    centred = rows - rows.mean(dim=1, keepdim=True)
    # From the smaller of the two Gram matrices: X X' u = s^2 u gives the projection s u at once.
    if centred.shape[1] <= centred.shape[2]:
        values, vectors = torch.linalg.eigh(centred @ centred.transpose(1, 2))
        spread = values[:, -1].clamp(min=0).sqrt()
        projection = vectors[:, :, -1] * spread[:, None]
    else:
        values, vectors = torch.linalg.eigh(centred.transpose(1, 2) @ centred)
        spread = values[:, -1].clamp(min=0).sqrt()
        projection = (centred @ vectors[:, :, -1:]).squeeze(2)
    flipped = -projection.amin(dim=1) > projection.amax(dim=1)
    projection = torch.where(flipped[:, None], -projection, projection)
    # Rounding around a constant is no component.
    is_signal = spread > 1e-5 * rows.flatten(1).norm(dim=1)
    return F.relu(projection.where(is_signal[:, None], 0.0)).reshape(-1, *activations.shape[2:])


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

    Source: min-max as in every paper above. pytorch-grad-cam divides by the largest value plus
    1e-7 instead, which dims maps of small values; here the scale of the logits doesn't matter.
    """
    finite = raw.isfinite().flatten(1).all(dim=1)[:, None, None]
    known = raw.float().where(finite, 0.0)
    # Scaled by their largest value first: the interpolation of very small numbers would underflow.
    largest = known.abs().amax(dim=(1, 2), keepdim=True)
    known = known / largest.where(largest > 0, 1.0)
    resized = F.interpolate(known.unsqueeze(1), size=size, mode="bilinear").squeeze(1)
    low, high = resized.amin(dim=(1, 2), keepdim=True), resized.amax(dim=(1, 2), keepdim=True)
    span = high - low
    # Rounding of a constant map is not a signal: 1e-6 of its size is float32's own noise.
    meaningful = span > 1e-6
    return ((resized - low) / span.where(meaningful, 1.0)).where(meaningful, 0.0)

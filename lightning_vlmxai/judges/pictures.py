"""Pictures as a judge receives them: masked or under a heat map, encoded as data URLs."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import ConfigurationError, expected
from ..masking import apply_mask
from ..records import JudgeRequest

FORMATS = ("png", "jpeg")
"""PNG loses nothing and every server reads it; JPEG is smaller."""


def draw_views(request: JudgeRequest, view: str) -> list[Tensor]:
    """Return the pictures that a view consists of.

    Args:
        request: What is judged.
        view: "masked", "overlay" or "both" (masked first).

    Returns:
        One or two `[3, H, W]`, float32 in [0, 1].

    Raises:
        ConfigurationError: If an overlay is asked for and the request has no saliency map.
    """
    pictures = []
    if view != "overlay":
        pictures.append(apply_mask(request.pixels, request.mask))
    if view != "masked":
        if request.saliency is None:
            raise ConfigurationError(
                expected("saliency", "given for an overlay", None, 'Pass view="masked"')
            )
        pictures.append(heat_overlay(request.pixels, request.saliency))
    return pictures


def heat_overlay(pixels: Tensor, saliency: Tensor, *, opacity: float = 0.5) -> Tensor:
    """Return a picture under a heat map: blue where saliency is 0, green at 1/2, red at 1.

    Args:
        pixels: `[3, H, W]` in [0, 1].
        saliency: `[H, W]` in [0, 1].
        opacity: Share of the heat map, in [0, 1].

    Returns:
        `[3, H, W]`, float32 in [0, 1].

    Example:
        >>> heat_overlay(torch.zeros(3, 1, 1), torch.ones(1, 1))[:, 0, 0]
        tensor([0.5000, 0.0000, 0.0000])
    """
    v = saliency.float().clamp(0, 1)
    heat = torch.stack([(2 * v - 1).clamp(min=0), 1 - (2 * v - 1).abs(), (1 - 2 * v).clamp(min=0)])
    # Full colour at every value: yellow and cyan lie between, as in the usual heat maps.
    heat = heat / heat.amax(dim=0, keepdim=True)
    return (1 - opacity) * pixels.float() + opacity * heat


def encode_picture(pixels: Tensor, *, picture_format: str = "png", min_side: int = 0) -> bytes:
    """Return a picture as the bytes of a file.

    Args:
        pixels: `[3, H, W]` in [0, 1].
        picture_format: "png" or "jpeg".
        min_side: Pictures whose longer side is below it are enlarged to it (bicubic), in pixels.

    Example:
        >>> encode_picture(torch.zeros(3, 2, 2))[1:4]
        b'PNG'
    """
    array = (pixels.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    image = Image.fromarray(np.ascontiguousarray(array.permute(1, 2, 0).numpy()))
    if max(image.size) < min_side:
        scale = min_side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    if picture_format == "jpeg":
        image.save(buffer, "JPEG", quality=90)
    else:
        # Level 1 takes half the time of the default for some 10 % more bytes.
        image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def to_data_url(data: bytes, picture_format: str) -> str:
    """Return an encoded picture as a data URL.

    Example:
        >>> to_data_url(b"abc", "png")
        'data:image/png;base64,YWJj'
    """
    return f"data:image/{picture_format};base64,{base64.b64encode(data).decode('ascii')}"

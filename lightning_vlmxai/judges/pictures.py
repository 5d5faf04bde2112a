"""Pictures as a judge receives them: masked or under a heat map, encoded as data URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConfigurationError, expected
from ..explain import apply_mask, overlay
from ..records import JudgeRequest

Picture = NDArray[np.float32]
"""`[3, H, W]`, in [0, 1]."""

FORMATS = ("png", "jpeg")
"""PNG loses nothing and every server reads it; JPEG is smaller."""


def draw_views(request: JudgeRequest, view: str) -> list[Picture]:
    """Return the pictures that a view consists of.

    Args:
        request: What is judged.
        view: "masked", "overlay" or "both" (masked first).

    Returns:
        One or two `[3, H, W]`, float32 in [0, 1].

    Raises:
        ConfigurationError: If an overlay is asked for and the request has no saliency map.
    """
    pictures: list[Picture] = []
    pixels: Picture = request.pixels.detach().numpy()
    if view != "overlay":
        # Eq. 2 in numpy for the usual fill: torch would spread it over the threads that training
        # is using at that moment, and on a busy machine take ten times as long.
        pictures.append(
            pixels * request.mask.detach().numpy()
            if request.fill == "black"
            else apply_mask(request.pixels, request.mask, fill=request.fill).numpy()
        )
    if view != "masked":
        if request.saliency is None:
            raise ConfigurationError(
                expected("saliency", "given for an overlay", None, 'Pass view="masked"')
            )
        pictures.append(overlay(request.pixels, request.saliency).numpy())
    return pictures


def encode_picture(pixels: Picture, *, picture_format: str = "png", min_side: int = 0) -> bytes:
    """Return a picture as the bytes of a file.

    Args:
        pixels: `[3, H, W]` in [0, 1].
        picture_format: "png" or "jpeg".
        min_side: Pictures whose longer side is below it are enlarged to it (bicubic), in pixels.

    Example:
        >>> encode_picture(np.zeros((3, 2, 2), np.float32))[1:4]
        b'PNG'
    """
    array = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0)))
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


def encode_views(
    request: JudgeRequest, view: str, *, picture_format: str, min_side: int
) -> list[bytes]:
    """Return the files of a view's pictures; see `draw_views` and `encode_picture`."""
    return [
        encode_picture(picture, picture_format=picture_format, min_side=min_side)
        for picture in draw_views(request, view)
    ]


def make_content(text: str, files: Sequence[bytes], picture_format: str) -> list[dict[str, Any]]:
    """Return the parts of a message, as the chat completions protocol has them."""
    urls = [to_data_url(data, picture_format) for data in files]
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"type": "text", "text": text}, *pictures]


def to_data_url(data: bytes, picture_format: str) -> str:
    """Return an encoded picture as a data URL.

    Example:
        >>> to_data_url(b"abc", "png")
        'data:image/png;base64,YWJj'
    """
    return f"data:image/{picture_format};base64,{base64.b64encode(data).decode('ascii')}"

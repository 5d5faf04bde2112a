"""How a picture becomes a model's input, and how masks go the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from ..errors import ConfigurationError, expected

Size = int | tuple[int, int]
_BY_NAME = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Resize, centre crop, scaling to [0, 1], normalisation: what evaluation is done with.

    Args:
        resize: Of the short side, or (height, width); None leaves the size.
        crop: Of the middle, a square or (height, width); None leaves the size.
        interpolation: Of the picture; masks take their nearest pixel.
        mean: A channel, of pixels in [0, 1].
        std: A channel.
    """

    resize: Size | None
    crop: Size | None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: InterpolationMode = InterpolationMode.BILINEAR

    def __call__(self, picture: Image.Image) -> Tensor:
        """Return a picture as the model's input, `[3, H, W]` float32."""
        pixels = F.pil_to_tensor(self._place(picture, self.interpolation))
        scaled = F.convert_image_dtype(pixels, torch.float32)
        made: Tensor = F.normalize(scaled, self.mean, self.std)
        return made

    def place_mask(self, mask: np.ndarray[Any, Any]) -> Tensor:
        """Return a map `[h, w]` of uint8 or bool where the picture's pixels lie, `[H, W]`."""
        placed = self._place(Image.fromarray(mask.astype(np.uint8)), InterpolationMode.NEAREST)
        return torch.from_numpy(np.array(placed)).to(torch.bool if mask.dtype == bool else None)

    @property
    def fixed_size(self) -> bool:
        """Whether all inputs have one size, so that they make a batch."""
        return self.crop is not None or isinstance(self.resize, tuple)

    def _place(self, picture: Image.Image, interpolation: InterpolationMode) -> Image.Image:
        if self.resize is not None:
            size = [self.resize] if isinstance(self.resize, int) else list(self.resize)
            picture = F.resize(picture, size, interpolation=interpolation, antialias=True)
        if self.crop is not None:
            size = [self.crop] if isinstance(self.crop, int) else list(self.crop)
            picture = F.center_crop(picture, size)
        return picture


def preset_of_torchvision(transforms: Any) -> Preset:
    """Return what `weights.transforms()` of a classifier or a segmentation model does.

    Args:
        transforms: A preset of torchvision.
    """
    crop = getattr(transforms, "crop_size", None)
    return Preset(
        resize=None if transforms.resize_size is None else _size(transforms.resize_size),
        crop=None if crop is None else _size(crop),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation,
    )


def preset_of_timm(config: dict[str, Any]) -> Preset:
    """Return what timm's evaluation does, by its `resolve_data_config`.

    Args:
        config: Of the model.

    Raises:
        ConfigurationError: If it isn't a resize and a crop of the middle of a square.
    """
    _, height, width = config["input_size"]
    mode, interpolation = config.get("crop_mode") or "center", config["interpolation"]
    if height != width or mode not in ("center", "squash") or interpolation not in _BY_NAME:
        raise ConfigurationError(
            expected(
                "model",
                "one that is evaluated on resized squares",
                f"crop_mode={mode!r}, interpolation={interpolation!r}, {height} x {width}",
                f"Say how it is to be done: --resize {height} --crop {height}",
            )
        )
    side = int(height / config["crop_pct"])
    return Preset(
        resize=(side, side) if mode == "squash" else side,
        crop=height,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=_BY_NAME[interpolation],
    )


def _size(given: Any) -> Size:
    if isinstance(given, int):
        return given
    sizes = tuple(given)
    return int(sizes[0]) if len(sizes) == 1 else (int(sizes[0]), int(sizes[1]))

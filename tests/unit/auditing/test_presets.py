"""Pictures as the libraries' own evaluation prepares them, and masks beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.models as tv
from PIL import Image

from lightning_vlmxai.auditing import Preset
from lightning_vlmxai.auditing.presets import preset_of_timm, preset_of_torchvision
from lightning_vlmxai.errors import ConfigurationError


def picture(width: int = 301, height: int = 180) -> Image.Image:
    """Return a smooth picture, so that interpolations differ."""
    drawn = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    return Image.fromarray(drawn).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    "name", ["resnet18", "convnext_tiny", "vit_b_16", "fcn_resnet50", "maxvit_t"]
)
def test_pictures_are_prepared_as_torchvision_does(name: str) -> None:
    """To the last bit, for bilinear and bicubic, with and without a crop."""
    transforms = tv.get_model_weights(name).DEFAULT.transforms()
    torch.testing.assert_close(
        preset_of_torchvision(transforms)(picture()), transforms(picture()), rtol=0, atol=0
    )


@pytest.mark.parametrize("mode", ["center", "squash"])
def test_pictures_are_prepared_as_timm_does(mode: str) -> None:
    """By its own transform."""
    data = pytest.importorskip("timm.data")
    config = {
        "input_size": (3, 224, 224),
        "interpolation": "bicubic",
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "crop_pct": 0.95,
        "crop_mode": mode,
    }
    peer = data.create_transform(**config, is_training=False)
    torch.testing.assert_close(preset_of_timm(config)(picture()), peer(picture()))
    with pytest.raises(ConfigurationError, match="--resize 224 --crop 224"):
        preset_of_timm({**config, "crop_mode": "border"})


def test_masks_lie_where_the_picture_does() -> None:
    """A mask that is drawn in the picture is met by its pixels, but for the edge's width."""
    mask = np.zeros((180, 301), bool)
    mask[40:120, 100:190] = True
    shown = Image.fromarray((np.repeat(mask[..., None], 3, axis=2) * 255).astype(np.uint8))
    for preset in (Preset(resize=64, crop=48), Preset(resize=(50, 70), crop=None)):
        seen = preset(shown)[0] > 0.5
        placed = preset.place_mask(mask)
        assert placed.dtype == torch.bool
        assert placed.shape == seen.shape
        assert (seen ^ placed).float().mean() < 0.02
        assert 0.1 < placed.float().mean() < 0.9
    void = Preset(resize=64, crop=48).place_mask(np.full((180, 301), 255, np.uint8))
    assert void.dtype == torch.uint8
    assert (void == 255).all()

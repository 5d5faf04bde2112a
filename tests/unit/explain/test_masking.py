from __future__ import annotations

import math

import pytest
import torch

from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.explain.masking import apply_mask, blur, mask_iou, overlay, soft_mask


def test_mask_is_the_sigmoid_of_the_paper() -> None:
    """Eq. 1, written out with the exponential."""
    for v in (0.0, 0.3, 0.6, 0.61, 1.0):
        expected = 1 / (1 + math.exp(25 * (0.4 - v)))
        assert float(soft_mask(torch.tensor(v), alpha=25, beta=0.4)) == pytest.approx(expected)


def test_mask_is_hard_in_the_limit() -> None:
    """An infinite alpha gives 0 below, 1 above and 0.5 on the threshold."""
    mask = soft_mask(torch.tensor([0.0, 0.59, 0.6, 0.61, 1.0]), alpha=math.inf, beta=0.6)
    assert mask.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mask_of_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    """A half map gives the mask of the same values in float32."""
    saliency = torch.linspace(0, 1, 50).to(dtype)
    mask = soft_mask(saliency, alpha=200.0)
    assert mask.dtype == torch.float32
    assert torch.equal(mask, soft_mask(saliency.float(), alpha=200.0))


def test_mask_keeps_what_is_not_a_number() -> None:
    """A broken map isn't made into a plausible mask."""
    assert soft_mask(torch.tensor([torch.nan])).isnan().all()


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.5), (-1.0, 0.5), (math.nan, 0.5)])
def test_alpha_must_be_above_zero(alpha: float, beta: float) -> None:
    """Zero, negative and no number are refused."""
    with pytest.raises(ConfigurationError, match=r"Expected `alpha` to be above 0, got"):
        soft_mask(torch.zeros(1), alpha=alpha, beta=beta)


def test_beta_must_be_a_saliency() -> None:
    """A threshold that no saliency can reach is refused."""
    with pytest.raises(ConfigurationError, match=r"Expected `beta` to be in \[0, 1\], got 1\.5"):
        soft_mask(torch.zeros(1), beta=1.5)


@pytest.mark.parametrize("fill", ["black", "blur", "grey", "mean"])
def test_what_is_attended_keeps_its_pixels(fill: str) -> None:
    """Where the mask is 1 every fill leaves the picture bit for bit."""
    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 8, 8)
    mask[:, :4] = 1.0
    shown = apply_mask(pixels, mask, fill=fill)  # type: ignore[arg-type]
    assert torch.equal(shown[:, :, :4], pixels[:, :, :4])
    assert not torch.equal(shown[:, :, 4:], pixels[:, :, 4:])


def test_fills_are_what_they_say() -> None:
    """Where the mask is 0 there is black, grey or the picture's mean colour."""
    pixels = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(4, 4)
    assert not apply_mask(pixels, nothing).any()
    assert (apply_mask(pixels, nothing, fill="grey") == 0.5).all()
    mean = apply_mask(pixels, nothing, fill="mean")
    torch.testing.assert_close(mean, pixels.mean(dim=(1, 2))[:, None, None].expand(3, 4, 4))
    torch.testing.assert_close(apply_mask(pixels, nothing, fill="blur"), blur(pixels, sigma=0.25))


def test_an_unknown_fill_is_refused() -> None:
    """The message lists the fills."""
    with pytest.raises(ConfigurationError, match=r"one of black, blur, grey, mean, got 'white'"):
        apply_mask(torch.zeros(3, 2, 2), torch.zeros(2, 2), fill="white")  # type: ignore[arg-type]


def test_blur_equals_a_sum_over_neighbours() -> None:
    """Each pixel is the Gaussian mean of its neighbours, the border going on."""
    image = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    reach, sigma = 3, 1.0
    weights = [math.exp(-0.5 * (d / sigma) ** 2) for d in range(-reach, reach + 1)]
    total = sum(weights) ** 2
    found = blur(image, sigma=sigma)
    for i in range(5):
        for j in range(6):
            expected = sum(
                weights[di + reach]
                * weights[dj + reach]
                * float(image[min(max(i + di, 0), 4), min(max(j + dj, 0), 5)])
                for di in range(-reach, reach + 1)
                for dj in range(-reach, reach + 1)
            )
            assert float(found[i, j]) == pytest.approx(expected / total, abs=1e-5)


def test_overlay_is_warm_where_attended() -> None:
    """Red at 1, green in the middle, blue at 0, over half of the picture."""
    heat = overlay(torch.zeros(3, 1, 3), torch.tensor([[0.0, 0.5, 1.0]]), weight=1.0)[:, 0]
    assert heat.argmax(dim=0).tolist() == [2, 1, 0]
    pixels = torch.full((3, 1, 3), 0.8)
    torch.testing.assert_close(
        overlay(pixels, torch.tensor([[0.0, 0.5, 1.0]]))[:, 0], 0.4 + heat / 2
    )


def test_iou_counts_from_one_half() -> None:
    """0.5 is attended, a hair less isn't, and two empty masks agree."""
    first = torch.tensor([[0.5, 0.5, 0.4999999]])
    assert float(mask_iou(first, torch.tensor([[1.0, 0.0, 0.0]]))) == 0.5
    assert float(mask_iou(torch.zeros(2, 2), torch.zeros(2, 2))) == 1.0

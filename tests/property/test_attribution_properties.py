from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vlmxai.attribution import fold, normalize_saliency
from lightning_vlmxai.attribution.grids import token_grid
from lightning_vlmxai.attribution.methods import cam, gradcam, hirescam
from lightning_vlmxai.explain.masking import soft_mask

settings.register_profile("attribution", deadline=None, max_examples=60)
settings.load_profile("attribution")


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
    st.floats(1e-3, 1e6),
    st.floats(0, 1),
)
def test_mask_is_half_exactly_from_beta_on(values: list[float], alpha: float, beta: float) -> None:
    """For every alpha the mask is at least 0.5 where the saliency reaches beta, and only there."""
    saliency = torch.tensor(values)
    mask = soft_mask(saliency, alpha=alpha, beta=beta)
    assert torch.equal(mask >= 0.5, saliency >= torch.tensor(beta, dtype=torch.float32))
    assert ((mask >= 0) & (mask <= 1)).all()


@given(
    st.integers(0, 16),
    st.sampled_from([8, 14, 16, 32]),
    st.integers(3, 12),
    st.integers(3, 12),
)
def test_tokens_are_folded_back_to_their_places(
    prefix: int, patch: int, rows: int, columns: int
) -> None:
    """However many prefix tokens there are, each patch returns to its row and column."""
    size = (rows * patch, columns * patch)
    # The fewest prefix tokens win: leave out the counts that read as a larger grid of that aspect.
    grid = token_grid(rows * columns + prefix, size)
    if grid is None or grid[0] * grid[1] != rows * columns:
        assert grid is not None
        assert rows * columns < grid[0] * grid[1] <= rows * columns + prefix
        return
    places = torch.arange(rows * columns).float().reshape(rows, columns)
    tokens = torch.cat([torch.full((prefix,), -1.0), places.flatten()])[None, :, None]
    assert torch.equal(fold(tokens, picture_size=size)[0, 0], places)


@given(st.integers(0, 10_000), st.floats(1e-6, 1e6))
def test_normalised_maps_ignore_scale_and_offset(seed: int, scale: float) -> None:
    """A map times any positive number gives the same picture, in [0, 1] and reaching both ends."""
    raw = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(seed))
    found = normalize_saliency(raw, size=(9, 7))
    torch.testing.assert_close(normalize_saliency(raw * scale, size=(9, 7)), found)
    assert (found.amin(dim=(1, 2)) == 0).all()
    assert (found.amax(dim=(1, 2)) == 1).all()


@given(st.integers(0, 10_000))
def test_pooled_linear_heads_make_three_methods_one(seed: int) -> None:
    """Behind pooling and a linear layer g is W / (h w), so CAM, Grad-CAM and HiResCAM agree."""
    generator = torch.Generator().manual_seed(seed)
    activations = torch.randn(2, 6, 3, 4, generator=generator)
    weights = torch.randn(2, 6, generator=generator)
    gradients = (weights / 12)[:, :, None, None].expand_as(activations)
    expected = cam(activations, weights)
    torch.testing.assert_close(12 * gradcam(activations, gradients), expected)
    torch.testing.assert_close(12 * hirescam(activations, gradients), expected)

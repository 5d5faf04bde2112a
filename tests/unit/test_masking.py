"""Eq. 1 and Eq. 2, by hand."""

import math

import pytest
import torch

from lightning_vlmxai.masking import apply_mask, mask_iou, soft_mask


def test_soft_mask_equals_eq_1_computed_by_hand() -> None:
    """Each entry is 1 / (1 + exp(alpha (beta - v)))."""
    saliency = torch.tensor([[0.0, 0.25], [0.6, 1.0]])
    mask = soft_mask(saliency, alpha=15, beta=0.6)
    for i in range(2):
        for j in range(2):
            by_hand = 1 / (1 + math.exp(15 * (0.6 - saliency[i, j].item())))
            assert mask[i, j].item() == pytest.approx(by_hand, rel=1e-5)


def test_mask_keeps_exactly_where_saliency_reaches_beta() -> None:
    """M >= 0.5 if and only if v >= beta, for every v in steps of 1/1000."""
    saliency = torch.arange(1001).float() / 1000
    beta = float(saliency[600])
    assert torch.equal(soft_mask(saliency, beta=beta) >= 0.5, saliency >= saliency[600])


def test_masked_pixels_keep_the_attended_and_blacken_the_rest() -> None:
    """Eq. 2 multiplies every channel with the mask."""
    pixels = torch.tensor([[[0.2, 0.4]], [[0.6, 0.8]], [[1.0, 0.0]]])
    masked = apply_mask(pixels, torch.tensor([[1.0, 0.25]]))
    assert torch.allclose(masked, torch.tensor([[[0.2, 0.1]], [[0.6, 0.2]], [[1.0, 0.0]]]))


def test_iou_counts_pixels() -> None:
    """One shared of three covered pixels is 1/3; two empty masks agree."""
    first = torch.tensor([[0.9, 0.9], [0.1, 0.1]])
    second = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
    assert mask_iou(first, second).item() == pytest.approx(1 / 3)
    assert mask_iou(torch.zeros(2, 2), torch.zeros(2, 2)).item() == 1

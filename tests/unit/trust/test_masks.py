"""Masks against reference masks, counted pixel by pixel by scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from lightning_vlmxai.trust import mask_agreement


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_the_peers(seed: int) -> None:
    """IoU is Jaccard's index, Dice is F1."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(9, 7, generator=generator)
    reference = torch.rand(9, 7, generator=generator) < 0.1 + 0.2 * seed
    told = mask_agreement(mask, reference)
    pair = reference.flatten().numpy(), (mask >= 0.5).flatten().numpy()
    assert told["iou"] == pytest.approx(jaccard_score(*pair))
    assert told["dice"] == pytest.approx(f1_score(*pair))
    assert told["pixel_accuracy"] == pytest.approx(accuracy_score(*pair))


def test_nothing_kept_is_no_overlap_and_no_object_is_refused() -> None:
    """0 is a figure here; without an object there is none."""
    reference = torch.eye(4).bool()
    assert mask_agreement(torch.zeros(4, 4), reference)["iou"] == 0.0
    with pytest.raises(ValueError, match="empty reference mask"):
        mask_agreement(torch.ones(4, 4), torch.zeros(4, 4).bool())

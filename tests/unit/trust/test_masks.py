"""Masks against reference masks, counted pixel by pixel by scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from lightning_vlmxai.trust import mask_agreement, say_partly


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
    assert told["precision"] == pytest.approx(precision_score(*pair))
    assert told["recall"] == pytest.approx(recall_score(*pair))
    assert told["object_share"] == pytest.approx(float(reference.float().mean()))


def test_nothing_kept_is_no_overlap_and_no_object_is_refused() -> None:
    """0 is a figure here; without an object there is none."""
    reference = torch.eye(4).bool()
    told = mask_agreement(torch.zeros(4, 4), reference)
    assert told["iou"] == told["recall"] == 0.0
    assert "precision" not in told
    with pytest.raises(ValueError, match="empty reference mask"):
        mask_agreement(torch.ones(4, 4), torch.zeros(4, 4).bool())


def test_partly_attended_is_on_the_object_and_covers_little() -> None:
    """Beside it, all of it, as chance would have it, and what was not measured are not."""
    reference = torch.zeros(10, 10, dtype=torch.bool)
    reference[:, :5] = True  # half of the picture

    def told(kept: torch.Tensor) -> str:
        return say_partly(mask_agreement(kept, reference))

    corner = torch.zeros(10, 10)
    corner[:2, :5] = 1.0
    assert told(corner) == (
        "partly attended: 100 % of the kept region lies on the object, 20 % of the object is kept"
    )
    corner[:1, 5:] = 1.0  # 10 on it, 5 beside it: less than half of the way from chance to all
    assert told(corner) == ""
    assert told(corner.flip(1)) == ""
    assert told(reference.float()) == ""
    assert told(torch.zeros(10, 10)) == ""
    kept = {"precision": 0.9, "recall": 0.1, "object_share": 0.5}
    assert say_partly({f"reference/{name}": value for name, value in kept.items()})
    assert say_partly({"precision": 1.0, "recall": 0.1, "object_share": 1.0}) == ""
    for name in kept:
        assert say_partly({n: v for n, v in kept.items() if n != name}) == ""

"""What is kept of a picture against where the object is. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

ON_OBJECT, LITTLE = 0.5, 0.5
"""Of a partly attended object: least precision beyond chance, and recall that is too much."""


def mask_agreement(mask: Tensor, reference: Tensor) -> dict[str, float]:
    """Return how well the kept region covers the object.

    `iou`, `dice`, `pixel_accuracy`; `precision`, the share of the kept region on the object (none
    where nothing is kept); `recall`, the share of the object that is kept; `object_share`, the
    object's share of the picture. Each is in [0, 1]. Of two binary masks F1 is Dice, which is why
    a table with both has one column twice.

    Args:
        mask: Eq. 1, `[H, W]` in [0, 1]; kept where >= 0.5.
        reference: Where the object is, `[H, W]` bool.

    Raises:
        ValueError: If there is no object.

    Example:
        >>> import torch
        >>> mask = torch.tensor([[0.9, 0.8, 0.1, 0.0]])
        >>> told = mask_agreement(mask, torch.tensor([[True, False, False, False]]))
        >>> told["iou"], told["pixel_accuracy"], told["precision"], told["recall"]
        (0.5, 0.75, 0.5, 1.0)
    """
    if not reference.any():
        raise ValueError("Expected an object, got an empty reference mask.")
    kept = mask >= 0.5
    both, either = int((kept & reference).sum()), int((kept | reference).sum())
    told = {
        "iou": both / either,
        "dice": 2 * both / (both + either),
        "pixel_accuracy": int((kept == reference).sum()) / reference.numel(),
        "recall": both / int(reference.sum()),
        "object_share": int(reference.sum()) / reference.numel(),
    }
    return told | ({"precision": both / int(kept.sum())} if kept.any() else {})


def say_partly(told: Mapping[str, float]) -> str:
    """Return what was measured where the kept region lies on the object and covers little of it.

    A region that lies anywhere has the object's share of the picture as its precision; asked is at
    least half of the way from there to 1, and that less than half of the object is kept. Of a
    Correct-Low sample this is no wrong reason but a part of the right one.

    Args:
        told: `mask_agreement`, with or without "reference/" before each name.

    Returns:
        A line; empty where it is not so, or was not measured.

    Example:
        >>> say_partly({"precision": 0.92, "recall": 0.18, "object_share": 0.3})
        'partly attended: 92 % of the kept region lies on the object, 18 % of the object is kept'
        >>> say_partly({"precision": 0.5, "recall": 0.18, "object_share": 0.4}), say_partly({})
        ('', '')
    """
    told = {name.removeprefix("reference/"): value for name, value in told.items()}
    if not {"precision", "recall", "object_share"} <= told.keys():
        return ""
    precision, recall, share = told["precision"], told["recall"], told["object_share"]
    if recall >= LITTLE or precision < share + ON_OBJECT * (1 - share) or precision <= share:
        return ""
    return (
        f"partly attended: {round(100 * precision)} % of the kept region lies on the object, "
        f"{round(100 * recall)} % of the object is kept"
    )

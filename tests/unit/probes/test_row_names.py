"""Which columns of a batch are names of its rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_vlmxai.probes.row_names import RowNames


@pytest.mark.parametrize(
    "texts",
    [
        ["n01", "n02", "n01", "n03"],
        ["a red cat", "a dog 2", "a fox", "a cow"],
        ["a", "b", "c", "d"],
    ],
)
def test_classes_and_captions_are_no_names(texts: list[str]) -> None:
    """What stands behind image and label has to look like a name, and be a row's own."""
    names = RowNames()
    columns = names.see([torch.zeros(4, 3, 8, 8), torch.zeros(4), texts], 4)
    assert all(
        names.choose({a: column[i] for a, column in columns.items()}) is None for i in range(4)
    )


class Meta(Tensor):
    """MONAI's tensor: its meta data hang on it."""

    meta: dict[str, Any]


def test_what_hangs_on_a_tensor_names_rows() -> None:
    """The picture's, not its mask's."""
    image, mask = (torch.zeros(2, 1, 8, 8).as_subclass(Meta) for _ in range(2))
    image.meta = {"filename_or_obj": ["a.nii", "b.nii"]}
    mask.meta = {"filename_or_obj": ["mask_a.nii", "mask_b.nii"]}
    columns = RowNames().see({"label": mask, "image": image}, 2)
    assert list(columns.values()) == [["a.nii", "b.nii"]]

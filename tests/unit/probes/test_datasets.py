"""What a data set tells about itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision import transforms
from torchvision.transforms import v2

from lightning_vlmxai import ProbeError
from lightning_vlmxai.probes import Normalization, find_dataset
from lightning_vlmxai.probes.datasets import find_class_names, find_labels, find_normalization
from tiny import MEAN, STD, Squares


@pytest.mark.parametrize(
    "transform",
    [
        transforms.Normalize(MEAN, STD),
        transforms.Compose([transforms.Compose([transforms.Normalize(MEAN, STD)])]),
        v2.Compose([v2.ToDtype(torch.float32), v2.Normalize(list(MEAN), list(STD))]),
        torch.nn.Sequential(transforms.Normalize(MEAN, STD)),
    ],
)
def test_normalization_is_found_in_both_torchvisions_transforms(transform: Any) -> None:
    """However deep it is composed, also behind a subset and a concatenation."""
    dataset = Squares()
    dataset.transform = transform
    wrapped = torch.utils.data.ConcatDataset([torch.utils.data.Subset(dataset, [0, 1])])
    assert find_normalization(wrapped) == Normalization(mean=MEAN, std=STD)
    assert find_normalization(torch.utils.data.TensorDataset(torch.zeros(1))) is None


def test_labels_and_class_names_are_found_behind_wrappers() -> None:
    """A subset of a concatenation lists the labels of its own samples."""
    both = torch.utils.data.ConcatDataset([Squares(4), Squares(4)])
    subset = torch.utils.data.Subset(both, [1, 4, 5])
    assert find_labels(subset) == [1, 0, 1]
    assert find_class_names(subset) == ("red", "blue")
    assert find_labels(torch.utils.data.TensorDataset(torch.zeros(2))) is None


def test_the_first_loader_counts_and_one_without_data_set_is_an_error() -> None:
    """Lists and mappings of loaders are opened."""
    loader = torch.utils.data.DataLoader(Squares())
    assert find_dataset([{"a": loader}]) is loader.dataset
    assert find_dataset(None) is None
    assert find_dataset([]) is None
    with pytest.raises(ProbeError, match="`validation loader` to be one with a `dataset`"):
        find_dataset([iter([])])

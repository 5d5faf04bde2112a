"""What a data set tells about itself."""

from __future__ import annotations

import torch

from lightning_vlmxai.probes.datasets import find_labels
from tiny import Squares


def test_labels_are_found_behind_wrappers() -> None:
    """A subset of a concatenation lists the labels of its own samples."""
    both = torch.utils.data.ConcatDataset([Squares(4), Squares(4)])
    subset = torch.utils.data.Subset(both, [1, 4, 5])
    assert find_labels(subset) == [1, 0, 1]
    assert find_labels(torch.utils.data.TensorDataset(torch.zeros(2))) is None

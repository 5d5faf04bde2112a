"""Choosing and reading probes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lightning_vlmxai import ProbeError
from lightning_vlmxai.probes import Item, unpack_item
from lightning_vlmxai.probes.datasets import (
    Normalization,
)
from lightning_vlmxai.probes.probe_set import choose_indices, read_probes
from tiny import Squares


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(1, 80), st.integers(0, 9))
def test_each_class_keeps_its_share_to_within_one(labels: list[int], size: int, seed: int) -> None:
    """A stratified draw has floor or ceiling of a class's share, without repeats."""
    chosen = choose_indices(labels, size, seed=seed)
    assert len(chosen) == len(set(chosen)) == min(size, len(labels))
    assert chosen == sorted(chosen)
    for label in set(labels):
        share = len(chosen) * labels.count(label) / len(labels)
        drawn = sum(labels[i] == label for i in chosen)
        # Shares are rounded by chance and the draw is cut to size: at most one more or less each.
        assert abs(drawn - share) < 2


def test_the_draw_depends_on_its_seed_alone() -> None:
    """The global generators don't enter."""
    labels = [i % 3 for i in range(300)]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = choose_indices(labels, 20, seed=5)
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert choose_indices(labels, 20, seed=5) == first
    assert choose_indices(labels, 20, seed=6) != first


def test_probes_show_the_pixels_from_before_the_normalisation() -> None:
    """Un-normalised pixels are the data set's pictures; inputs are what the model gets."""
    dataset = Squares(8)
    probe_set = read_probes(dataset, size=8, seed=0)
    for probe in probe_set.probes:
        assert torch.allclose(probe.pixels, dataset.pictures[probe.index], atol=1e-6)
        assert torch.equal(probe.input, dataset[probe.index][0])
        assert int(probe.target) == dataset.targets[probe.index]
        assert probe.reference_mask is not None
        assert torch.equal(probe.reference_mask, dataset.masks[probe.index])


def test_reading_leaves_the_generators_alone_and_repeats_its_augmentation() -> None:
    """A random transform gives a probe the same picture in every run."""

    class Noisy(Squares):
        def __getitem__(self, index: int) -> Any:
            picture, label, mask = super().__getitem__(index)
            shift = 0.01 * (torch.rand(()) + random.random() + np.random.rand())  # noqa: NPY002, S311
            return picture - shift, label, mask

    torch.manual_seed(3)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = read_probes(Noisy(), size=5, seed=0)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.manual_seed(4)
    assert read_probes(Noisy(), size=5, seed=0).fingerprint == first.fingerprint


def test_fingerprint_changes_with_one_pixel() -> None:
    """A resumed run can tell that its probes are others."""
    dataset = Squares(8)
    before = read_probes(dataset, size=8, seed=0).fingerprint
    dataset.pictures[3, 0, 0, 0] += 0.01
    assert read_probes(dataset, size=8, seed=0).fingerprint != before


def test_labels_are_read_from_a_pool_where_the_data_set_does_not_list_them() -> None:
    """Four times the size is read and stratified; no more."""
    reads: list[int] = []

    class Unlisted(Squares):
        def __init__(self) -> None:
            super().__init__(200)
            self.hidden, self.targets = self.targets, []

        def __len__(self) -> int:
            return 200

        def __getitem__(self, index: int) -> Any:
            reads.append(index)
            return self.transform(self.pictures[index]), self.hidden[index]

    probe_set = read_probes(Unlisted(), size=10, seed=0)
    assert len(reads) == len(set(reads)) == 40
    assert 4 <= sum(int(p.target) for p in probe_set.probes) <= 6


def test_samples_may_be_mappings_and_pictures_grey_or_bytes() -> None:
    """The common shapes of a sample are understood."""
    picture = torch.zeros(3, 4, 4)
    item = unpack_item({"pixel_values": picture, "labels": 1, "mask": torch.ones(4, 4)})
    assert item.image is picture
    assert item.target == 1
    grey = [(torch.full((1, 4, 4), 128, dtype=torch.uint8), 0)]

    class Listed(list[Any]):
        pass

    (probe,) = read_probes(Listed(grey), size=1, seed=0).probes
    assert probe.pixels.shape == (3, 4, 4)
    assert torch.all(probe.pixels == 128 / 255)


def test_a_mask_may_be_a_pil_image_and_must_have_the_pictures_size() -> None:
    """Non-zero is the object; another size is an error with the remedy."""
    mask = Image.new("L", (4, 3))
    mask.putpixel((1, 2), 255)
    picture = torch.zeros(3, 3, 4)
    (probe,) = read_probes([(picture, 0, mask)], size=1, seed=0).probes
    assert probe.reference_mask is not None
    assert probe.reference_mask.nonzero().tolist() == [[2, 1]]
    with pytest.raises(ProbeError, match=r"`reference_mask` to be of the image's size \[3, 4\]"):
        read_probes([(picture, 0, torch.ones(4, 4))], size=1, seed=0)


def test_an_empty_data_set_and_odd_channels_are_errors() -> None:
    """Both say what is wrong."""
    with pytest.raises(ProbeError, match="to be not empty"):
        read_probes([], size=1, seed=0)
    with pytest.raises(ProbeError, match=r"\[C, H, W\] with 1 or 3 channels, got \[4, 2, 2\]"):
        read_probes([(torch.zeros(4, 2, 2), 0)], size=1, seed=0)
    with pytest.raises(ProbeError, match="`normalization` to be of 3 channels"):
        read_probes(
            [(torch.zeros(3, 2, 2), 0)],
            size=1,
            seed=0,
            normalization=Normalization(mean=(0.5, 0.5), std=(0.5, 0.5)),
        )


def test_a_sample_of_ones_own_shape_is_unpacked_by_a_function() -> None:
    """`unpack` takes the place of the common shapes."""
    (probe,) = read_probes(
        [{"x": (torch.ones(3, 2, 2),), "y": {"class": 7}}],
        size=1,
        seed=0,
        unpack=lambda sample: Item(image=sample["x"][0], target=sample["y"]["class"]),
    ).probes
    assert int(probe.target) == 7

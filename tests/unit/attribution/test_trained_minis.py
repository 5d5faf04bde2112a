"""At the layer that is found, trained networks' maps peak where the class stands."""

from __future__ import annotations

import pytest
import torch

from lightning_vlmxai.attribution import attribute, locate
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification
from minis import draw, hit_rate, train


@pytest.mark.parametrize("name", [pytest.param("vit_gap", marks=pytest.mark.slow), "cnn"])
def test_peaks_lie_in_the_right_cell(name: str) -> None:
    """Half of the peaks at least, where one in 24 is chance; at the last norm fewer."""
    model = train(name, seed=0, steps=300)
    images, classes, cells = draw(64, seed=77)
    with torch.no_grad():
        assert (model(images).argmax(dim=1) == classes).float().mean() > 0.9
    rates = {}
    with borrowed(model):
        for given in [None, *(["blocks.2.norm2"] if name == "vit_gap" else [])]:
            found = locate(model, images, given)
            subject = found.subject(model, images, Classification())
            rates[given] = hit_rate(attribute(subject).raw, cells)
    best = rates.pop(None)
    assert best >= 0.5
    assert all(rate < best - 0.2 for rate in rates.values())

"""A small part of `benchmarks/zoo.py`: networks of many kinds, pictures that aren't square."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from lightning_vlmxai.attribution import Place, Target, attribute, locate
from lightning_vlmxai.attribution.hooks import changed
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification

LAYERS = {
    "densenet121": "features.norm5.relu()",
    "mobilenet_v3_small": "features.12",
    "mnasnet0_5": "layers.16",
    "regnet_x_400mf": "trunk_output.block4",
    "shufflenet_v2_x0_5": "conv5.2",
    "squeezenet1_1": "classifier.2",
    "vgg11": "features.20",
}
IMAGES = torch.randn(1, 3, 160, 224, generator=torch.Generator().manual_seed(3))


def _corners(model: nn.Module, found: Target) -> int:
    """Return at how many of four corners noise moves the map most in that quarter."""
    assert found.layout is not None
    read = found.layout.to_map
    seen: list[Tensor] = []

    def note(features: Tensor) -> None:
        seen.append(read(features).clone())

    place = found.place or Place(name=found.name)
    hits = 0
    with torch.no_grad(), changed(found.layer, note, place):
        model(IMAGES)
        for down in (0, 1):
            for right in (0, 1):
                noisy = IMAGES.clone()
                noisy[..., down * 120 :, right * 168 :][..., :40, :56] *= 4
                model(noisy)
                moved = (seen[-1] - seen[0]).abs().sum(dim=1)[0]
                row, column = divmod(int(moved.argmax()), moved.shape[1])
                hits += (2 * row + 1 > moved.shape[0]) == bool(down) and (
                    2 * column + 1 > moved.shape[1]
                ) == bool(right)
    return hits


@pytest.mark.parametrize("name", list(LAYERS))
def test_the_map_lies_where_the_picture_does(name: str) -> None:
    """The layer is found, its map varies, and a change in a corner moves that corner of it."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    with borrowed(model):
        found = locate(model, IMAGES)
        subject = found.subject(model, IMAGES, Classification())
        raw = attribute(subject, "hirescam").raw
    assert found.name == LAYERS[name]
    assert raw.isfinite().all()
    assert not found.doubt
    if min(raw.shape[1:]) >= 4:
        assert _corners(model, found) == 4

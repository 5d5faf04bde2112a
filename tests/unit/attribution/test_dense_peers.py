"""Decoders of other libraries, where these are installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_vlmxai.attribution import locate
from lightning_vlmxai.explain.live import borrowed


def test_upernet_is_explained_at_its_encoder_not_at_its_pyramid() -> None:
    """Of segmentation_models_pytorch; the pyramid's pooled maps of 1 to 6 cells a side are none."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    net = smp.create_model("upernet", "resnet18", encoder_weights=None, classes=5).eval()
    with borrowed(net):
        found = locate(net, torch.randn(1, 3, 96, 128))
    assert found.layout is not None
    assert (found.name, found.layout.grid) == ("encoder.layer4", (3, 4))


class _Logits(nn.Module):
    """The logits of a model that gives them by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        return self.model(images).logits


def test_upernet_of_transformers_is_explained_at_its_backbone() -> None:
    """The last of the maps that the backbone hands on, not a pooled one."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=16, num_labels=5, auxiliary_in_channels=16
    )
    net = _Logits(transformers.UperNetForSemanticSegmentation(config)).eval()
    with borrowed(net):
        found = locate(net, torch.randn(1, 3, 128, 192))
    assert found.layout is not None
    assert found.name.startswith("model.backbone.")
    assert found.layout.grid == (4, 6)

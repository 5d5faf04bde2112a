"""The automatic target layer on ten architectures, as a table of known good layers has it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
import torchvision
from torch import Tensor, nn

from lightning_vlmxai.attribution import (
    Subject,
    attribute,
    find_target_layer,
    normalize_saliency,
    resolve_target_layer,
)
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification, Segmentation, Task

Pick = Callable[[nn.Module], nn.Module]

# Side of the picture, the layer to be found, whether the output is dense.
TABLE: dict[str, tuple[int, Pick, bool]] = {
    "resnet18": (64, lambda m: m.layer4[-1], False),
    "convnext_tiny": (64, lambda m: m.features[-1][-1], False),
    "maxvit_t": (224, lambda m: m.blocks[-1].layers[-1], False),
    "efficientnet_b1": (64, lambda m: m.features[-1], False),
    "vit_b_16": (64, lambda m: m.encoder.layers[-1].ln_1, False),
    "swin_t": (64, lambda m: m.features[-1][-1], False),
    "deeplabv3_resnet50": (65, lambda m: m.backbone.layer4, True),
    "deeplabv3_resnet101": (65, lambda m: m.backbone.layer4, True),
    "fcn_resnet50": (65, lambda m: m.backbone.layer4, True),
    "lraspp_mobilenet_v3_large": (65, lambda m: m.backbone["16"], True),
}


def _build(name: str) -> tuple[nn.Module, Tensor, Task]:
    torch.manual_seed(0)
    side, _, is_dense = TABLE[name]
    options = {"weights_backbone": None} if is_dense else {}
    if name == "vit_b_16":
        options = {"image_size": side}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    if name == "vit_b_16":
        nn.init.normal_(model.heads.head.weight)  # fresh, it is zero and so is every gradient
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    return model, images, Segmentation() if is_dense else Classification()


def _check(
    module: nn.Module,
    images: Tensor,
    task: Task,
    wanted: nn.Module,
    context: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    with borrowed(module), context():
        name = find_target_layer(module, images[:1])
        layer = resolve_target_layer(module, name)
        assert layer is wanted, name
        found = attribute(Subject(module=module, layer=layer, inputs=images, task=task))
        maps = normalize_saliency(found.raw, size=(images.shape[-2], images.shape[-1]))
    assert found.raw.isfinite().all()
    assert (maps.amin(dim=(1, 2)) == 0).all()
    assert (maps.amax(dim=(1, 2)) == 1).all()


SLOW = (
    "deeplabv3_resnet101", "deeplabv3_resnet50", "efficientnet_b1", "fcn_resnet50", "maxvit_t",
    "swin_t", "vit_b_16",
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in TABLE],
)
def test_layer_is_the_table_s_in_every_condition(name: str) -> None:
    """The layer is the table's and its maps vary: plain, bf16, frozen, compiled, channels last."""
    model, images, task = _build(name)
    wanted = TABLE[name][1](model)
    _check(model, images, task, wanted)
    _check(model, images, task, wanted, lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    model.requires_grad_(False)
    _check(model, images, task, wanted)
    _check(torch.compile(model), images, task, wanted)
    model.to(memory_format=torch.channels_last)
    _check(model, images.to(memory_format=torch.channels_last), task, wanted)


def test_layer_of_a_fresh_vit_is_found() -> None:
    """A head that is still zero hides every gradient, but not where the patches matter."""
    model = torchvision.models.vit_b_16(image_size=32).eval()
    assert not model.heads.head.weight.any()
    with borrowed(model):
        name = find_target_layer(model, torch.randn(1, 3, 32, 32))
    assert name == "encoder.layers.encoder_layer_11.ln_1"

"""The final maps against pytorch-grad-cam's, its largest deviation being 1e-4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from pytorch_grad_cam import (
    AblationCAM,
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
    XGradCAM,
)
from pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
    SemanticSegmentationTarget,
)
from torch import Tensor, nn

import real_data
from lightning_vlmxai.attribution import (
    Perturbation,
    Subject,
    attribute,
    find_target_layer,
    fold,
    normalize_saliency,
    resolve_target_layer,
)
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification, Segmentation, Task, WithTarget, logits_of

needs_data = pytest.mark.skipif(bool(real_data.MISSING), reason=real_data.MISSING)


class _SignedEigenCAM(EigenCAM):  # type: ignore[misc]
    """The peer's EigenCAM with our sign, which it leaves to LAPACK."""

    def get_cam_image(self, *args: Any, **kwargs: Any) -> Any:
        projections = super().get_cam_image(*args, **kwargs)
        low, high = projections.min(axis=(1, 2)), projections.max(axis=(1, 2))
        return projections * np.where(-low > high, -1, 1)[:, None, None]


GRADIENT_PEERS = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "xgradcam": XGradCAM,
    "hirescam": HiResCAM,
    "layercam": LayerCAM,
    "eigencam": _SignedEigenCAM,
}


class _LogitsOnly(nn.Module):
    """The peer wants a bare tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.model(images))


def _our_map(
    model: nn.Module, layer: nn.Module, images: Tensor, method: str, task: Task | None = None
) -> Tensor:
    subject = Subject(module=model, layer=layer, inputs=images, task=task or Classification())
    with borrowed(model):
        found = attribute(subject, method, perturbation=Perturbation(batch_size=32))
    assert len(found.raw) == len(images)
    return normalize_saliency(found.raw, size=(images.shape[-2], images.shape[-1]))


def _peer_map(
    peer: type, model: nn.Module, layer: nn.Module, images: Tensor, targets: list[Any] | None = None
) -> Tensor:
    def reshape(features: Tensor) -> Tensor:
        return fold(features, picture_size=(images.shape[-2], images.shape[-1]))

    with peer(model=_LogitsOnly(model), target_layers=[layer], reshape_transform=reshape) as cam:
        return torch.from_numpy(cam(input_tensor=images.clone(), targets=targets))


def _assert_same(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    assert (found.amax(dim=(1, 2)) == 1).all(), "a blank map proves nothing"
    assert expected.std(dim=(1, 2)).amin() > 0.01, "a constant map proves nothing"
    assert float((found - expected).abs().amax()) <= tolerance


def _architecture(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    sizes = {"resnet18": 96, "convnext_tiny": 64, "vit_b_16": 64}
    options = {"image_size": 64} if name == "vit_b_16" else {}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    # Logits of some size: fresh heads give nearly none (zero for ViT), and the peer adds 1e-7.
    nn.init.normal_(head.weight, std=3.0)
    for module in model.modules():
        if hasattr(module, "layer_scale"):
            # Fresh blocks do next to nothing.
            nn.init.normal_(module.layer_scale)
    side = sizes[name]
    return model, torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "vit_b_16"])
def test_gradient_methods_equal_the_peer(name: str) -> None:
    """On a residual, a convolutional and a transformer network all maps are the peer's."""
    model, images = _architecture(name)
    with borrowed(model):
        layer = resolve_target_layer(model, find_target_layer(model, images[:1]))
    for method, peer in GRADIENT_PEERS.items():
        if name == "vit_b_16" and method in ("gradcam++", "xgradcam"):
            continue  # see the next test
        _assert_same(_our_map(model, layer, images, method), _peer_map(peer, model, layer, images))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("method", ["gradcam++", "xgradcam"])
def test_quotients_equal_the_peer_on_tokens(method: str, seed: int) -> None:
    """Where a channel's sum may vanish, our maps are those of the peer's formula in float64.

    Normalised tokens sum up to nearly 0 and both formulas divide by that, so rounding grows: in
    float32 the peer is itself up to 1e-3 away from its formula. Our quotients are float64.
    """
    model, _ = _architecture("vit_b_16")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    layer = resolve_target_layer(model, "encoder.layers.encoder_layer_11.ln_1")
    subject = Subject(module=model, layer=layer, inputs=images, task=Classification())
    with borrowed(model):
        captured, _ = subject.capture()
    assert captured.gradients is not None
    peer = GRADIENT_PEERS[method](model=model, target_layers=[layer])
    exact = [tensor.double().numpy() for tensor in (captured.activations, captured.gradients)]
    raw = torch.from_numpy(peer.get_cam_image(images, layer, None, *exact)).relu()
    expected = normalize_saliency(raw, size=(64, 64))
    found = _our_map(model, layer, images, method)
    seen = expected.amax(dim=(1, 2)) > 0  # with torch 2.6 one map has no cell above 0
    assert torch.equal(found[~seen], expected[~seen])
    _assert_same(found[seen], expected[seen])


@pytest.mark.parametrize(
    ("name", "layer_name"),
    [
        ("resnet18", "layer1.1"),
        ("convnext_tiny", "features.1.2"),
        pytest.param("vit_b_16", "encoder.layers.encoder_layer_11.ln_1", marks=pytest.mark.slow),
    ],
)
def test_scorecam_equals_the_peer(name: str, layer_name: str) -> None:
    """Score-CAM over all channels gives the peer's maps."""
    model, images = _architecture(name)
    layer = resolve_target_layer(model, layer_name)
    _assert_same(
        _our_map(model, layer, images[:1], "scorecam"),
        _peer_map(ScoreCAM, model, layer, images[:1]),
    )


def test_ablationcam_equals_the_peer_behind_a_relu() -> None:
    """Where activations can't be negative the peer sets channels to zero as the paper does."""
    model, images = _architecture("resnet18")
    layer = resolve_target_layer(model, "layer1.1")
    expected = _peer_map(AblationCAM, model, layer, images)
    _assert_same(_our_map(model, layer, images, "ablationcam"), expected)


def test_targets_of_the_peer_are_targets_here() -> None:
    """A softmax target of pytorch-grad-cam gives the same map here as there."""
    model, images = _architecture("resnet18")
    with torch.no_grad():
        model.fc.weight.mul_(0.02)  # a softmax that isn't saturated
    layer = resolve_target_layer(model, "layer4.1")
    task = WithTarget(task=Classification(), target=ClassifierOutputSoftmaxTarget)
    with torch.no_grad():
        classes = model(images).argmax(dim=1).tolist()
    targets = [ClassifierOutputSoftmaxTarget(k) for k in classes]
    found = _our_map(model, layer, images, "gradcam++", task)
    _assert_same(found, _peer_map(GradCAMPlusPlus, model, layer, images, targets))
    plain = _our_map(model, layer, images, "gradcam++")
    assert not torch.allclose(found, plain, atol=1e-3)


@needs_data
@pytest.mark.parametrize(
    ("load", "layer_name"),
    [
        pytest.param(real_data.trained_mobilenet, "features.18", marks=pytest.mark.slow),
        (real_data.trained_squeezenet, "features.12"),
    ],
    ids=["MobileNetV2", "SqueezeNet"],
)
def test_photos_equal_the_peer(load: Callable[[], nn.Module], layer_name: str) -> None:
    """On trained networks and photos all gradient maps are the peer's."""
    model = load()
    images, labels = real_data.imagenet_photos(6)
    with torch.no_grad():
        hits = (model(images).argmax(dim=1) == torch.tensor(labels)).sum()
    assert hits >= 3, "the weights or their preprocessing are wrong"
    layer = resolve_target_layer(model, layer_name)
    for method, peer in GRADIENT_PEERS.items():
        _assert_same(_our_map(model, layer, images, method), _peer_map(peer, model, layer, images))


@pytest.mark.slow
@needs_data
def test_perturbations_of_photos_equal_the_peer() -> None:
    """On the trained SqueezeNet Score-CAM and Ablation-CAM are the peer's."""
    model = real_data.trained_squeezenet()
    images, _ = real_data.imagenet_photos(1, side=160)
    layer = resolve_target_layer(model, "features.12")
    for method, peer in (("scorecam", ScoreCAM), ("ablationcam", AblationCAM)):
        _assert_same(_our_map(model, layer, images, method), _peer_map(peer, model, layer, images))


@needs_data
@pytest.mark.slow
def test_segmented_photos_equal_the_peer() -> None:
    """On the trained DeepLab the map of the largest object is the peer's for its mask."""
    model = real_data.trained_deeplab()
    images = real_data.coco_photos(6, side=257)
    with torch.no_grad():
        prediction = Segmentation().predict(model(images))
    has_object = prediction.classes != 0
    assert has_object.sum() >= 3, "the weights or their preprocessing are wrong"
    images, prediction = images[has_object][:3], prediction.rows(has_object.nonzero()[:3, 0])
    assert prediction.class_maps is not None
    targets = [
        SemanticSegmentationTarget(k, np.float32(class_map.numpy() == k))
        for k, class_map in zip(prediction.classes.tolist(), prediction.class_maps, strict=True)
    ]
    with borrowed(model):
        name = find_target_layer(model, images[:1])
    assert name == "backbone.17"
    layer = resolve_target_layer(model, name)
    for method, peer in GRADIENT_PEERS.items():
        _assert_same(
            _our_map(model, layer, images, method, Segmentation()),
            _peer_map(peer, model, layer, images, targets),
        )


def test_a_wrong_class_would_be_seen() -> None:
    """The maps of another class differ by far more than the tolerance."""
    model, images = _architecture("resnet18")
    layer = resolve_target_layer(model, "layer4.1")
    other = [ClassifierOutputTarget(7) for _ in images]
    found = _our_map(model, layer, images, "gradcam")
    assert (found - _peer_map(GradCAM, model, layer, images, other)).abs().amax() > 0.1

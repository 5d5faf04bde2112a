from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_vlmxai.attribution import (
    METHODS,
    OF_ATTENTION,
    Perturbation,
    Subject,
    attribute,
    capture,
    find_target_layer,
    fold,
    resolve_target_layer,
)
from lightning_vlmxai.errors import AttributionError, ConfigurationError
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import BinaryClassification, Classification


class _Net(nn.Module):
    """Convolution, in-place ReLU, pooling, linear."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(inplace=True))
        self.unused = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(5, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.block(self.stem(images)).mean(dim=(2, 3)))


IMAGES = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(1))


def _subject(module: nn.Module, layer: nn.Module, **kwargs: Any) -> Subject:
    return Subject(module=module, layer=layer, inputs=IMAGES, task=Classification(), **kwargs)


def test_gradients_equal_those_of_a_whole_backward() -> None:
    """The leaf's gradient is that of an ordinary backward through everything."""
    net = _Net().eval()
    with borrowed(net):
        captured, _ = _subject(net, net.block[0]).capture()
    features = net.block[0](net.stem(IMAGES))
    features.retain_grad()
    net.head(features.relu().mean(dim=(2, 3))).amax(dim=1).sum().backward()
    assert captured.gradients is not None
    torch.testing.assert_close(captured.gradients, features.grad)
    torch.testing.assert_close(captured.activations, features.detach())


def test_in_place_operations_behind_the_layer_do_not_reach_what_was_seen() -> None:
    """The activations are those before the ReLU that overwrites them, with gradients or without."""
    net = _Net().eval()
    for gradients in (True, False):
        with borrowed(net):
            captured, _ = _subject(net, net.block[0]).capture(gradients=gradients)
        assert (captured.activations < 0).any()


def test_nothing_is_recorded_before_the_layer() -> None:
    """What the layer is given has no graph, what comes behind it has one."""
    net = _Net().eval()
    seen: dict[str, bool] = {}
    net.block.register_forward_pre_hook(lambda _m, args: seen.update(before=args[0].requires_grad))
    net.head.register_forward_pre_hook(lambda _m, args: seen.update(behind=args[0].requires_grad))
    with borrowed(net):
        _subject(net, net.block).capture()
    assert seen == {"before": False, "behind": True}


def test_methods_without_gradients_record_nothing() -> None:
    """EigenCAM and CAM need no graph at all."""
    net = _Net().eval()
    seen: list[bool] = []
    net.head.register_forward_pre_hook(lambda _m, args: seen.append(args[0].requires_grad))
    with borrowed(net):
        for method in ("eigencam", "cam"):
            attribute(_subject(net, net.block), method)
    assert seen == [False, False]


@pytest.mark.parametrize(
    "method", [*sorted({*METHODS} - OF_ATTENTION), "pytorch_grad_cam.GradCAMPlusPlus"]
)
def test_every_method_leaves_the_model_as_it_was(method: str) -> None:
    """Parameters, `.grad`, `requires_grad`, flags and hooks are the same after each method."""
    net = _Net()
    net.stem.weight.requires_grad_(False)
    for p in net.head.parameters():
        p.grad = torch.full_like(p, 0.25)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    with borrowed(net):
        found = attribute(_subject(net, net.block), method, perturbation=Perturbation(masks=8))
    assert found.raw.isfinite().all()
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert all((p.grad == 0.25).all() for p in net.head.parameters())
    assert all(p.grad is None for p in net.block.parameters())
    assert [p.requires_grad for p in net.stem.parameters()] == [False, True]
    assert all(m.training and not m._forward_hooks for m in net.modules())
    assert not any(m._forward_pre_hooks or m._backward_hooks for m in net.modules())


def test_grad_mode_and_hooks_survive_an_error() -> None:
    """A model that fails behind the layer leaves no hook and no grad mode behind."""
    net = _Net().eval()

    def fail(_module: nn.Module, _args: Any) -> None:
        raise RuntimeError("out of luck")

    handle = net.head.register_forward_pre_hook(fail)
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="out of luck"):
            _subject(net, net.block).capture()
        assert not torch.is_grad_enabled()
    handle.remove()
    assert not net.block._forward_hooks


def test_a_tuple_is_cut_at_its_first_tensor() -> None:
    """A layer that returns (features, more) is explained at the features; the rest goes on."""

    class _Pair(nn.Module):
        def forward(self, features: Tensor) -> tuple[Tensor, str]:
            return features * 2, "more"

    class _Wrapper(_Net):
        def __init__(self) -> None:
            super().__init__()
            self.pair = _Pair()

        def forward(self, images: Tensor) -> Tensor:
            features, more = self.pair(self.block(self.stem(images)))
            assert more == "more"
            return self.head(features.mean(dim=(2, 3)))

    net = _Wrapper().eval()
    with borrowed(net):
        captured, _ = _subject(net, net.pair).capture()
    assert captured.activations.shape == (2, 5, 6, 8)


CANDIDATES = r"Name one of: stem \[1, 4, 6, 8\], block\.0 \[1, 5, 6, 8\]"


def test_a_layer_that_never_runs_is_refused_with_candidates() -> None:
    """The message lists the layers that run, with their shapes."""
    net = _Net().eval()
    with pytest.raises(AttributionError, match=rf"got one that never ran\. {CANDIDATES}"):
        _subject(net, net.unused).capture()


def test_a_layer_without_a_grid_is_refused_with_candidates() -> None:
    """A vector is no feature map."""
    net = _Net().eval()
    with pytest.raises(AttributionError, match=rf"got a tensor \[2, 3\]\. {CANDIDATES}"):
        _subject(net, net.head).capture()


def test_a_layer_without_influence_is_refused_with_candidates() -> None:
    """A branch that the logits don't depend on can't be explained."""

    class _Idle(_Net):
        def forward(self, images: Tensor) -> Tensor:
            self.unused(images)
            return super().forward(images)

    net = _Idle().eval()
    with pytest.raises(
        AttributionError, match=r"one without influence on it\. Name one of: stem \[1, 4, 6, 8\], "
    ):
        capture(net, net.unused, IMAGES, lambda output: output.amax(dim=1))


def test_an_unknown_name_is_refused_with_candidates() -> None:
    """A misspelt layer is answered with names and shapes, or names alone without a picture."""
    net = _Net().eval()
    with pytest.raises(AttributionError, match=rf"no script, got 'blok'\. {CANDIDATES}"):
        resolve_target_layer(net, "blok", IMAGES[:1])
    with pytest.raises(AttributionError, match=r"Name one of: block, block\.0, block\.1\."):
        resolve_target_layer(net, "block.7")


def test_a_model_without_grids_is_refused() -> None:
    """A model of linear layers has nowhere to look."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 8, 3))
    with pytest.raises(AttributionError, match="found automatically"), borrowed(net):
        find_target_layer(net, IMAGES[:1])


def test_the_last_of_several_layers_on_one_tensor_is_found() -> None:
    """An in-place ReLU returns its convolution's tensor, and is what comes out."""
    net = _Net().eval()
    with borrowed(net):
        assert find_target_layer(net, IMAGES[:1]) == "block.1"


def test_compiled_names_are_the_model_s_own() -> None:
    """`torch.compile`'s wrapper has no part in a layer's name."""
    net = _Net().eval()
    compiled = torch.compile(net)
    with borrowed(compiled):
        assert find_target_layer(compiled, IMAGES[:1]) == "block.1"
    assert resolve_target_layer(compiled, "block") is net.block
    assert resolve_target_layer(compiled, "_orig_mod.block") is net.block


@pytest.mark.parametrize("bottleneck", [True, False])
def test_dense_models_without_a_backbone_use_their_coarsest_map(bottleneck: bool) -> None:
    """A U-shaped net is explained at its bottleneck, a flat one before its output."""
    stride = 2 if bottleneck else 1
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(4, 6, 3, stride=stride, padding=1),
        nn.Upsample(size=(6, 8)),
        nn.Conv2d(6, 5, 1),
        nn.Conv2d(5, 3, 1),
    ).eval()
    with borrowed(net):
        assert find_target_layer(net, IMAGES[:1]) == ("1" if bottleneck else "3")


def test_a_grid_is_read_in_three_layouts() -> None:
    """Channels first, channels last and tokens behind a class token give the same map."""
    first = torch.randn(2, 16, 3, 4, generator=torch.Generator().manual_seed(0))
    size = (48, 64)
    last = first.permute(0, 2, 3, 1)
    tokens = torch.cat([torch.zeros(2, 1, 16), last.reshape(2, 12, 16)], dim=1)
    for layout in (first, last, tokens):
        assert torch.equal(fold(layout, picture_size=size), first)


def test_a_shape_that_is_no_grid_is_refused() -> None:
    """A vector is none, nor is a single token."""
    with pytest.raises(AttributionError, match=r"a tensor \[2, 3\] for pictures of \[8, 8\]"):
        fold(torch.zeros(2, 3), picture_size=(8, 8))
    with pytest.raises(AttributionError, match="or `reshape_transform`"):
        fold(torch.zeros(2, 1, 3), picture_size=(64, 32))


def test_reshape_transform_replaces_the_reading() -> None:
    """Activations and gradients are what the transform makes of them; no map is refused."""
    net = _Net().eval()
    with borrowed(net):
        plain, _ = _subject(net, net.block).capture()
        turned, _ = _subject(net, net.block, reshape=lambda t: t.transpose(2, 3)).capture()
    assert plain.gradients is not None
    assert turned.gradients is not None
    assert torch.equal(turned.activations, plain.activations.transpose(2, 3))
    assert torch.equal(turned.gradients, plain.gradients.transpose(2, 3))
    with pytest.raises(AttributionError, match=r"got \[2, 240\] from \[2, 5, 6, 8\]"):
        _subject(net, net.block, reshape=lambda t: t.flatten(1)).capture()


def test_cam_equals_gradcam_behind_pooling() -> None:
    """Where CAM applies it is Grad-CAM times the number of positions."""
    net = _Net().eval()
    with borrowed(net):
        found = attribute(_subject(net, net.block), "cam")
        other = attribute(_subject(net, net.block), "gradcam")
    torch.testing.assert_close(found.raw, 48 * other.raw)


def test_cam_of_a_single_logit_takes_the_sign_of_the_class() -> None:
    """For class 0 the weights count backwards."""
    net = _Net(classes=1).eval()
    for bias in (-50.0, 50.0):
        with torch.no_grad():
            net.head.bias.fill_(bias)
        subject = Subject(module=net, layer=net.block, inputs=IMAGES, task=BinaryClassification())
        with borrowed(net):
            found, other = attribute(subject, "cam"), attribute(subject, "gradcam")
        assert found.raw.any()
        torch.testing.assert_close(found.raw, 48 * other.raw)


def test_cam_is_refused_without_pooling() -> None:
    """The message says what CAM needs and what to take instead."""
    net = _Net().eval()
    with (
        pytest.raises(AttributionError, match=r'global average pooling.*method="auto"'),
        borrowed(net),
    ):
        attribute(_subject(net, net.stem), "cam")


def test_top_channels_of_all_is_all() -> None:
    """A bound that bounds nothing changes nothing, a bound of one keeps one channel's shape."""
    net = _Net().eval()
    with borrowed(net):
        for method in ("scorecam", "ablationcam"):
            every = attribute(_subject(net, net.block), method)
            same = attribute(
                _subject(net, net.block), method, perturbation=Perturbation(top_channels=99)
            )
            torch.testing.assert_close(every.raw, same.raw)
        one = attribute(
            _subject(net, net.block), "scorecam", perturbation=Perturbation(top_channels=1)
        )
        captured, _ = _subject(net, net.block).capture(gradients=False)
    spread = captured.activations.flatten(2).std(dim=2).argmax(dim=1)
    torch.testing.assert_close(one.raw, captured.activations[torch.arange(2), spread])


def test_scorecam_asks_once_about_constant_channels() -> None:
    """Dead channels share one forward and the same weight."""
    net = _Net().eval()
    with torch.no_grad():
        net.block[0].weight[:3] = 0.0
        net.block[0].bias[:3] = -1.0
    seen: list[int] = []
    net.stem.register_forward_pre_hook(lambda _m, args: seen.append(len(args[0])))
    with borrowed(net):
        found = attribute(_subject(net, net.block), "scorecam")
    # 2 whole pictures, then for each of the 2: 2 live channels and 1 for the 3 dead ones.
    assert seen == [2, 6]
    for image, raw in zip(IMAGES, found.raw, strict=True):
        with torch.no_grad():
            features = net.block(net.stem(image[None]))[0]
            c = int(net(image[None]).argmax())
            scores = []
            for channel in features:
                up = torch.nn.functional.interpolate(
                    channel[None, None], size=(6, 8), mode="bilinear", align_corners=True
                )[0, 0]
                mask = (up - up.min()) / (up.max() - up.min()).clamp(min=1e-8)
                scores.append(net((image * mask)[None])[0, c])
        weights = torch.stack(scores).softmax(dim=0)
        torch.testing.assert_close(raw, (weights[:, None, None] * features).sum(dim=0))


def test_long_runs_tell_how_far_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """From a hundred forwards on each tenth is logged."""
    net = _Net().eval()
    with caplog.at_level("INFO"), borrowed(net):
        options = Perturbation(masks=100, batch_size=2)
        attribute(_subject(net, net.block), "rise", perturbation=options)
    assert caplog.messages[0] == "10 of 100 forwards of perturbed pictures"
    assert len(caplog.messages) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"Expected `batch_size` to be at least 1, got 0\."),
        ({"top_channels": 0}, r"Expected `top_channels` to be at least 1, got 0\."),
        ({"masks": 0}, r"Expected `masks` to be at least 1, got 0\."),
        ({"cells": 0}, r"Expected `cells` to be at least 1, got 0\."),
        ({"keep": 1.0}, r"Expected `keep` to be in \(0, 1\), got 1\.0\."),
    ],
)
def test_perturbation_bounds_are_checked(options: dict[str, Any], message: str) -> None:
    """A bound out of range is refused at once."""
    with pytest.raises(ConfigurationError, match=message):
        Perturbation(**options)

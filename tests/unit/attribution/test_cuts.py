"""Cut gradients, layers that run several times, functions between layers, scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vlmxai.attribution import Perturbation, attribute, locate
from lightning_vlmxai.errors import AttributionError
from lightning_vlmxai.explain.explainer import Explainer
from lightning_vlmxai.explain.live import LiveModel, borrowed
from lightning_vlmxai.tasks import Classification
from samples import make_probe

IMAGES = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


class _Net(nn.Module):
    """Two convolutions and a pooled head; what is done between them is a function of its own."""

    def __init__(self, between: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)
        self.between = between

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.between(self, images).mean(dim=(2, 3)))


def _plain(net: Any, images: Tensor) -> Tensor:
    return F.relu(net.conv(net.stem(images)))


def _no_grad(net: Any, images: Tensor) -> Tensor:
    with torch.no_grad():
        return F.relu(net.conv(net.stem(images)))


def _detached(net: Any, images: Tensor) -> Tensor:
    return net.conv(net.stem(images)).detach() * 1


def _half_detached(net: Any, images: Tensor) -> Tensor:
    return net.conv(net.stem(images).detach())


def _inference(net: Any, images: Tensor) -> Tensor:
    with torch.inference_mode():
        features = net.conv(net.stem(images))
    return features.clone()


CUTS = {"no_grad": _no_grad, "detach": _detached, "inference_mode": _inference}


def _explain(module: nn.Module, method: str, name: str | None = None, at_once: int = 16) -> Tensor:
    with borrowed(module):
        found = locate(module, IMAGES, name)
        subject = found.subject(module, IMAGES, Classification())
        return attribute(
            subject, method, perturbation=Perturbation(batch_size=at_once, masks=8)
        ).raw


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_is_named_and_so_is_what_works(cut: str) -> None:
    """Each method that the message names gives maps, pasted as it is."""
    net = _Net(CUTS[cut]).eval()
    with pytest.raises(AttributionError, match=r'are cut between.*"auto"') as caught:
        _explain(net, "gradcam", "conv")
    named = re.findall(r'"(\w+)"', str(caught.value).split("one of")[-1])
    assert named == ["eigencam", "ablationcam", "scorecam", "rise", "occlusion"]
    for method in named:
        assert _explain(net, method, "conv").isfinite().all()


def test_a_layer_behind_the_cut_is_named() -> None:
    """Where gradients reach a later layer, the message names it, and it works."""
    net = _Net(_half_detached).eval()
    with pytest.raises(AttributionError, match='`target_layer="conv"`, which lies behind the cut'):
        _explain(net, "gradcam", "stem")
    assert _explain(net, "gradcam", "conv").any()


@pytest.mark.filterwarnings("ignore")  # torch means to move it elsewhere
def test_quantised_heads_are_a_cut() -> None:
    """A linear layer of eight bits has no gradient."""
    net = _Net(_plain).eval()
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(AttributionError, match="cut between"):
        _explain(quantised, "gradcam")
    assert _explain(quantised, "ablationcam").any()
    assert _explain(quantised, "eigencam").isfinite().all()


def test_auto_falls_back_in_its_order_and_says_so() -> None:
    """Grad-CAM where it can; where gradients are cut CAM; without any map Occlusion."""
    probe = make_probe(0, IMAGES[0], 1)
    plain = Explainer(method="auto").settle(LiveModel(_Net(_plain)), [probe])
    assert (plain.method, plain.target_layer) == ("gradcam", "conv.relu()")
    with pytest.warns(UserWarning, match=r'method="auto" explains by "cam"\. .*cut between'):
        cut = Explainer(method="auto").settle(LiveModel(_Net(_no_grad)), [probe])
    assert cut.method == "cam"
    flat = nn.Sequential(nn.Flatten(), nn.Linear(IMAGES[0].numel(), 3))
    with pytest.warns(UserWarning, match=r'explains by "occlusion"'):
        assert Explainer(method="auto").settle(LiveModel(flat), [probe]).method == "occlusion"
    with pytest.warns(UserWarning, match=r'explains by "cam"'):
        assert len(Explainer(method="auto")(LiveModel(_Net(_no_grad)), [probe])) == 1


def test_a_function_behind_the_last_layer_counts() -> None:
    """Grad-CAM is CAM's multiple only at what is pooled, the ReLU's result; so for a sum."""

    def summed(net: Any, images: Tensor) -> Tensor:
        stem = net.stem(images)
        return F.relu(stem + net.conv(stem))

    for between, name in ((_plain, "conv.relu()"), (summed, "conv.add().relu()")):
        net = _Net(between).eval()
        with borrowed(net):
            assert locate(net, IMAGES).name == name
        found, other = _explain(net, "gradcam"), _explain(net, "cam")
        assert found.any()
        torch.testing.assert_close(other, 96 * found)
        assert not torch.allclose(_explain(net, "gradcam", "conv"), found)


def test_a_layer_that_is_used_again_counts_where_everything_passes() -> None:
    """Of three runs of one ReLU the last is explained, by name."""

    class _Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 5, 3, 2, 1)
            self.act = nn.ReLU()
            self.head = nn.Linear(5, 3)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.act(self.second(self.act(self.first(images))))
            return self.head(maps.mean(dim=(2, 3)))

    net = _Shared().eval()
    with borrowed(net):
        assert locate(net, IMAGES).name == "act[1]"
    torch.testing.assert_close(_explain(net, "cam"), 24 * _explain(net, "gradcam"))
    with pytest.raises(AttributionError, match=r"whose 2 runs see") as caught:
        _explain(net, "gradcam", "act")
    pasted = re.findall(r'target_layer="([^"]+)"', str(caught.value))
    assert pasted == ["act[0]"]
    assert _explain(net, "gradcam", pasted[0]).isfinite().all()


def _twice(net: Any, images: Tensor) -> Tensor:
    return F.relu(net.conv(net.stem(images))) + F.relu(net.conv(net.stem(images)) * 2)


def _flipped(net: Any, images: Tensor) -> Tensor:
    return net.conv(net.stem(images)) + 2 * net.conv(net.stem(images.flip(3)))


def test_runs_that_see_the_same_are_summed() -> None:
    """The map at a layer that runs twice is that of both runs, not of the last."""
    net = _Net(_twice).eval()
    found = _explain(net, "gradcam", "stem")
    runs = []
    with torch.enable_grad():
        features = [net.stem(IMAGES).detach().requires_grad_() for _ in range(2)]
        parts = [F.relu(net.conv(features[0])), F.relu(net.conv(features[1]) * 2)]
        scores = net.head((parts[0] + parts[1]).mean(dim=(2, 3))).amax(dim=1).sum()
        for leaf, grad in zip(features, torch.autograd.grad(scores, features), strict=True):
            runs.append((grad.mean(dim=(2, 3), keepdim=True) * leaf).sum(dim=1))
    torch.testing.assert_close(found, F.relu(runs[0] + runs[1]).detach())
    ablated = _explain(net, "ablationcam", "stem")
    assert ablated.any()
    second = _explain(net, "ablationcam", "stem[1]")
    assert not torch.allclose(ablated, second)
    torch.testing.assert_close(_explain(net, "ablationcam", "stem[1]", at_once=1), second)


def test_runs_that_see_the_picture_turned_are_refused() -> None:
    """A flipped run is not laid over the other; the message names a run, which works."""
    net = _Net(_flipped).eval()
    with pytest.raises(AttributionError, match=r"2 runs see the picture as it lies.*stem\[0\]"):
        _explain(net, "gradcam", "stem")
    assert _explain(net, "gradcam", "stem[0]").any()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_scripted_parts_are_explained_beside() -> None:
    """A script can't be hooked; what the layer behind it is given can."""

    class _Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
            self.body = torch.jit.script(body)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.head = nn.Linear(4, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.pool(self.body(images)).flatten(1))

    net = _Around().eval()
    with borrowed(net):
        assert locate(net, IMAGES).name == "pool.input()"
    torch.testing.assert_close(_explain(net, "cam"), 96 * _explain(net, "gradcam"))
    assert _explain(net, "ablationcam").any()
    with pytest.raises(AttributionError, match=r"submodule that is no script, got 'body\.0'"):
        _explain(net, "gradcam", "body.0")

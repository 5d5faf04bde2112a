from __future__ import annotations

import gc
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from lightning_vlmxai.errors import AttributionError, ConfigurationError
from lightning_vlmxai.explain import Explainer, LiveModel, make_request
from lightning_vlmxai.records import Probe
from lightning_vlmxai.tasks import BinaryClassification, Segmentation
from samples import make_probe


class _Net(nn.Module):
    """Finds where a picture is bright; class 1 if that is anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([[1.0] * 3, [-1.0] * 3])[:, :, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).relu().mean(dim=(2, 3)).flip(1)


def _probe(index: int, height: int = 8, width: int = 8, target: Any = 1) -> Probe:
    pixels = torch.zeros(3, height, width)
    pixels[:, : height // 2, : width // 2] = 1.0
    return make_probe(index, pixels, target)


def test_the_map_lies_on_what_decided() -> None:
    """The bright quarter is attended, the rest isn't; class and correctness are told."""
    (explanation,) = Explainer(class_names=("dark", "bright"))(LiveModel(_Net()), [_probe(3)])
    assert (explanation.probe_index, explanation.prediction_name) == (3, "bright")
    assert explanation.is_correct
    assert not explanation.is_blank
    assert torch.equal(explanation.mask >= 0.5, _probe(3).pixels[0] == 1)


def test_probes_of_several_sizes_keep_their_order() -> None:
    """Sizes are batched together, not neighbours, and come back as they were given."""
    net = _Net()
    probes = [_probe(i, *size) for i, size in enumerate([(8, 8), (8, 12), (8, 8), (8, 12)])]
    runs: list[int] = []
    net.register_forward_hook(lambda *_: runs.append(1))
    explanations = Explainer()(LiveModel(net), probes)
    assert [e.probe_index for e in explanations] == [0, 1, 2, 3]
    assert [tuple(e.saliency.shape) for e in explanations] == [(8, 8), (8, 12), (8, 8), (8, 12)]
    # For each size one forward to look at the layers, and one to explain; and for the first the
    # end of one, to meet the function behind the last layer.
    assert len(runs) == 5


def test_a_batch_says_what_single_probes_say() -> None:
    """The batch size changes nothing."""
    generator = torch.Generator().manual_seed(0)
    probes = []
    for i in range(5):
        pixels = torch.rand(3, 8, 8, generator=generator)
        probes.append(make_probe(i, pixels))
    whole = Explainer(batch_size=5)(LiveModel(_Net()), probes)
    single = Explainer(batch_size=1)(LiveModel(_Net()), probes)
    for a, b in zip(whole, single, strict=True):
        torch.testing.assert_close(a.saliency, b.saliency)


@pytest.mark.parametrize("value", [0.0, 1.0, torch.nan])
def test_degenerate_maps_are_flagged(value: float) -> None:
    """A dark, a uniform and a broken picture say nothing about where the model looked."""
    pixels = torch.full((3, 8, 8), value)
    probe = make_probe(0, pixels, 1, pixels=pixels.nan_to_num())
    (explanation,) = Explainer()(LiveModel(_Net()), [probe])
    assert explanation.is_blank
    assert not explanation.saliency.any()


def test_a_blank_map_beside_a_good_one_harms_nobody() -> None:
    """Only the degenerate sample of a batch is flagged."""
    dark = make_probe(1, torch.zeros(3, 8, 8))
    good, blank = Explainer()(LiveModel(_Net()), [_probe(0), dark])
    assert (good.is_blank, blank.is_blank) == (False, True)


@pytest.mark.parametrize("wrap", [lambda t: (t,), lambda t: SimpleNamespace(logits=t)])
def test_models_may_wrap_their_logits(wrap: Any) -> None:
    """A tuple and an object with `.logits` are explained as a bare tensor is."""

    class _Wrapped(_Net):
        def forward(self, images: Tensor) -> Any:
            return wrap(super().forward(images))

    (plain,), (wrapped,) = (
        Explainer()(LiveModel(_Net()), [_probe(0)]),
        Explainer()(LiveModel(_Wrapped()), [_probe(0)]),
    )
    assert torch.equal(plain.saliency, wrapped.saliency)


def test_a_single_logit_is_explained_for_its_class() -> None:
    """A binary head with a float label is explained and judged right."""

    class _Binary(_Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images)[:, 1:] - 0.1

    (explanation,) = Explainer(task=BinaryClassification())(
        LiveModel(_Binary()), [_probe(0, target=1.0)]
    )
    assert (explanation.prediction, explanation.is_correct) == (1, True)
    assert torch.equal(explanation.mask >= 0.5, _probe(0).pixels[0] == 1)


def test_segmentation_is_explained_by_its_largest_object() -> None:
    """A dict of dense logits gives the object's class, its correctness and its place."""

    class _Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(3, 4, 1)
            self.head = nn.Conv2d(4, 3, 1)
            with torch.no_grad():
                self.features.weight.fill_(1.0)
                self.features.bias.zero_()
                self.head.weight.copy_(
                    torch.tensor([0.0, 0.0, 1.0])[:, None, None, None].expand(3, 4, 1, 1)
                )
                self.head.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"out": self.head(self.features(images))}

    target = torch.zeros(8, 8, dtype=torch.long)
    target[:4, :4] = 2
    (explanation,) = Explainer(task=Segmentation())(LiveModel(_Dense()), [_probe(0, target=target)])
    assert (explanation.prediction, explanation.label, explanation.is_correct) == (2, 2, True)
    assert torch.equal(explanation.mask >= 0.5, target == 2)


def test_a_detection_model_is_refused() -> None:
    """The message says what isn't supported, before anything is explained."""
    torch.manual_seed(0)
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    )
    pixels = torch.rand(3, 64, 64)
    probe = make_probe(0, pixels)
    with pytest.raises(AttributionError, match="Object detection is not supported"):
        Explainer()(LiveModel(model), [probe])


def test_the_judge_gets_what_it_needs_to_draw() -> None:
    """A request holds picture, mask, saliency map and fill, and the predicted name alone."""
    (explanation,) = Explainer(fill="grey", class_names=("a", "b"))(LiveModel(_Net()), [_probe(0)])
    request = make_request(explanation, round_number=7)
    assert request.pixels is explanation.pixels
    assert request.mask is explanation.mask
    assert request.saliency is explanation.saliency
    assert request.fill == "grey"
    assert request.label_name == explanation.prediction_name
    assert request.round_number == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "gradcamm"}, r"Expected `method` to be one of gradcam"),
        ({"alpha": 0.0}, r"Expected `alpha` to be above 0, got 0\.0\."),
        ({"beta": 2.0}, r"Expected `beta` to be in \[0, 1\], got 2\.0\."),
        ({"fill": "white"}, r"Expected `fill` to be one of black, blur, grey, mean, got 'white'"),
        ({"batch_size": 0}, r"Expected `batch_size` to be at least 1, got 0\."),
    ],
)
def test_options_are_checked_at_once(options: dict[str, Any], message: str) -> None:
    """A wrong option is refused before any model is seen."""
    with pytest.raises(ConfigurationError, match=message):
        Explainer(**options)


def test_class_names_must_fit_the_model() -> None:
    """One name too few is refused."""
    with pytest.raises(ConfigurationError, match=r"2 names, one for each output.*got 1 names"):
        Explainer(class_names=("dark",))(LiveModel(_Net()), [_probe(0)])


@pytest.mark.slow
def test_two_hundred_explanations_leave_nothing_behind() -> None:
    """No hook, no `.grad`, no tensor and no memory stays with the model."""
    net, probes = _Net(), [_probe(0), _probe(1)]

    def hooks() -> int:
        return sum(
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
            for m in net.modules()
        )

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    def explain(times: int) -> None:
        for i in range(times):
            method = ("gradcam", "eigencam", "scorecam", "pytorch_grad_cam.GradCAM")[i % 4]
            Explainer(method=method)(LiveModel(net), probes)

    explain(8)
    alive = tensors()
    tracemalloc.start()
    explain(100)
    gc.collect()
    middle = tracemalloc.get_traced_memory()[0]
    explain(100)
    gc.collect()
    end = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert hooks() == 0
    assert all(p.grad is None for p in net.parameters())
    # Fewer is no leak: what earlier tests of this process left behind may be collected meanwhile.
    assert tensors() <= alive
    # A leak of one kilobyte an explanation would be a hundred.
    assert end - middle < 30_000


def test_an_explanation_holds_its_own_maps_alone() -> None:
    """What is sent to other ranks or kept for a round is one sample's, not its batch's."""
    explanations = Explainer()(LiveModel(_Net()), [_probe(i) for i in range(3)])
    for e in explanations:
        for maps in (e.saliency, e.mask):
            assert maps.untyped_storage().nbytes() == 4 * maps.numel()

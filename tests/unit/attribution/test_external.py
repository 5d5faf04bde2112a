from __future__ import annotations

import pytest
import torch
from pytorch_grad_cam import FEM, EigenGradCAM, FinerCAM, ScoreCAM
from torch import Tensor, nn

from lightning_vlmxai.attribution import Subject, attribute, find_method, normalize_saliency
from lightning_vlmxai.errors import AttributionError, ConfigurationError
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.tasks import Classification, Segmentation, WithTarget

IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 5),
    ).eval()


def _found(net: nn.Module, method: str) -> Tensor:
    subject = Subject(module=net, layer=net[1], inputs=IMAGES, task=Classification())  # type: ignore[index]
    with borrowed(net):
        return normalize_saliency(attribute(subject, method).raw, size=(12, 12))


@pytest.mark.parametrize("guest", [FEM, EigenGradCAM, FinerCAM, ScoreCAM])
def test_a_guest_gives_what_it_gives_alone(guest: type) -> None:
    """Run on a stand-in, a class finds the map that it finds on the model itself."""
    net = _net()
    found = _found(net, f"pytorch_grad_cam.{guest.__name__}")
    expected = torch.from_numpy(guest(net, [net[1]])(IMAGES.clone(), None))
    assert expected.std(dim=(1, 2)).amin() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_guest_explains_the_task_s_score() -> None:
    """A target of your own reaches the guest."""
    net = _net()
    plain = _found(net, "pytorch_grad_cam.HiResCAM")
    other = WithTarget(task=Classification(), target=lambda k: lambda logits: logits[(k + 1) % 5])
    subject = Subject(module=net, layer=net[1], inputs=IMAGES, task=other)
    with borrowed(net):
        guest = attribute(subject, "pytorch_grad_cam.HiResCAM").raw
        native = attribute(subject, "hirescam").raw
    torch.testing.assert_close(guest, normalize_saliency(native, size=(12, 12)), atol=1e-4, rtol=0)
    assert not torch.allclose(guest, plain, atol=1e-2)


def test_a_guest_runs_on_frozen_and_half_precision_models() -> None:
    """What raises on the model itself works on the stand-in."""
    net = _net().requires_grad_(False)
    assert _found(net, "pytorch_grad_cam.GradCAM").amax() == 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert _found(net, "pytorch_grad_cam.GradCAM").amax() == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("FullGrad", "a backward through the whole network"),
        ("ShapleyCAM", "second derivatives"),
        ("GuidedBackpropReLUModel", "replaces the live model's ReLUs"),
        ("AblationCAM", "method='ablationcam' doesn't"),
    ],
)
def test_guests_that_would_harm_are_refused_with_the_reason(name: str, reason: str) -> None:
    """Each is refused by its name."""
    with pytest.raises(ConfigurationError, match=f"pytorch_grad_cam.{name}.*{reason}"):
        find_method(f"pytorch_grad_cam.{name}")


@pytest.mark.parametrize(
    "path",
    [
        "pytorch_grad_cam.NoSuchCAM",
        "pytorch_grad_cam.ActivationsAndGradients",
        "pytorch_grad_cam.base_cam.BaseCAM",
        "pytorch_grad_cam.np",
    ],
)
def test_what_is_no_cam_class_is_refused(path: str) -> None:
    """Only classes of a model and its target layers are guests."""
    with pytest.raises(ConfigurationError, match=r"the path of a CAM class of pytorch-grad-cam"):
        find_method(path)


def test_an_unknown_method_is_refused_with_the_names() -> None:
    """The message lists what there is."""
    with pytest.raises(ConfigurationError, match=r"one of gradcam, gradcam\+\+, .*got 'gradcamm'"):
        find_method("gradcamm")


def test_finercam_needs_classes() -> None:
    """It compares classes; other tasks are refused by name."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1)).eval()
    subject = Subject(module=net, layer=net[0], inputs=IMAGES, task=Segmentation())
    with pytest.raises(AttributionError, match="got Segmentation"), borrowed(net):
        attribute(subject, "pytorch_grad_cam.FinerCAM")

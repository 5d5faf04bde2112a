"""What an error says should be passed is passed, and works."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from traceback import walk_stack, walk_tb
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_vlmxai import VLMExplainCallback, attribution
from lightning_vlmxai.attribution import Perturbation, capture, fold
from lightning_vlmxai.errors import AttributionError, ConfigurationError
from lightning_vlmxai.explain.explainer import Explainer
from lightning_vlmxai.explain.live import LiveModel
from lightning_vlmxai.records import Probe
from lightning_vlmxai.tasks import MultiLabelClassification
from minis import MINIS
from samples import make_probe

IMAGE = torch.randn(3, 32, 48, generator=torch.Generator().manual_seed(1))


class _Net(nn.Module):
    """Two convolutions and a pooled head; what is done between them is a function of its own."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.conv = nn.Conv2d(6, 6, 3, 2, 1)
        self.unused = nn.Conv2d(3, 6, 3)
        self.head = nn.Linear(6, 3)
        self.between = between

    def forward(self, images: Tensor) -> Tensor:
        maps = self.between(self, images)
        return self.head(maps.mean(dim=(2, 3)) if maps.ndim == 4 else maps)


def _both(net: Any, images: Tensor) -> Tensor:
    return net.conv(F.relu(net.stem(images)))


def _no_grad(net: Any, images: Tensor) -> Tensor:
    with torch.no_grad():
        return _both(net, images)


def _inference(net: Any, images: Tensor) -> Tensor:
    with torch.inference_mode():
        maps = _both(net, images)
    return maps.clone()


def _reentrant(net: Any, images: Tensor) -> Tensor:
    return checkpoint(lambda given: _both(net, given), images, use_reentrant=True)


def _flipped(net: Any, images: Tensor) -> Tensor:
    return _both(net, images) + _both(net, images.flip(3)).flip(3)


def _two_sizes(net: Any, images: Tensor) -> Tensor:
    small = F.avg_pool2d(images, 2)
    return _both(net, images) + F.interpolate(_both(net, small), (8, 12))


def _quarters(net: Any, images: Tensor) -> list[Tensor]:
    return [part for half in images.chunk(2, dim=2) for part in half.chunk(2, dim=3)]


def _batched(net: Any, images: Tensor) -> Tensor:
    found = _both(net, torch.cat(_quarters(net, images))).mean(dim=(2, 3))
    return found.reshape(4, -1, 6).mean(dim=0)


def _one_by_one(net: Any, images: Tensor) -> Tensor:
    return torch.stack([_both(net, part).mean(dim=(2, 3)) for part in _quarters(net, images)]).mean(
        0
    )


def _by_size_of_batch(net: Any, images: Tensor) -> Tensor:
    maps = F.relu(net.stem(images))
    return net.conv(maps if len(images) == 2 else F.avg_pool2d(maps, 2))


def _not_alone(net: Any, images: Tensor) -> Tensor:
    maps = F.relu(net.stem(images))
    return net.conv(maps) if len(images) == 2 else maps


def _flat(net: Any, images: Tensor) -> Tensor:
    return images.flatten(1)[:, :6] * images.mean(dim=(1, 2, 3))[:, None]


def _latents(net: Any, images: Tensor) -> Tensor:
    tokens = _both(net, images).flatten(2).transpose(1, 2)
    latents = torch.linspace(-1, 1, 96).reshape(1, 16, 6).expand(len(images), -1, -1)
    return net.head[0](F.scaled_dot_product_attention(latents, tokens, tokens)).mean(dim=1)


def _with_latents() -> nn.Module:
    net = _Net(_flat)
    net.head = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    net.forward = lambda images: net.head[1](_latents(net, images))
    return net


def _quantised() -> nn.Module:
    net = _Net(_both)
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)


def _scripted() -> nn.Module:
    net = _Net(lambda net, images: net.body(images))
    net.body = torch.jit.script(nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU()))
    return net


def _greedy() -> nn.Module:
    def between(net: Any, images: Tensor) -> Tensor:
        if len(images) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return _both(net, images)

    return _Net(between)


CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "misspelt": (lambda: _Net(_both), {"target_layer": "konv"}),
    "never run": (lambda: _Net(_both), {"target_layer": "unused"}),
    "no such run": (lambda: _Net(_both), {"target_layer": "conv[3]"}),
    "a vector": (lambda: _Net(_both), {"target_layer": "head"}),
    "no influence": (
        lambda: _Net(lambda net, x: (net.unused(x), _both(net, x))[1]),
        {"target_layer": "unused"},
    ),
    "no_grad": (lambda: _Net(_no_grad), {"target_layer": "conv"}),
    "no_grad, misspelt": (lambda: _Net(_no_grad), {"target_layer": "konv"}),
    "no_grad, found": (lambda: _Net(_no_grad), {}),
    "detach": (lambda: _Net(lambda net, x: _both(net, x).detach()), {"target_layer": "conv"}),
    "half detached": (
        lambda: _Net(lambda net, x: net.conv(net.stem(x).detach())),
        {"target_layer": "stem"},
    ),
    "inference_mode": (lambda: _Net(_inference), {"target_layer": "conv"}),
    "reentrant checkpoint": (lambda: _Net(_reentrant), {"target_layer": "conv"}),
    "quantised": (_quantised, {}),
    "flipped": (lambda: _Net(_flipped), {"target_layer": "conv"}),
    "two sizes": (lambda: _Net(_two_sizes), {"target_layer": "conv"}),
    "two sizes, reshape": (
        lambda: _Net(_two_sizes),
        {"target_layer": "conv", "reshape_transform": lambda features: features},
    ),
    "another grid later": (lambda: _Net(_by_size_of_batch), {"target_layer": "conv"}),
    "another grid later, found": (lambda: _Net(_by_size_of_batch), {}),
    "not run later": (lambda: _Net(_not_alone), {"target_layer": "conv"}),
    "crops batched": (lambda: _Net(_batched), {"target_layer": "conv"}),
    "crops batched, found": (lambda: _Net(_batched), {}),
    "crops one by one": (lambda: _Net(_one_by_one), {"target_layer": "conv"}),
    "no map": (lambda: _Net(_flat), {}),
    "latents": (_with_latents, {"target_layer": "head.0"}),
    "scripted": (_scripted, {"target_layer": "body.0"}),
    "cam": (lambda: _Net(lambda net, x: _both(net, x).amax(dim=(2, 3))), {"method": "cam"}),
    "no_grad, cam": (lambda: _Net(lambda net, x: _no_grad(net, x).exp()), {"method": "cam"}),
    "reshape": (
        lambda: _Net(_both),
        {"target_layer": "conv", "reshape_transform": lambda features: features.flatten(2)},
    ),
    "guest": (
        lambda: _Net(_both),
        {"method": "pytorch_grad_cam.FinerCAM", "task": MultiLabelClassification()},
    ),
    "guest, runs": (
        lambda: _Net(lambda net, x: _both(net, x) + 2 * _both(net, x)),
        {"method": "pytorch_grad_cam.GradCAM", "target_layer": "conv"},
    ),
    "memory": (_greedy, {"method": "rise"}),
}


def _pasted(message: str) -> list[dict[str, Any]]:
    """Return the arguments that a message says should be passed, each by itself."""
    remedy = message.split(". ", 1)[1]
    known = {"Perturbation": Perturbation}
    quoted = re.findall(r"`([^`]*=[^`]*)`", remedy)
    given = [eval(f"dict({text})", known) for text in quoted]  # noqa: S307 - our own words
    listed = remedy.split("Name one of: ")[1:]
    names = re.findall(r"(\S+) \[[\d, ]+\]", listed[0].split(", as `")[0]) if listed else []
    beside = next((paste for paste in given if "target_layer" in paste), {})
    return given + [beside | {"target_layer": name} for name in names]


def _refused(name: str) -> tuple[AttributionError, Explainer, nn.Module, list[Probe]]:
    """Return the error of a case, and what was asked."""
    make, options = CASES[name]
    net = make().eval()
    perturbation = Perturbation(masks=8, cells=3, batch_size=4)
    explainer = Explainer(perturbation=perturbation, **options)
    target = torch.tensor([1, 0, 1]) if "task" in options else 1
    probes = [make_probe(0, IMAGE, target)]
    with pytest.raises(AttributionError) as caught:
        explainer(LiveModel(net), probes)
    return caught.value, explainer, net, probes


@pytest.mark.filterwarnings("ignore")  # torch's own, of scripts, quantisation and checkpoints
@pytest.mark.parametrize("name", CASES)
def test_what_a_message_names_works_when_it_is_pasted(name: str) -> None:
    """Each argument, and each layer of a list, explains the model that could not be explained."""
    error, explainer, net, probes = _refused(name)
    pastes = _pasted(str(error))
    assert pastes, error
    for paste in pastes:
        explained = replace(explainer, **paste)(LiveModel(net), probes)
        assert all(each.saliency.isfinite().all() for each in explained)
        assert paste.keys() <= inspect.signature(VLMExplainCallback).parameters.keys()
        VLMExplainCallback(**paste)


@pytest.mark.filterwarnings("ignore")
def test_every_refusal_of_a_layer_is_among_the_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from the source: all that raises where `target_layer` is refused, reached by a case."""
    reached: set[tuple[str, int]] = set()
    plain = AttributionError.__init__

    def note(error: AttributionError, *words: str) -> None:
        reached.update(
            (frame.f_code.co_filename, line) for frame, line in walk_stack(inspect.currentframe())
        )
        plain(error, *words)

    monkeypatch.setattr(AttributionError, "__init__", note)
    errors: list[BaseException | None] = [_refused(name)[0] for name in CASES]
    net = _Net(_both).eval()
    with pytest.raises(AttributionError) as by_shape:
        fold(torch.zeros(1, 7), picture_size=(32, 48))
    with pytest.raises(AttributionError) as unsearched:
        capture(net, net.head, IMAGE[None], lambda output: output.amax(dim=1))
    for caught in (by_shape, unsearched):
        for paste in _pasted(str(caught.value)):
            Explainer(**paste)(LiveModel(net), [make_probe(0, IMAGE, 1)])
        errors.append(caught.value)
    for error in errors:
        while error is not None:
            raised = walk_tb(error.__traceback__)
            reached.update((frame.f_code.co_filename, line) for frame, line in raised)
            error = error.__context__
    missing = [
        f"{file.name}:{node.lineno}"
        for file in Path(attribution.__file__).parent.glob("*.py")
        if '"target_layer"' in file.read_text()
        for node in _raising(file)
        if not reached & {(str(file), n) for n in range(node.lineno, (node.end_lineno or 0) + 1)}
    ]
    assert not missing


def _raising(file: Path) -> list[ast.expr | ast.stmt]:
    """Return what raises in a file, or makes an error for others to raise."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    raised = [n for n in nodes if isinstance(n, ast.Raise) and n.exc is not None]
    made = [
        n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "AttributionError"
    ]
    assert raised or made
    return [*raised, *made]


def test_layers_whose_patches_say_nothing_are_not_listed() -> None:
    """Behind a class token's last look at the patches no map can be had."""
    with pytest.raises(AttributionError) as caught:
        Explainer(target_layer="konv")(LiveModel(MINIS["vit_cls"]().eval()), [make_probe(0, IMAGE)])
    names = [paste.get("target_layer") for paste in _pasted(str(caught.value))[3:]]
    assert len(names) == 8
    assert names[-2:] == ["blocks.2.norm1", "blocks.2.attn.qkv"]


def test_of_several_runs_one_that_sees_the_picture_as_it_lies_is_named() -> None:
    """Here not the first, which is given it turned."""
    net = _Net(lambda net, x: _both(net, x.flip(3)) + _both(net, x))
    with pytest.raises(AttributionError, match=r'`target_layer="conv\[1\]"`'):
        Explainer(target_layer="conv")(LiveModel(net.eval()), [make_probe(0, IMAGE)])


def test_a_refused_guest_names_a_method() -> None:
    """Where no model is asked yet, too."""
    for method in ("pytorch_grad_cam.AblationCAM", "pytorch_grad_cam.Nothing"):
        with pytest.raises(ConfigurationError) as caught:
            Explainer(method=method)
        for paste in _pasted(str(caught.value)):
            Explainer(**paste)

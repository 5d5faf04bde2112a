"""Faithfulness figures against torchcam, Quantus and literal twins."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_vlmxai import Classification, Segmentation
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.explain import LiveModel
from lightning_vlmxai.tasks import Task
from lightning_vlmxai.trust import FAITHFULNESS, faithfulness


def network(*, dense: bool = False) -> nn.Sequential:
    """Return a network in training, with running means and dropout."""
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5)]
    last = [nn.Conv2d(8, 4, 1)] if dense else [nn.Flatten(), nn.Linear(8 * 28 * 28, 4)]
    return nn.Sequential(*first, *last)


def drawn(count: int = 3, side: int = 28) -> tuple[Tensor, Tensor]:
    """Return pictures, and maps that are blocky, with equal pixels."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, 28, 28, generator=generator)
    return images, torch.rand(count, side, side, generator=generator)


def twin(
    module: nn.Module, image: Tensor, heat: Tensor, task: Task, steps: int, regions: int
) -> dict[str, float]:
    """Every figure of one picture as it is written, pixel by pixel, one forward each."""

    def ask(picture: Tensor) -> float:
        return float(task.confidence(module(picture[None]), prediction))

    prediction = task.predict(module(image[None]))
    whole, (height, width) = ask(image), heat.shape
    places = [(row, column) for row in range(height) for column in range(width)]
    places.sort(key=lambda place: -float(heat[place]))  # stable
    step = -(-len(places) // steps)
    ends = [*range(0, len(places), step), len(places)]
    areas = {}
    for name in ("deletion", "insertion"):
        curve = []
        for end in ends:
            changed = image.clone() if name == "deletion" else torch.zeros_like(image)
            for row, column in places[:end]:
                changed[:, row, column] = 0 if name == "deletion" else image[:, row, column]
            curve.append(ask(changed))
        widths = [(b - a) / len(places) for a, b in pairwise(ends)]
        areas[name] = sum(w * (curve[i] + curve[i + 1]) / 2 for i, w in enumerate(widths))
    masked = ask(image * heat)
    areas["average_drop"] = max(0.0, whole - masked) / whole
    areas["increase"] = float(masked > whole)
    tall, wide = -(-height // regions), -(-width // regions)
    boxes = [(r, c) for r in range(0, height, tall) for c in range(0, width, wide)]
    boxes.sort(key=lambda box: -float(heat[box[0] :, box[1] :][:tall, :wide].double().sum()))
    changed, drops = image.clone(), [0.0]
    for row, column in boxes:
        changed[:, row : row + tall, column : column + wide] = 0
        drops.append(whole - ask(changed))
    areas["aopc"] = sum(drops) / len(drops)
    return areas


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("steps", "regions"), [(20, 7), (9, 5), (1, 1)])
def test_all_figures_are_those_of_a_literal_twin(dense: bool, steps: int, regions: int) -> None:
    """Of a classifier and of a segmentation; regions that do not divide the picture as well."""
    module, task = network(dense=dense), Segmentation() if dense else Classification()
    images, maps = drawn(2)
    maps = (maps * 6).round() / 6
    found = faithfulness(LiveModel(module), images, maps, task, steps=steps, regions=regions)
    assert tuple(found) == FAITHFULNESS
    module.eval()
    with torch.no_grad():
        for row in range(2):
            slow = twin(module, images[row], maps[row], task, steps, regions)
            for name, value in slow.items():
                assert float(found[name][row]) == pytest.approx(value, abs=1e-5), name


class Extractor:
    """What torchcam's metrics ask maps from."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, *_: Any, **__: Any) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> Any:
        return nullcontext()


@pytest.mark.parametrize("side", [28, 7])
def test_four_figures_are_those_of_torchcam(side: int) -> None:
    """Maps of the picture's size and smaller ones."""
    metrics = pytest.importorskip("torchcam.metrics", reason="needs torchcam 0.5")
    module, (images, maps) = network(), drawn(5, side)
    found = faithfulness(LiveModel(module), images, maps, Classification(), steps=13)
    module.eval()
    extractor = Extractor(module, maps)

    def softmax(logits: Tensor) -> Tensor:
        return logits.softmax(dim=-1)

    areas = metrics.DeletionInsertionMetric(extractor, softmax, steps=13)
    drops = metrics.ClassificationMetric(extractor, softmax)
    theirs: dict[str, float] = {}
    for metric in (areas, drops):
        metric.update(images)
        theirs |= metric.summary()
    mine = [float(found[name].mean()) for name in FAITHFULNESS[:4]]
    assert len(theirs) == 4
    # In their order: areas, then drop and increase.
    assert mine == pytest.approx([float(v) for v in theirs.values()], abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_aopc_is_the_mean_of_quantus_region_perturbation() -> None:
    """Whose list lacks the first point, which is 0."""
    quantus = pytest.importorskip("quantus", reason="needs quantus")
    module, (images, maps) = network(), drawn(3)
    found = faithfulness(LiveModel(module), images, maps, Classification(), figures=["aopc"])
    module.eval()
    metric = quantus.RegionPerturbation(
        patch_size=4, regions_evaluation=49, normalise=False, disable_warnings=True
    )
    with torch.no_grad():
        classes = module(images).argmax(dim=1).numpy()
    metric.perturb_func = _to_zero
    lost = metric(
        model=module,
        x_batch=images.numpy(),
        y_batch=classes,
        a_batch=maps[:, None].numpy(),
        device="cpu",
        softmax=True,
    )
    assert np.shape(lost) == (3, 49)
    theirs = np.sum(lost, axis=1) / 50
    assert found["aopc"].numpy() == pytest.approx(theirs, abs=1e-5)


def _to_zero(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
    changed = arr.copy()
    np.put_along_axis(changed, indices, 0.0, axis=1)
    return changed


def test_the_model_is_as_it_was_and_batches_change_nothing() -> None:
    """Running means, modes, gradients and the random state; one picture a forward or many."""
    module, (images, maps) = network(), drawn()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    ways = [
        faithfulness(LiveModel(module), images, maps, Classification(), batch_size=size)
        for size in (1, 7, 500)
    ]
    assert module.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    for name in FAITHFULNESS:
        for way in ways[1:]:
            assert torch.allclose(way[name], ways[0][name], atol=1e-6), name


def test_what_a_map_points_at_is_told_from_what_it_misses() -> None:
    """A model that reads one corner, a map of it, and the opposite one."""

    class Corner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen = images[:, :, :8, :8].mean(dim=(1, 2, 3)) * 8
            return torch.stack([seen, -seen], dim=1)

    far = torch.arange(28.0)
    good = (1.2 - (far[:, None].maximum(far) / 20)).clamp(0, 1)[None]
    maps = torch.cat([good, good.flip(1, 2)])
    found = faithfulness(LiveModel(Corner()), torch.ones(2, 3, 28, 28), maps, Classification())
    for name, sign in [("deletion", -1), ("insertion", 1), ("average_drop", -1), ("aopc", 1)]:
        assert sign * float(found[name][0] - found[name][1]) > 0.2, name


def test_a_constant_map_has_no_order() -> None:
    """So what rests on one is NaN, of this picture alone."""
    images, maps = drawn(2, side=5)
    maps[0] = 0.3
    found = faithfulness(LiveModel(network()), images, maps, Classification())
    for name, values in found.items():
        is_ordered = name in ("deletion", "insertion", "aopc")
        assert values.isnan().tolist() == [is_ordered, False], name


def test_another_baseline_is_what_is_put_in() -> None:
    """With the picture itself as the baseline nothing is lost."""
    module, (images, maps) = network(), drawn()
    found = faithfulness(LiveModel(module), images, maps, Classification(), baseline=images)
    assert torch.allclose(found["aopc"], torch.zeros(3), atol=1e-6)
    assert torch.allclose(found["deletion"], found["insertion"], atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"figures": ["deletoin"]}, "`figures` to be of"),
        ({"figures": "aopc"}, "`figures` to be of"),
        ({"steps": 0}, "`steps` to be at least 1"),
        ({"maps": torch.rand(2, 28, 28)}, r"`maps` to be \[3, h, w\]"),
        ({"maps": torch.full((3, 4, 4), 2.0)}, r"`maps` to be in \[0, 1\]"),
        ({"maps": torch.full((3, 4, 4), torch.nan)}, r"`maps` to be in \[0, 1\], got \[nan"),
    ],
)
def test_what_can_not_be_measured_is_named(changed: dict[str, Any], said: str) -> None:
    """Before the model is asked."""
    images, maps = drawn()
    with pytest.raises(ConfigurationError, match=said):
        faithfulness(
            **{  # type: ignore[arg-type]
                "live": LiveModel(network()),
                "inputs": images,
                "maps": maps,
                "task": Classification(),
                **changed,
            }
        )

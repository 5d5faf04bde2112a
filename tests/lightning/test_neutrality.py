"""Training with the callback is training without it, and the harness would see any difference."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from lightning_vlmxai import Sample, VLMExplainCallback
from lightning_vlmxai.callbacks import shortcutting
from lightning_vlmxai.callbacks.training_pictures import TrainingPictures
from lightning_vlmxai.shortcuts import Box, Likeness, Place, Shortcut, TrainingList, try_cause
from neutral_fit import HAS_AVERAGING, Combination
from neutral_state import find_difference
from neutrality import AXES, compare, describe, make_cover, make_matrix, make_pairwise

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*blank_saliency"),  # hardly trained, maps may be blank
    pytest.mark.filterwarnings("ignore:.*hardly change where"),  # EigenCAM's
    # Of torch's compiler and of Lightning, with the callback and without it.
    pytest.mark.filterwarnings("ignore:.*not a leaf Tensor is being accessed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
    # True where a data set draws from a generator of its own: a resumed run finds it elsewhere.
    pytest.mark.filterwarnings("ignore:.*the probe set differs"),
]

COVER = make_cover()


@pytest.mark.parametrize(
    "combination",
    # The first is compiled.
    [pytest.param(of, id=str(i), marks=[pytest.mark.slow][i:]) for i, of in enumerate(COVER)],
)
def test_not_a_bit_of_a_training_differs(combination: Combination, tmp_path: Path) -> None:
    """With every value of every axis at least once, all states and metrics are equal."""
    if combination.averaging and not HAS_AVERAGING:
        pytest.skip("Lightning averages weights from 2.6 on")
    assert compare(combination, tmp_path).differences == [], describe(combination)


def test_the_matrix_has_every_possible_pair_and_the_cover_every_value() -> None:
    """No axis is left out, and no combination is tried twice."""
    matrix = make_matrix()
    assert len(matrix) == len(set(matrix)) >= 60
    rows = [{axis: getattr(row, axis) for axis in AXES} for row in make_pairwise()]
    together = {(one, row[one], other, row[other]) for row in rows for one in row for other in row}
    everything = {
        (one, a, other, b)
        for one, values in AXES.items()
        for a in values
        for other, others in AXES.items()
        if other != one
        for b in others
    }
    refused = {frozenset(pair) for pair in (("manual", 4), ("manual", "norm"), ("manual", "value"))}
    refused.add(frozenset(("stream", "overfit")))
    assert {frozenset((a, b)) for _, a, _, b in everything - together} == refused
    for axis, values in AXES.items():
        assert {getattr(combination, axis) for combination in COVER} == set(values)


def log_another(trainer: pl.Trainer, module: Any) -> None:
    """Write over a metric of the training."""
    assert trainer.logger is not None
    trainer.logger.log_metrics({"train_loss_step": 0.0}, step=trainer.global_step)


def nudge(trainer: pl.Trainer, module: Any) -> None:
    """Move one weight to the next number that there is."""
    with torch.no_grad():
        weight = module.network.head.weight
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(1.0))


def spoil_momentum(trainer: pl.Trainer, module: Any) -> None:
    """Halve the momenta."""
    for state in trainer.optimizers[0].state.values():
        state["momentum_buffer"] *= 0.5


def fill_grad(trainer: pl.Trainer, module: Any) -> None:
    """Leave a gradient, as a method does that runs a whole backward."""
    module.network.head.bias.grad = torch.ones_like(module.network.head.bias)


HARMS: dict[str, Callable[[pl.Trainer, Any], Any]] = {
    "training network": lambda _, module: module.eval(),
    "grad network.head.bias": fill_grad,
    "rng python": lambda *_: random.random(),  # noqa: S311
    "rng numpy": lambda *_: np.random.rand(),  # noqa: NPY002
    "rng torch": lambda *_: torch.rand(1),
    "hooks network.head": lambda _, module: module.network.head.register_forward_hook(print),
    "hooks network.head.bias": lambda _, module: module.network.head.bias.register_hook(abs),
    "buffer network.features.1.running_mean": (
        lambda _, module: module.network.features[1].running_mean.add_(1e-3)
    ),
    "requires_grad network.head.bias": (
        lambda _, module: module.network.head.bias.requires_grad_(requires_grad=False)
    ),
    "weight network.head.weight": nudge,
    "optimizer 0": spoil_momentum,
    "scheduler 0": lambda trainer, _: trainer.lr_scheduler_configs[0].scheduler.step(),
    "metric train_loss": log_another,
    "metric another": lambda _, module: module.log("another", 1.0),
    "metric state accuracy": lambda _, module: module.accuracy["train_accuracy"].update(
        torch.eye(4), torch.arange(4)
    ),
    "plain network": lambda _, module: setattr(module.network, "mark", 1),
    "checkpoint names": lambda trainer, _: trainer.save_checkpoint(
        Path(trainer.default_root_dir) / "checkpoints" / "another.ckpt"
    ),
}


@pytest.mark.parametrize("name", HARMS)
def test_a_planted_harm_is_named(name: str, tmp_path: Path) -> None:
    """Whatever a callback leaves behind once the model is given back is seen and named."""

    class Harmful(VLMExplainCallback):
        def on_train_batch_start(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 3:
                HARMS[name](trainer, pl_module)

    combination = Combination(
        validate="every 2 batches", logs="torchmetrics", checkpoint="saved", augment="global"
    )
    found = compare(combination, tmp_path, make=Harmful)
    assert any(difference.name.startswith(name) for difference in found.differences)
    assert found.largest > 0


def test_without_a_harm_the_same_fit_is_equal(tmp_path: Path) -> None:
    """What the planted harms are reported against is nothing."""
    combination = Combination(
        validate="every 2 batches", logs="torchmetrics", checkpoint="saved", augment="global"
    )
    found = compare(combination, tmp_path)
    assert found.differences == []
    assert found.largest == 0
    assert found.values > 1000


def test_an_equality_that_proves_nothing_is_an_error(tmp_path: Path) -> None:
    """A callback that explains nothing isn't neutral, it isn't there."""

    class Idle(VLMExplainCallback):
        def on_validation_epoch_end(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule
        ) -> None:
            if trainer.current_epoch:
                super().on_validation_epoch_end(trainer, pl_module)

    with pytest.raises(RuntimeError, match=r"2 validations of 6 probes, but explained were {0: 6}"):
        compare(Combination(), tmp_path, make=Idle)


@pytest.mark.filterwarnings("ignore:.*right answers rest on")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trying_shortcuts_amid_a_training_leaves_no_bit(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every validation, as where a gate fires: erased, pasted, training pictures listed."""
    tried = []

    def all_rest(samples: Sequence[Sample], **_: Any) -> list[Shortcut]:
        e = samples[0].explanation
        bearers = tuple(s.explanation.probe_index for s in samples)
        of = Shortcut(
            label=e.label_name, number=e.label, low=1, right=1, other_low=0, other_right=1,
            place=Place(Box(0.0, 0.0, 0.25, 0.25), 1.0, 0.0, 0.01), bearers=bearers,
            likeness=Likeness(0, 1000),
        )  # fmt: skip
        return [of]

    def note(*args: Any, **options: Any) -> Shortcut:
        tried.append(try_cause(*args, **options))
        return tried[-1]

    listed = []
    find = TrainingPictures.find

    def look(*args: Any, **options: Any) -> list[TrainingList]:
        listed.extend(found := find(*args, **options))
        return found

    monkeypatch.setattr(TrainingPictures, "find", look)
    monkeypatch.setattr(shortcutting, "right_classes", lambda _: ["red", "green"])
    monkeypatch.setattr(shortcutting, "find_shortcuts", all_rest)
    monkeypatch.setattr(shortcutting, "try_cause", note)

    class Trying(VLMExplainCallback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.look_for_shortcuts(trainer, pl_module)

    combination = Combination(
        find_shortcuts=True, augment="global", precision=precision, habit="draws", lag=0
    )
    found = compare(combination, tmp_path, make=Trying)
    assert found.differences == []
    assert found.largest == 0
    assert len(tried) == found.rounds
    assert any(of.erased or of.pasted for of in tried)
    assert len(listed) == found.rounds
    assert all(of.pictures for of in listed), listed[0].note


@pytest.mark.parametrize(
    ("ours", "theirs", "size"),
    [
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("nan")]), None),
        (torch.tensor([0.0]), torch.tensor([-0.0]), 0.0),
        (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64), float("inf")),
        (torch.tensor([1.0]), torch.tensor([[1.0]]), float("inf")),
        (torch.tensor([1.5]), torch.tensor([1.0]), 0.5),
        (torch.tensor([]), torch.tensor([]), None),
        (torch.tensor(True), torch.tensor(False), 1.0),
        (float("nan"), float("nan"), None),
        (0.25, 0.5, 0.25),
        (3, 3.0, float("inf")),
        (True, False, 1.0),
        (None, torch.zeros(1), float("inf")),
        ("a", "a", None),
    ],
)
def test_leaves_are_compared_by_their_bytes(ours: Any, theirs: Any, size: float | None) -> None:
    """NaN equals itself, a zero its own sign only; what has no magnitude differs by infinity."""
    assert find_difference(ours, theirs) == size

"""The callback as an object: copied, used for a second fit, read after it, in either Lightning."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import pytorch_lightning as other
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from curves import read_lines
from helpers_judge import make_judge
from lightning_vlmxai import QuadrantStopping, VLMExplainCallback, VLMJudge
from lightning_vlmxai.callbacks.environment import is_sharded
from openai_server import OpenAIServer, verdict
from tiny import Separable, Squares, loader, make_trainer

COPIES = [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]  # noqa: S301


def fit(folder: Path, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    """Return the trainer of a short fit."""
    settings.setdefault("logger", CSVLogger(folder))
    trainer = make_trainer(folder, *callbacks, **settings)
    data = loader(Squares(8, side=16)), loader(Squares(6, side=16, seed=1))
    trainer.fit(Separable(), *data)
    return trainer


class Copying(pl.Callback):
    """Copies another callback in the middle of a fit."""

    def __init__(self, callback: VLMExplainCallback) -> None:
        self.callback = callback
        self.copies: list[VLMExplainCallback] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy it in each way."""
        self.copies += [make(self.callback) for make in COPIES]


@pytest.mark.parametrize("make", COPIES, ids=["deepcopy", "pickle"])
def test_a_copy_after_a_fit_explains_a_fit_of_its_own(
    tmp_path: Path, make: Callable[[Any], Any]
) -> None:
    """It has the settings, rounds from 0 and another folder; the first one's stays as it was."""
    callback = VLMExplainCallback(probe_size=4, watch_classes=["red"], min_per_class=1)
    fit(tmp_path, callback)
    first = callback.run_dir
    assert first is not None
    before = (first / "rounds.jsonl").read_bytes()
    copied = make(callback)
    assert copied.latest_round is None
    assert copied.metric_names == callback.metric_names
    fit(tmp_path, copied)
    assert copied.run_dir not in (None, first)
    assert [r["number"] for r in read_lines(copied.run_dir / "rounds.jsonl")] == [0, 1]
    assert (first / "rounds.jsonl").read_bytes() == before
    assert callback.latest_round is not None


def test_a_copy_in_the_middle_of_a_fit_leaves_the_fit_alone(tmp_path: Path) -> None:
    """With a judge whose connections are open; the copies can be used."""
    with OpenAIServer(lambda _: verdict(4)) as server:
        callback = VLMExplainCallback(make_judge(server.base_url), probe_size=4)
        copying = Copying(callback)
        fit(tmp_path, callback, copying)
        assert callback.run_dir is not None
        closed = read_lines(callback.run_dir / "rounds.jsonl")
        assert [(r["number"], r["judged"]) for r in closed] == [(0, 4), (1, 4)]
        for number, copied in enumerate(copying.copies):
            fit(tmp_path / str(number), copied, max_epochs=1)
            assert isinstance(copied.judge, VLMJudge)
            assert copied.latest_round is not None
            assert copied.latest_round.judged == 4


def test_state_of_a_checkpoint_that_is_not_yet_used_is_copied(tmp_path: Path) -> None:
    """Spawned ranks get the callback between the loading and the start of the fit."""
    callback = VLMExplainCallback(probe_size=4)
    fit(tmp_path, callback, max_epochs=1)
    resumed = VLMExplainCallback(probe_size=4)
    resumed.load_state_dict(callback.state_dict())
    assert copy.deepcopy(resumed).state_dict().keys() == callback.state_dict().keys()
    assert copy.deepcopy(resumed).state_dict()["next_number"] == 1


def test_a_second_fit_has_rounds_of_its_own(tmp_path: Path) -> None:
    """The same callback with a second Trainer: another folder, counted from 0."""
    callback = VLMExplainCallback(probe_size=4, every_n_validations=2)
    folders = []
    for _ in range(2):
        fit(tmp_path, callback, max_epochs=3)
        assert callback.run_dir is not None
        folders.append(callback.run_dir)
        rounds = read_lines(callback.run_dir / "rounds.jsonl")
        assert [(r["number"], r["epoch"]) for r in rounds] == [(0, 1)]
    assert folders[0] != folders[1]


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("lag", [0, 1, 2])
def test_after_a_fit_the_trainer_has_the_last_round(tmp_path: Path, epochs: int, lag: int) -> None:
    """Where sweepers read it; also of rounds that were closed when nothing could be logged."""
    callback = VLMExplainCallback(probe_size=4, lag=lag)
    trainer = fit(tmp_path, callback, max_epochs=epochs)
    last = callback.latest_round
    assert last is not None
    assert last.number == epochs - 1
    found = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("vlmxai/")}
    assert found == pytest.approx({f"vlmxai/{k}": v for k, v in last.metrics.items()})


@pytest.mark.parametrize(
    ("epochs", "every", "validations"),
    [(2, 5, 1), (2, 1, 3)],
    ids=["check_val_every_n_epoch", "every_n_validations"],
)
def test_a_fit_that_ends_before_its_first_round_says_so(
    tmp_path: Path, epochs: int, every: int, validations: int
) -> None:
    """And the arguments that would mend it."""
    callback = VLMExplainCallback(probe_size=4, every_n_validations=validations)
    with pytest.warns(UserWarning, match="ends before its first round") as told:
        fit(tmp_path, callback, max_epochs=epochs, check_val_every_n_epoch=every)
    said = next(str(w.message) for w in told if "first round" in str(w.message))
    assert f"check_val_every_n_epoch={every}, every_n_validations={validations}" in said
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="vlmxai")
        fit(tmp_path, VLMExplainCallback(probe_size=4), max_epochs=1)


class Other(other.LightningModule):
    """`Separable`'s network in a module of `pytorch_lightning` that logs in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Separable().network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images)
        self.log("seen", float(len(images)), on_step=False, on_epoch=True, reduce_fx="sum")
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def test_pytorch_lightning_s_own_classes_are_served_alike(tmp_path: Path) -> None:
    """Its TensorBoard logger gets pictures, and a forward's `self.log` counts no probe."""
    callback = VLMExplainCallback(probe_size=4)
    gate = QuadrantStopping(divergence_threshold=0.9)
    trainer = other.Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[callback, gate],
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=other.loggers.TensorBoardLogger(tmp_path),
        log_every_n_steps=1,
    )
    trainer.fit(Other(), loader(Squares(8, side=16)), loader(Squares(6, side=16, seed=1)))
    assert float(trainer.callback_metrics["seen"]) == 6.0
    assert float(trainer.callback_metrics["vlmxai/coverage"]) == 1.0
    events = EventAccumulator(trainer.logger.log_dir, {"images": 0}).Reload()
    assert any(tag.startswith("vlmxai") for tag in events.Tags()["images"])
    assert "vlmxai/average_score" in events.Tags()["scalars"]


def test_pytorch_lightning_s_own_strategies_are_refused_alike() -> None:
    """A strategy that shards."""
    assert is_sharded(other.strategies.FSDPStrategy())
    assert not is_sharded(other.strategies.DDPStrategy())

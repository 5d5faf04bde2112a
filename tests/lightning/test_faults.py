"""What goes wrong during a round: training goes on, one warning says what was left out."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from lightning_vlmxai import Verdict, VLMExplainCallback
from lightning_vlmxai.errors import ModelChangedError
from lightning_vlmxai.explain import explainer as explain
from lightning_vlmxai.judges.worker import JudgeWorker
from lightning_vlmxai.sinks import RunFolderSink
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Separable, Squares, loader, make_trainer


def judge() -> ScriptedJudge:
    """Return a judge that is always content."""
    return ScriptedJudge([Verdict.scored(4)])


def fit(
    tmp_path: Path, callback: pl.Callback | None, module: pl.LightningModule, **settings: Any
) -> tuple[pl.Trainer, list[str]]:
    """Train for three epochs; return the trainer and what was warned of."""
    torch.manual_seed(0)
    callbacks = [callback] if callback else []
    trainer = make_trainer(tmp_path, *callbacks, **{"max_epochs": 3, **settings})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(module, loader(Squares(), shuffle=True), loader(Squares(8, seed=1)))
    return trainer, [str(w.message) for w in caught if str(w.message).startswith("vlmxai")]


def assert_untouched(module: pl.LightningModule, tmp_path: Path) -> None:
    """The module is what it would be without the callback, and no hook is left."""
    alone = Separable()
    fit(tmp_path / "alone", None, alone)
    for name, value in alone.state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), name
    assert all(child.training for child in module.modules())
    hooks = [h for c in module.modules() for h in (c._forward_hooks, c._forward_pre_hooks)]
    assert not any(hooks)


def read_rounds(callback: VLMExplainCallback) -> list[dict[str, Any]]:
    """Return the run folder's rounds."""
    assert callback.run_dir is not None
    lines = (callback.run_dir / "rounds.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("where", ["attribute", "soft_mask"])
def test_an_exception_in_attribution_or_masking_costs_one_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The round has no samples and says why; the next one is complete; training is untouched."""
    real, calls = getattr(explain, where), []

    def fail_in_the_second_round(*args: Any, **kwargs: Any) -> Any:
        # Settings are tried on a scalar, which is no round.
        calls.extend([1] * (getattr(args[0], "ndim", 1) > 0))
        if len(calls) == 3:  # the rehearsal, round 0, round 1
            raise ValueError("out of ideas")
        return real(*args, **kwargs)

    module, callback = Separable(), VLMExplainCallback(judge(), probe_size=4)
    monkeypatch.setattr(explain, where, fail_in_the_second_round)
    _, told = fit(tmp_path, callback, module)
    monkeypatch.undo()
    assert len(told) == 1
    assert "Explaining the probes failed, so this round has no judged samples." in told[0]
    assert "Training goes on. ValueError: out of ideas" in told[0]
    rounds = read_rounds(callback)
    assert [r["coverage"] for r in rounds] == [1, 0, 1]
    assert [(r["missing"], r["unscored"]) for r in rounds] == [(0, 0), (4, 4), (0, 0)]
    assert rounds[1]["failure"] == "ValueError: out of ideas"
    assert "correct_low_rate" not in rounds[1]
    assert_untouched(module, tmp_path)


def test_a_sink_that_fails_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken disk: the loggers still get every round, one warning is given."""

    def fail(_self: RunFolderSink, _closed: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(RunFolderSink, "write", fail)
    module, callback = Separable(), VLMExplainCallback(judge(), probe_size=4)
    logger = CSVLogger(tmp_path)
    _, told = fit(tmp_path, callback, module, logger=logger)
    assert len(told) == 1
    assert "RunFolderSink.write failed, so this round is missing there." in told[0]
    assert "Input/output error" in told[0]
    metrics = (Path(logger.log_dir) / "metrics.csv").read_text()
    assert metrics.splitlines()[0].count("vlmxai/coverage") == 1
    assert callback.latest_round is not None
    assert callback.latest_round.number == 2
    assert_untouched(module, tmp_path)


def test_a_submission_that_fails_leaves_the_round_unscored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge can't be opened any more: each sample says so, and training goes on."""
    real, calls = JudgeWorker._start, []

    def fail_later(self: JudgeWorker) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise explain.ConfigurationError("no loop to be had")
        return real(self)

    monkeypatch.setattr(JudgeWorker, "_start", fail_later)
    module, callback = Separable(), VLMExplainCallback(judge(), probe_size=4)
    _, told = fit(tmp_path, callback, module)
    assert len(told) == 1
    assert "4 of 4 samples unscored (judge_error): no loop to be had." in told[0]
    assert [r["coverage"] for r in read_rounds(callback)] == [1, 0, 0]
    assert_untouched(module, tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_too_little_memory_halves_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    """A forward that fits two pictures explains eight, and says so once."""
    real, sizes = explain.attribute, []

    def fit_two(subject: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(subject.images))
        if len(subject.images) > 2:
            raise error
        return real(subject, *args, **kwargs)

    monkeypatch.setattr(explain, "attribute", fit_two)
    module, callback = Separable(), VLMExplainCallback(judge(), probe_size=8)
    _, told = fit(tmp_path, callback, module)
    assert sizes[:6] == [8, 4, 2, 2, 2, 2]
    assert "out of memory while explaining 8 probes at a time; going on with 4" in told[0]
    assert "Nothing is left out." in told[0]
    assert [r["coverage"] for r in read_rounds(callback)] == [1, 1, 1]
    assert_untouched(module, tmp_path)


def test_memory_for_not_even_one_probe_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rehearsal raises, and says what to change."""

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(explain, "attribute", fail)
    with pytest.raises(explain.AttributionError, match="`memory` to be enough to explain one"):
        fit(tmp_path, VLMExplainCallback(judge(), probe_size=8), Separable())


class Chatty(Separable):
    """Logs in its forward."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, having logged."""
        self.log("pictures", float(images.mean()), on_epoch=True)
        return super().forward(images)


class Seen(pl.Callback):
    """Keeps what monitors could read at the end of each validation and epoch."""

    def __init__(self) -> None:
        self.values: list[dict[str, float]] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the metrics that are not the callback's."""
        found = trainer.callback_metrics.items()
        self.values.append({k: float(v) for k, v in found if not k.startswith("vlmxai")})

    on_train_epoch_end = on_validation_end


def test_a_forward_that_logs_is_silent_while_it_is_explained(tmp_path: Path) -> None:
    """The user's metric has the values that it has without the callback, whenever it is read."""
    seen = []
    for name in ("alone", "with"):
        watch = Seen()
        callbacks = [VLMExplainCallback(judge(), probe_size=4)] if name == "with" else []
        trainer = make_trainer(tmp_path / name, *callbacks, watch, max_epochs=2)
        trainer.fit(Chatty(), loader(Squares()), loader(Squares(8, seed=1)))
        seen.append(watch.values)
    assert "pictures" in seen[0][-1]
    assert seen[0] == seen[1]


def test_ctrl_c_during_a_round_leaves_the_module_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning ends the run as it would without the callback; flags, hooks and thread are back."""
    real, calls = explain.attribute, []

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(explain, "attribute", interrupt)
    module, callback = Separable(), VLMExplainCallback(judge(), probe_size=4)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path, callback, module)
    assert len(calls) == 3
    assert not any(c._forward_hooks for c in module.modules())
    assert torch.is_grad_enabled()
    assert callback._run is not None
    assert callback._run._worker._thread is None


class Momentum(Separable):
    """Changes a weight in its forward from the second epoch on."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        if not self.training and self.current_epoch == 1:
            self.network[0].weight.data = self.network[0].weight.data * 0.9
        return super().forward(images)


def test_a_forward_that_changes_weights_ends_the_run(tmp_path: Path) -> None:
    """This harm is never passed over: going on would train another model."""
    with pytest.raises(ModelChangedError, match=r"new values in network\.0\.weight"):
        fit(tmp_path, VLMExplainCallback(judge(), probe_size=4), Momentum())


def test_weight_averaging_before_the_callback_is_refused(tmp_path: Path) -> None:
    """It puts the training weights back before we look, so the order is asked for."""
    averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")
    trainer = make_trainer(
        tmp_path, averaging.EMAWeightAveraging(), VLMExplainCallback(judge(), probe_size=4)
    )
    with pytest.raises(explain.ConfigurationError, match="List VLMExplainCallback first"):
        trainer.fit(Separable(), loader(Squares()), loader(Squares(8, seed=1)))

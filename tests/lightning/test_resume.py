"""What a checkpoint keeps, and that a resumed run is as one never interrupted."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from curves import MemoryLogger, Steady, Unhurried, read_lines
from helpers_judge import make_judge
from lightning_vlmxai import QuadrantStopping, VLMExplainCallback
from openai_server import OpenAIServer, verdict
from tiny import Separable, Squares, loader, make_trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*blank_saliency",
    "ignore:.*the judge hardly tells",  # it scores by a hash
    "ignore:You.re resuming from a checkpoint that ended before",
    "ignore:Be aware that when using `ckpt_path`",
)

BATCHES, BETWEEN = 6, 3
"""Batches an epoch, and from one validation to the next."""


class PlantedError(RuntimeError):
    """Ends a run where it stands."""


class Accident(pl.Callback):
    """Interrupts a run after a step, and saves some steps before that.

    Lightning leaves out the validation that is due right after a step at whose end a checkpoint
    was saved, so none is saved there.
    """

    def __init__(self, folder: Path, at: int | None, save_at: set[int]) -> None:
        self.folder, self.at, self.save_at = folder, at, save_at

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Save, or raise."""
        step = trainer.global_step
        if step in self.save_at and step % BETWEEN:
            trainer.save_checkpoint(self.folder / f"{step}.ckpt")
        if step == self.at:
            raise PlantedError


class SaveAfterValidation(pl.Callback):
    """Saves at the end of each validation, as `ModelCheckpoint` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save."""
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


QUICK = {0, 1, 5, 10, 15}
"""Seeds that run everywhere: each share that is judged, with controls and without."""


def run(
    folder: Path,
    logger: MemoryLogger,
    pace: dict[str, Any],
    *,
    at: int | None,
    save_at: set[int],
) -> tuple[Any, ...]:
    """Train on from the last checkpoint in the folder; return how the run ended."""
    folder.mkdir(exist_ok=True)
    saved = sorted(folder.glob("*.ckpt"), key=lambda path: int(path.stem))
    gate = QuadrantStopping("vlmxai/average_score", mode="max", patience=3)
    explain = VLMExplainCallback(Unhurried(0.003), probe_size=6, **pace)
    trainer = make_trainer(
        folder,
        *(gate, explain, Accident(folder, at, save_at), SaveAfterValidation(folder)),
        logger=logger,
        max_epochs=5,
        val_check_interval=BETWEEN,
    )
    module = Steady()
    data = loader(Squares(8 * BATCHES)), loader(Squares(8, seed=1))
    trainer.fit(module, *data, ckpt_path=saved[-1] if saved else None)
    weights = [parameter.tolist() for parameter in module.parameters()]
    return trainer.global_step, gate.wait_count, gate.stopped_epoch, explain.run_dir, weights


def rounds_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the last line of each round, as a reader of a run folder should."""
    return list({r["number"]: r for r in read_lines(run_dir / "rounds.jsonl")}.values())


def samples_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the last line of each sample, without how long its verdict took."""
    lines = read_lines(run_dir / "samples.jsonl")
    last = {(line["round"], line["probe"]): line for line in lines}
    return [{k: v for k, v in line.items() if k != "latency_s"} for line in last.values()]


def controls_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the last line of each control likewise; none of a run without any."""
    file = run_dir / "controls.jsonl"
    last = (
        {(line["round"], line["control"]): line for line in read_lines(file)}
        if file.exists()
        else {}
    )
    return [{k: v for k, v in line.items() if k != "latency_s"} for line in last.values()]


@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=[] if seed in QUICK else pytest.mark.slow) for seed in range(20)],
)
def test_a_run_that_is_interrupted_anywhere_ends_as_if_it_never_was(
    tmp_path: Path, seed: int
) -> None:
    """Curves, run folder, patience, end and weights are equal to the last digit."""
    draw = random.Random(seed)  # noqa: S311
    pace: dict[str, Any] = {
        "lag": draw.randrange(4),
        "every_n_validations": draw.randint(1, 2),
        "judged_share": (1.0, 0.5, 0.3)[seed % 3],
    }
    pace["controls"] = 4 * (seed % 2)
    whole, broken = MemoryLogger(), MemoryLogger()
    *ended, whole_dir, weights = run(tmp_path / "whole", whole, pace, at=None, save_at=set())
    at = sorted(draw.sample(range(1, ended[0] + 1), k=2))
    save_at = set(draw.sample(range(1, ended[0]), k=ended[0] // 3))
    for accident in at:
        with pytest.raises(PlantedError):
            run(tmp_path / "broken", broken, pace, at=accident, save_at=save_at)
    *ended_too, broken_dir, weights_too = run(
        tmp_path / "broken", broken, pace, at=None, save_at=save_at
    )
    assert ended_too == ended
    assert weights_too == weights
    assert broken.curves == whole.curves
    assert len(whole.curves["vlmxai/average_score"]) > 2
    assert rounds_of(broken_dir) == rounds_of(whole_dir)
    assert samples_of(broken_dir) == samples_of(whole_dir)
    assert controls_of(broken_dir) == controls_of(whole_dir)
    assert bool(controls_of(whole_dir)) == ("vlmxai/judge/auc" in whole.curves) == bool(seed % 2)


def test_the_gate_stops_some_of_these_runs(tmp_path: Path) -> None:
    """Or the comparison above would say nothing of patience."""
    pace = {"lag": 1, "every_n_validations": 1}
    steps, waited, stopped, *_ = run(tmp_path, MemoryLogger(), pace, at=None, save_at=set())
    assert (steps < 5 * BATCHES, waited, stopped > 0) == (True, 3, True)


def resume(
    tmp_path: Path, explain: VLMExplainCallback, **settings: Any
) -> tuple[pl.Trainer, list[str]]:
    """Train one epoch more from the only checkpoint; return the trainer and what was told."""
    (saved,) = tmp_path.rglob("*.ckpt")
    trainer = make_trainer(tmp_path, explain, **{"max_epochs": 3, **settings})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Steady(), loader(Squares()), loader(Squares(8, seed=1)), ckpt_path=saved)
    return trainer, [str(w.message) for w in caught if str(w.message).startswith("vlmxai")]


def train(tmp_path: Path, explain: VLMExplainCallback, **settings: Any) -> Path:
    """Train two epochs; return the checkpoint, saved while the second round was open."""
    keep = ModelCheckpoint(tmp_path / "kept", filename="kept")
    trainer = make_trainer(tmp_path, explain, keep, enable_checkpointing=True, **settings)
    trainer.fit(Steady(), loader(Squares()), loader(Squares(8, seed=1)))
    return Path(keep.best_model_path)


def test_the_state_is_plain_and_holds_the_open_round(tmp_path: Path) -> None:
    """It loads with `weights_only`, and its tensors are those of the explanations.

    Pixels are in the last epoch's alone, after which there may be no probe set.
    """
    explain = VLMExplainCallback(Unhurried(), probe_size=4)
    path = train(tmp_path, explain)
    state = torch.load(path, weights_only=True)["callbacks"]["VLMExplainCallback"]
    assert state["run_dir"] == str(explain.run_dir)
    (opened,) = state["run"]["rounds"]["open"]
    assert (opened["start"]["number"], opened["start"]["step"]) == (1, 5)
    assert explain.latest_round is not None
    for saved, sample in zip(opened["explanations"], explain.latest_round.samples, strict=True):
        assert torch.equal(saved["pixels"], sample.explanation.pixels)
        assert torch.equal(saved["mask"], sample.explanation.mask)
        assert torch.equal(saved["saliency"], sample.explanation.saliency)


def test_a_resumed_run_goes_on_in_its_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so; a given folder wins; one that is gone is made anew."""
    first = VLMExplainCallback(Unhurried(), probe_size=4)
    train(tmp_path, first, default_root_dir=tmp_path / "first")
    assert first.run_dir == tmp_path / "first" / "vlmxai"
    second = VLMExplainCallback(Unhurried(), probe_size=4)
    with caplog.at_level("INFO"):
        resume(tmp_path, second, default_root_dir=tmp_path / "second")
    assert second.run_dir == first.run_dir
    assert f"going on in {first.run_dir}" in caplog.text
    assert [r["number"] for r in read_lines(first.run_dir / "rounds.jsonl")] == [0, 1, 1, 2]
    third = VLMExplainCallback(Unhurried(), probe_size=4, run_dir=tmp_path / "third")
    resume(tmp_path, third, default_root_dir=tmp_path / "second")
    assert third.run_dir == tmp_path / "third"
    first.run_dir.rename(tmp_path / "gone")
    fourth = VLMExplainCallback(Unhurried(), probe_size=4)
    resume(tmp_path, fourth, default_root_dir=tmp_path / "second")
    assert fourth.run_dir == tmp_path / "second" / "vlmxai"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"alpha": 25.0, "beta": 0.4}, ["alpha was 15.0 and is 25.0; beta was 0.6 and is 0.4"]),
        ({"method": "hirescam"}, ["method was 'gradcam' and is 'hirescam'"]),
        ({"target_layer": "network.features.0"}, ["and is 'network.features.0'"]),
        ({"threshold": 3.0}, ["threshold was 2.5 and is 3.0"]),
        ({"judge": None}, ["judge was 'scripted' and is 'reference-mask"]),
        ({"seed": 5, "probe_size": 3}, ["the probe set differs from the checkpoint's"]),
        ({"lag": 0, "deadline_s": 9.0}, []),
    ],
)
def test_what_differs_from_the_checkpoint_is_told(
    tmp_path: Path, changed: dict[str, Any], told: list[str]
) -> None:
    """Each setting that the figures depend on, by name, with both values; the run goes on."""
    train(tmp_path, VLMExplainCallback(Unhurried(), probe_size=4))
    explain = VLMExplainCallback(**{"judge": Unhurried(), "probe_size": 4, **changed})
    _, warned = resume(tmp_path, explain)
    assert len(warned) == len(told), warned
    assert all(words in message for words, message in zip(told, warned, strict=True))
    assert explain.latest_round is not None
    assert explain.latest_round.number == 2


def test_resuming_pays_for_no_verdict_twice(tmp_path: Path) -> None:
    """The open round is judged from the cache; only the new round and a rehearsal are asked."""
    with OpenAIServer(lambda _: verdict(4)) as server:
        train(tmp_path, VLMExplainCallback(make_judge(server.base_url), probe_size=4))
        before = len(server.requests)
        explain = VLMExplainCallback(make_judge(server.base_url), probe_size=4)
        resume(tmp_path, explain)
        asked = len(server.requests) - before
    assert explain.run_dir is not None
    lines = read_lines(explain.run_dir / "samples.jsonl")
    open_round = [line for line in lines if line["round"] == 1][-4:]
    assert all(line["is_cached"] for line in open_round if line["reason"] != "blank_saliency")
    fresh = [line for line in lines if line["round"] == 2 and line["reason"] is None]
    assert asked <= len(fresh) + 1


def test_a_state_that_was_loaded_is_saved_again_before_the_first_round(tmp_path: Path) -> None:
    """A run that dies right after its resumption has lost nothing."""
    path = train(tmp_path, VLMExplainCallback(Unhurried(), probe_size=4))
    saved = torch.load(path, weights_only=True)["callbacks"]["VLMExplainCallback"]
    explain = VLMExplainCallback(Unhurried(), probe_size=4)
    explain.load_state_dict(saved)
    assert explain.state_dict() == saved
    again = []

    class Look(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            again.append(explain.state_dict())

    explain = VLMExplainCallback(Unhurried(), probe_size=4)
    trainer = make_trainer(tmp_path, Look(), explain, max_epochs=3)
    trainer.fit(Steady(), loader(Squares()), loader(Squares(8, seed=1)), ckpt_path=path)
    opened = [state["run"]["rounds"]["open"] for state in (saved, again[0])]
    assert [o["start"]["number"] for o in opened[0]] == [o["start"]["number"] for o in opened[1]]


@pytest.mark.filterwarnings("ignore:.*newer than your current Lightning version")
def test_a_checkpoint_of_the_first_layout_is_resumed(tmp_path: Path) -> None:
    """State is plain types: a file written when the modules lay elsewhere goes on without a word.

    `checkpoint_0_1.ckpt` was saved by 0.1 of `Separable` after its first validation, round 0 open.
    """
    explain = VLMExplainCallback(probe_size=6)
    gate = QuadrantStopping(patience=9)
    trainer = make_trainer(tmp_path, explain, gate, max_epochs=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="vlmxai")
        trainer.fit(
            Separable(),
            loader(Squares(8, side=16)),
            loader(Squares(6, side=16, seed=1)),
            ckpt_path=Path(__file__).parents[1] / "data" / "checkpoint_0_1.ckpt",
        )
    assert explain.run_dir is not None
    closed = read_lines(explain.run_dir / "rounds.jsonl")
    assert [(r["number"], r["epoch"], r["step"], r["judged"]) for r in closed] == [
        (0, 0, 1, 6),
        (1, 1, 1, 6),
    ]
    assert all(r["average_score"] == 5.0 for r in closed)


class EndsThere(pl.Callback):
    """Ends a fit where its open rounds would be waited for, as a kill may."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise."""
        raise PlantedError


def go_on(folder: Path, lag: int, *others: pl.Callback) -> pl.Trainer:
    """Fit four epochs, from the last checkpoint in the folder on if there is one."""
    saved = sorted(folder.glob("*.ckpt"), key=lambda path: int(path.stem))
    callback = VLMExplainCallback(Unhurried(), probe_size=6, lag=lag, run_dir=folder / "run")
    last = SaveAfterValidation(folder)
    trainer = make_trainer(folder, *others, callback, last, max_epochs=4)
    trainer.fit(
        Steady(),
        loader(Squares()),
        loader(Squares(16, seed=1)),
        ckpt_path=saved[-1] if saved else None,
    )
    return trainer


@pytest.mark.parametrize("lag", [1, 3])
def test_rounds_open_at_the_last_checkpoint_are_closed(lag: int, tmp_path: Path) -> None:
    """A fit that has no validation left writes them all the same, with their pictures."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    go_on(whole, lag)
    with pytest.raises(PlantedError):
        go_on(parts, lag, EndsThere())
    # As if it had been killed: what was written after the last checkpoint is not there.
    for name in ("rounds.jsonl", "samples.jsonl"):
        lines = read_lines(parts / "run" / name)
        kept = [x for x in lines if x.get("round", x.get("number")) < 4 - lag]
        (parts / "run" / name).write_text("".join(json.dumps(x) + "\n" for x in kept))
    trainer = go_on(parts, lag)
    states = [torch.load(file, weights_only=True) for file in sorted(whole.glob("*.ckpt"))]
    opened = [s["callbacks"]["VLMExplainCallback"]["run"]["rounds"]["open"] for s in states]
    held = [{"pixels" in e for o in each for e in o["explanations"]} for each in opened]
    assert sorted(held, key=str) == [{False}, {False}, {False}, {True}]
    curve = read_lines(parts / "run" / "rounds.jsonl")
    assert [line["number"] for line in curve] == [0, 1, 2, 3]
    assert curve == read_lines(whole / "run" / "rounds.jsonl")
    last = float(trainer.callback_metrics["vlmxai/average_score"])
    assert last == pytest.approx(curve[-1]["average_score"])
    for file in sorted((whole / "run" / "images").rglob("*.png")):
        twin = parts / "run" / file.relative_to(whole / "run")
        assert twin.read_bytes() == file.read_bytes()
    described = [json.loads((run / "run" / "run.json").read_text()) for run in (whole, parts)]
    assert described[0] == described[1]

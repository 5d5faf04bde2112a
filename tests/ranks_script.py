"""What each rank of a run does in `tests/lightning/test_ranks.py`; started by torchrun or alone.

Usage: ranks_script.py OUT_DIR SCENARIO... [--base-url URL]
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from captioned import Towers, decode, make_clip, make_data
from curves import MemoryLogger, Unhurried, score_of
from dotted import DottedSquares, ReadsDots
from helpers_judge import make_judge
from lightning_vlmxai import (
    ImageText,
    QuadrantStopping,
    ReferenceMaskJudge,
    UnscoredReason,
    Verdict,
    VLMAuditCallback,
    VLMExplainCallback,
)
from lightning_vlmxai.callbacks import vlm_audit
from lightning_vlmxai.errors import ConfigurationError, VLMExplainError
from lightning_vlmxai.explain import explainer as explain
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Separable, Squares, TinyModule, make_trainer


class Scene:
    """Makes trainers, callbacks and data for one scenario.

    Args:
        folder: Where it writes.
        size: Number of ranks.
        base_url: Of a judge's server.
    """

    def __init__(self, folder: Path, size: int, base_url: str) -> None:
        self.folder, self.size, self.base_url = folder, size, base_url

    def callback(self, judge: Any = None, **settings: Any) -> VLMExplainCallback:
        """Return a callback that explains seven probes: shares are uneven."""
        settings = {"probe_size": 7, "run_dir": self.folder / "run", **settings}
        return VLMExplainCallback(judge or Unhurried(0.005), **settings)

    def trainer(self, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
        """Return a trainer of all ranks."""
        strategy = DDPStrategy() if self.size > 1 else "auto"
        settings = {"devices": self.size, "strategy": strategy, **settings}
        return make_trainer(self.folder, *callbacks, **settings)

    def fit(
        self, trainer: pl.Trainer, kind: type[pl.LightningModule] = Separable, **more: Any
    ) -> pl.LightningModule:
        """Train such a module on squares."""
        torch.manual_seed(0)
        module = kind()
        train = DataLoader(Squares(32), batch_size=8, shuffle=True)
        trainer.fit(module, train, DataLoader(Squares(16, seed=1), batch_size=8), **more)
        return module


def told_of(callback: VLMExplainCallback) -> dict[str, Any]:
    """Return what a rank knows of the last round."""
    latest = callback.latest_round
    assert latest is not None
    return {
        "metrics": dict(latest.metrics),
        "matrix": {
            s.explanation.probe_index: s.quadrant and s.quadrant.value for s in latest.samples
        },
        "labels": [s.explanation.label for s in latest.samples],
        "reasons": [s.verdict.reason and s.verdict.reason.value for s in latest.samples],
        "missing": latest.missing,
        "failure": latest.failure,
    }


def coarse(request: JudgeRequest) -> Verdict:
    """Return a score that rounding in a batch of another size does not change."""
    return Verdict.scored(round(5 * float((request.mask >= 0.5).float().mean()), 1))


def validate(scene: Scene, **settings: Any) -> Any:
    """Explain fixed weights, once."""
    torch.manual_seed(3)
    settings = {"probe_size": 13, "watch_classes": ["red"], **settings}
    callback = scene.callback(ScriptedJudge(coarse), **settings)
    trainer = scene.trainer(callback)
    (logged,) = trainer.validate(
        TinyModule(), DataLoader(Squares(16, seed=1), batch_size=8), verbose=False
    )
    ours = {k: v for k, v in logged.items() if k.startswith("vlmxai")}
    return {**told_of(callback), "logged": ours}


def image_text(scene: Scene) -> Any:
    """Explain a fixed image-text model; captions of both ranks' probes are ranked together."""
    callback = scene.callback(
        ScriptedJudge(coarse),
        probe_size=13,
        task=ImageText(decode=decode),
        normalization=((0.5,) * 3, (0.25,) * 3),
        method="occlusion",
    )
    scene.trainer(callback).validate(Towers(make_clip()), make_data(20, seed=1), verbose=False)
    assert callback.latest_round is not None
    found = [sample.explanation for sample in callback.latest_round.samples]
    return {
        **told_of(callback),
        "captions": [(e.probe_index, e.label_name, e.prediction_name) for e in found],
        "confidences": [e.confidence for e in found],
        "words": [[word for word, _ in e.words] for e in found],
        "shares": [share for e in found for _, share in e.words],
    }


def controls(scene: Scene) -> Any:
    """Explain fixed weights with an uneven number of controls beside."""
    return validate(scene, controls=5)


def fit(scene: Scene) -> Any:
    """Train with a gate; what monitors read, and when the run ends."""
    callback, logger = scene.callback(), MemoryLogger()
    gate = QuadrantStopping("vlmxai/average_score", mode="max", patience=2)
    trainer = scene.trainer(gate, callback, max_epochs=8, logger=logger)
    scene.fit(trainer, TinyModule)
    monitored = {k: float(v) for k, v in trainer.callback_metrics.items() if "vlmxai" in k}
    return {
        **told_of(callback),
        "monitored": monitored,
        "ended": [trainer.global_step, gate.wait_count],
    }


def panel(scene: Scene) -> Any:
    """Train with a share of the probes judged; who was drawn in each round, and with what."""
    callback = scene.callback(ScriptedJudge(coarse), probe_size=13, judged_share=0.4)
    scene.fit(scene.trainer(callback, max_epochs=5))
    assert callback.latest_round is not None
    samples = callback.latest_round.samples
    return {
        **told_of(callback),
        "drawn": [(s.inclusion, s.expected_score, s.verdict.is_reused) for s in samples],
    }


def shortcuts(scene: Scene) -> Any:
    """Look for shortcuts where a gate fires, and at the end."""
    callback = scene.callback(ReferenceMaskJudge(), probe_size=24, find_shortcuts=True)
    gate = QuadrantStopping(divergence_threshold=0.4)
    trainer = scene.trainer(gate, callback, max_epochs=4)
    data = DataLoader(DottedSquares(), batch_size=4)
    trainer.fit(ReadsDots(), data, data)
    return {**told_of(callback), "epochs": trainer.current_epoch}


def neutral(scene: Scene) -> Any:
    """Train with and without the callback; where parameters are unused."""
    weights = []
    for callbacks in ([scene.callback(lag=0)], []):
        strategy = DDPStrategy(find_unused_parameters=True)
        module = scene.fit(scene.trainer(*callbacks, strategy=strategy), WithUnused)
        weights.append({name: value.tolist() for name, value in module.state_dict().items()})
    return {"with": weights[0], "without": weights[1]}


class WithUnused(TinyModule):
    """Has a layer that no forward reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)


def judge_fails(scene: Scene) -> Any:
    """Rank 1's judge is out from round 1 on."""
    rank = rank_now()

    def script(request: JudgeRequest) -> Verdict:
        if rank == 1 and request.round_number >= 1:
            raise RuntimeError("out")
        return Verdict.scored(score_of(request))

    callback = scene.callback(ScriptedJudge(script))
    scene.fit(scene.trainer(callback))
    return told_of(callback)


def explaining_fails(scene: Scene) -> Any:
    """Rank 1 can't explain in the last round."""
    rank, real, calls = rank_now(), explain.attribute, []

    def attribute(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if rank == 1 and len(calls) == 3:  # the rehearsal, round 0, round 1
            raise ValueError("no idea")
        return real(*args, **kwargs)

    callback = scene.callback()
    explain.attribute = attribute  # type: ignore[assignment]
    try:
        scene.fit(scene.trainer(callback))
    finally:
        explain.attribute = real
    return told_of(callback)


def one_probe(scene: Scene) -> Any:
    """More ranks than probes."""
    callback = scene.callback(probe_size=1)
    scene.fit(scene.trainer(callback))
    return told_of(callback)


class Stream(IterableDataset[Any]):
    """Other samples on each rank: reds on rank 0, blues on rank 1."""

    def __init__(self, rank: int) -> None:
        self.squares, self.rank = Squares(32, seed=1), rank
        self.transform = self.squares.transform

    def __iter__(self) -> Any:
        return (self.squares[i] for i in range(self.rank, 32, 2))


def stream(scene: Scene) -> Any:
    """Explain a stream."""
    callback = scene.callback()
    trainer = scene.trainer(callback, use_distributed_sampler=False)
    own = DataLoader(Stream(rank_now()), batch_size=8)
    trainer.fit(Separable(), DataLoader(Squares(32), batch_size=8), own)
    return told_of(callback)


def resume(scene: Scene) -> Any:
    """Interrupted after two epochs of four, with two rounds open; and in one go."""
    curves = []
    for name, parts in (("parts", (2, 4)), ("whole", (4,))):
        logger = MemoryLogger()
        for epochs in parts:
            callback = scene.callback(lag=2, run_dir=scene.folder / name)
            keep = ModelCheckpoint(scene.folder / name, filename="kept-{epoch}")
            trainer = scene.trainer(
                *(callback, keep), max_epochs=epochs, logger=logger, enable_checkpointing=True
            )
            saved = scene.folder / name / "kept-epoch=1.ckpt"
            scene.fit(trainer, ckpt_path=saved if epochs == 4 and len(parts) == 2 else None)
        curves.append(logger.curves)
    return {"parts": curves[0], "whole": curves[1], **told_of(callback)}


class Normed(Separable):
    """With a batch norm that synchronises over ranks while training."""

    def __init__(self) -> None:
        super().__init__()
        self.network.insert(1, nn.BatchNorm2d(2))
        self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.network(images)


def sync_batch_norm(scene: Scene) -> Any:
    """Only rank 0 explains a module that would wait for the others in training."""
    if rank_now() != 0:
        return None
    from lightning_vlmxai.explain import Explainer, LiveModel
    from samples import make_probe

    module = Normed().train()
    probes = [make_probe(i, Squares(8)[i][0]) for i in range(4)]
    found = Explainer()(LiveModel(module), probes)
    return [len(found), all(child.training for child in module.modules())]


def paid(scene: Scene) -> Any:
    """Both ranks write one call log, one cache and one account."""
    callback = scene.callback(make_judge(scene.base_url, concurrency=4), lag=0)
    scene.fit(scene.trainer(callback))
    return told_of(callback)


class NoKey(Unhurried):
    """Lacks something on rank 1."""

    def check(self) -> None:
        """Raise on rank 1."""
        if rank_now() == 1:
            raise ConfigurationError("Expected `KEY` to be set, got nothing. Set it.")


def faults(scene: Scene) -> Any:
    """A fault of one rank's set-up: in its judge's key, in its environment, in its data."""
    rank = rank_now()
    wrong_key = Verdict.unscored(UnscoredReason.AUTHENTICATION, "wrong key")
    judge = ScriptedJudge([wrong_key if rank == 1 else Verdict.scored(4)])
    told = {}
    for name, callback in (
        ("judge", scene.callback(judge)),
        ("check", scene.callback(NoKey())),
        ("layer", scene.callback(target_layer="nowhere" if rank == 1 else None)),
    ):
        with pytest.raises(VLMExplainError) as caught:
            scene.fit(scene.trainer(callback))
        told[name] = [caught.type.__name__, str(caught.value)]
    return told


def spawned(scene: Scene) -> Any:
    """Train on ranks that Lightning itself starts; what they wrote is left in the folder."""
    callback = scene.callback(ScriptedJudge(coarse), lag=1)
    trainer = scene.trainer(callback, strategy="ddp_spawn", devices=2)
    scene.fit(trainer)
    return {k: float(v) for k, v in trainer.callback_metrics.items() if "vlmxai" in k}


def audit(scene: Scene) -> Any:
    """Audit an odd number of rows, of which the sampler pads one; what it asked, and figures."""
    judge = ScriptedJudge(coarse)
    callback = VLMAuditCallback(judge, run_dir=scene.folder / "run")
    trainer = scene.trainer(callback)
    data = DataLoader(Squares(33, seed=1), batch_size=4)
    with patch.object(vlm_audit, "write_report"):
        (logged,) = trainer.validate(Separable(), data, verbose=False)
    return {
        "logged": {k: v for k, v in logged.items() if k.startswith("vlmxai")},
        "asked": sorted(request.probe_index for request in judge.requests),
        "repeated": callback.progress.repeated,
    }


def rank_now() -> int:
    """Return this process's rank."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def main() -> None:
    """Run scenarios in turn and write what this rank found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("scenarios", nargs="+")
    parser.add_argument("--base-url", default="")
    parser.add_argument("--ranks", type=int, default=2)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.ranks > 1:
        torch.distributed.init_process_group("gloo")
    found = {}
    for name in arguments.scenarios:
        scene = Scene(arguments.out / name, arguments.ranks, arguments.base_url)
        found[name] = globals()[name](scene)
    (arguments.out / f"rank{rank_now()}.json").write_text(json.dumps(found))
    if arguments.ranks > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()

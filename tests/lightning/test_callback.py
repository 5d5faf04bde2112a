"""`VLMExplainCallback` in a real Trainer."""

from __future__ import annotations

import json
import threading
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import IterableDataset, Subset

from lightning_vlmxai import (
    JudgeError,
    UnscoredReason,
    Verdict,
    VLMExplainCallback,
)
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.rounds.quadrants import DRIFTS, ROUND_METRICS
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Squares, TinyModule, loader, make_trainer

# Hardly trained, the tiny network has blank maps now and then.
pytestmark = pytest.mark.filterwarnings("ignore:.*blank_saliency")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def judge_threads() -> list[threading.Thread]:
    """Return the judge threads that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("vlmxai")]


def fit(tmp_path: Path, callback: VLMExplainCallback, **settings: Any) -> pl.Trainer:
    """Train for two epochs on squares and return the trainer."""
    torch.manual_seed(0)
    trainer = make_trainer(tmp_path, callback, **settings)
    trainer.fit(TinyModule(), loader(Squares(), shuffle=True), loader(Squares(16, seed=1)))
    return trainer


def test_every_metric_reaches_tensorboard_at_the_step_of_its_round(tmp_path: Path) -> None:
    """Event files hold every metric at the step after each epoch, and pictures and words."""
    logger = TensorBoardLogger(tmp_path)
    callback = VLMExplainCallback(probe_size=8, watch_classes=["red"])
    fit(tmp_path, callback, logger=logger, max_epochs=3)
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    for name in ROUND_METRICS:
        steps = [event.step for event in events.Scalars(f"vlmxai/{name}")]
        # Drift compares two rounds; three batches an epoch, the first is 0.
        assert steps in ([2, 5, 8], [5, 8]), name
        assert (steps == [5, 8]) == (name in DRIFTS), name
    assert {event.step for t in tags["images"] for event in events.Images(t)} == {2, 5, 8}
    assert {"vlmxai/finding/text_summary", "vlmxai/judge/4_correct_high/text_summary"} <= set(
        tags["tensors"]
    )
    assert {t for t in tags["scalars"] if t.startswith("vlmxai/")} <= set(callback.metric_names)


def test_run_folder_accounts_for_every_probe_in_every_round(tmp_path: Path) -> None:
    """Two rounds of eight probes give sixteen lines, each with a picture that is there."""
    callback = VLMExplainCallback(probe_size=8)
    fit(tmp_path, callback)
    assert callback.run_dir == tmp_path / "vlmxai"
    samples = read_lines(callback.run_dir / "samples.jsonl")
    assert len(samples) == 16
    assert len({(s["round"], s["probe"]) for s in samples}) == 16
    for sample in samples:
        assert (callback.run_dir / sample["image"]).is_file()
        assert (callback.run_dir / f"images/fit/{sample['probe']:06d}.png").is_file()
        assert sample["label_name"] in ("red", "blue")
        assert (sample["score"] is None) != (sample["reason"] is None)
    rounds = read_lines(callback.run_dir / "rounds.jsonl")
    assert [(r["number"], r["epoch"], r["step"]) for r in rounds] == [(0, 0, 2), (1, 1, 5)]
    settings = json.loads((callback.run_dir / "run.json").read_text())
    assert settings["alpha"] == 15.0
    assert settings["fingerprint"] == rounds[0]["fingerprint"]


def test_another_run_beside_the_same_logs_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    """Two runs are never mixed; a given folder is written on."""
    for name in ("vlmxai", "vlmxai-1"):
        callback = VLMExplainCallback(probe_size=4)
        fit(tmp_path, callback)
        assert callback.run_dir == tmp_path / name
        assert len(read_lines(tmp_path / name / "rounds.jsonl")) == 2
    fit(tmp_path, VLMExplainCallback(probe_size=4, run_dir=tmp_path / "vlmxai"))
    assert len(read_lines(tmp_path / "vlmxai" / "rounds.jsonl")) == 4


def test_monitors_see_round_n_minus_lag(tmp_path: Path) -> None:
    """At validation N the callback metric is that of round N - 1, whatever the judge's speed."""
    seen: list[float | None] = []

    class Watch(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if not trainer.sanity_checking:
                value = trainer.callback_metrics.get("vlmxai/average_score")
                seen.append(None if value is None else float(value))

    turn = iter([0] + [k for k in (1, 2, 3) for _ in range(4)])  # the rehearsal comes first
    judge = ScriptedJudge(lambda _: Verdict.scored(next(turn)), concurrency=1)
    torch.manual_seed(0)
    trainer = make_trainer(tmp_path, VLMExplainCallback(judge, probe_size=4), Watch(), max_epochs=3)
    trainer.fit(TinyModule(), loader(Squares()), loader(Squares(16, seed=1)))
    assert seen == [None, 1.0, 2.0]


def test_sanity_check_judges_one_probe_and_logs_nothing(tmp_path: Path) -> None:
    """Rehearsed before training: one request, no file, no metric."""
    judge = ScriptedJudge([Verdict.scored(5)])
    at_start: list[Any] = []

    class Look(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            logged = [n for n in trainer.callback_metrics if n.startswith("vlmxai")]
            at_start.append((len(judge.requests), [*(tmp_path / "vlmxai").iterdir()], logged))

    torch.manual_seed(0)
    trainer = make_trainer(tmp_path, VLMExplainCallback(judge, probe_size=4), Look())
    trainer.fit(TinyModule(), loader(Squares()), loader(Squares(16, seed=1)))
    assert at_start == [(1, [], [])]
    assert len(judge.requests) == 1 + 2 * 4


def test_without_a_sanity_check_the_rehearsal_is_at_the_first_validation(tmp_path: Path) -> None:
    """`num_sanity_val_steps=0` puts off the discovery of a broken judge until there are rows."""
    judge = ScriptedJudge([Verdict.unscored(UnscoredReason.AUTHENTICATION, "wrong key")])
    with pytest.raises(JudgeError, match=r"unscored \(authentication\): wrong key"):
        fit(tmp_path, VLMExplainCallback(judge, probe_size=4), num_sanity_val_steps=0)
    assert len(judge.requests) == 1


def test_fast_dev_run_rehearses_and_writes_nothing(tmp_path: Path) -> None:
    """One request is made, and no run folder."""
    judge = ScriptedJudge([Verdict.scored(5)])
    fit(tmp_path, VLMExplainCallback(judge, probe_size=4), fast_dev_run=True)
    assert len(judge.requests) == 1
    assert not (tmp_path / "vlmxai").exists()


def test_a_passing_failure_in_the_rehearsal_only_warns(tmp_path: Path) -> None:
    """A timeout may pass, so training goes on, with one warning that names the cause."""
    timeout = Verdict.unscored(UnscoredReason.TIMEOUT, "60 s")
    callback = VLMExplainCallback(ScriptedJudge([timeout]), probe_size=4)
    with pytest.warns(UserWarning, match=r"1 of 1 samples unscored \(timeout\): 60 s") as caught:
        trainer = fit(tmp_path, callback)
    assert sum("vlmxai" in str(w.message) for w in caught) == 1
    assert trainer.current_epoch == 2
    assert callback.latest_round is not None
    assert callback.latest_round.metrics["coverage"] == 0
    assert "vlmxai/correct_low_rate" not in trainer.callback_metrics


def test_judge_failures_raise_where_that_was_asked_for(tmp_path: Path) -> None:
    """`on_judge_error="raise"` ends training with the reason, and no thread is left."""
    judge = ScriptedJudge([Verdict.scored(5), Verdict.unscored(UnscoredReason.TIMEOUT, "60 s")])
    callback = VLMExplainCallback(judge, probe_size=4, on_judge_error="raise", lag=0)
    with pytest.raises(JudgeError, match=r"4 of 4 samples unscored \(timeout\): 60 s"):
        fit(tmp_path, callback)
    assert judge_threads() == []


def test_validate_and_test_wait_for_their_verdicts(tmp_path: Path) -> None:
    """Both return the round's figures, by different names, and both write the run folder."""
    torch.manual_seed(0)
    callback = VLMExplainCallback(probe_size=8)
    trainer = make_trainer(tmp_path, callback, inference_mode=True)
    module = TinyModule()
    (validated,) = trainer.validate(module, loader(Squares(16, seed=1)), verbose=False)
    (tested,) = trainer.test(module, loader(Squares(16, seed=2)), verbose=False)
    assert validated["vlmxai/coverage"] > 0.5
    assert tested["vlmxai/test/coverage"] > 0.5
    assert not any(name.startswith("vlmxai/test") for name in validated)
    stages = [r["stage"] for r in read_lines(tmp_path / "vlmxai" / "rounds.jsonl")]
    assert stages == ["validate", "test"]


def test_the_judge_never_sees_the_true_label(tmp_path: Path) -> None:
    """The request names the predicted class of its probe, right or wrong."""
    asked: list[JudgeRequest] = []

    def script(request: JudgeRequest) -> Verdict:
        asked.append(request)
        return Verdict.scored(5)

    mislabelled = Squares(16, seed=1)
    mislabelled.targets[::3] = [1 - label for label in mislabelled.targets[::3]]
    callback = VLMExplainCallback(ScriptedJudge(script), probe_size=16, lag=0)
    trainer = make_trainer(tmp_path, callback)
    trainer.fit(TinyModule(), loader(Squares()), loader(mislabelled))
    assert callback.latest_round is not None
    samples = {s.explanation.probe_index: s.explanation for s in callback.latest_round.samples}
    assert any(not e.is_correct for e in samples.values())  # or the test would say nothing
    for request in asked[-16:]:
        assert request.label_name == samples[request.probe_index].prediction_name


class Stream(IterableDataset[Any]):
    """The squares as a stream."""

    def __init__(self, count: int) -> None:
        self.squares = Squares(count, seed=1)
        self.transform = self.squares.transform

    def __iter__(self) -> Any:
        return (self.squares[i] for i in range(len(self.squares)))


def test_a_stream_gives_each_class_its_share(tmp_path: Path) -> None:
    """For an iterable data set the probes are rows of the first validation, by their places."""
    callback = VLMExplainCallback(probe_size=20, class_names=["red", "blue"])
    torch.manual_seed(0)
    trainer = make_trainer(tmp_path, callback, num_sanity_val_steps=1)
    trainer.fit(TinyModule(), loader(Squares()), loader(Stream(32)))
    samples = read_lines(tmp_path / "vlmxai" / "samples.jsonl")
    places = [s["probe"] for s in samples]
    assert len(set(places)) == 20
    assert places == 2 * sorted(set(places))
    stream = Squares(32, seed=1)
    assert [s["label"] for s in samples] == [stream.targets[place] for place in places]
    assert sum(s["label"] for s in samples) == 20


def test_probes_are_the_same_samples_in_every_round_and_run(tmp_path: Path) -> None:
    """Two runs with one seed explain the same probes; another seed explains others."""
    fingerprints = []
    for i, seed in enumerate((0, 0, 1)):
        callback = VLMExplainCallback(probe_size=6, seed=seed)
        fit(tmp_path / str(i), callback)
        rounds = read_lines(tmp_path / str(i) / "vlmxai" / "rounds.jsonl")
        (fingerprint,) = {r["fingerprint"] for r in rounds}
        fingerprints.append(fingerprint)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_resumed_run_counts_on_and_tells_of_another_probe_set(tmp_path: Path) -> None:
    """Rounds go on from the checkpoint; a changed validation set gives a warning."""
    checkpoint = ModelCheckpoint(tmp_path, filename="last")
    torch.manual_seed(0)
    trainer = make_trainer(
        tmp_path, VLMExplainCallback(probe_size=4), checkpoint, enable_checkpointing=True
    )
    trainer.fit(TinyModule(), loader(Squares()), loader(Squares(16, seed=1)))
    for seed, run_dir in ((1, tmp_path / "same"), (2, tmp_path / "other")):
        callback = VLMExplainCallback(probe_size=4, run_dir=run_dir)
        trainer = make_trainer(tmp_path, callback, max_epochs=3)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.fit(
                TinyModule(),
                loader(Squares()),
                loader(Squares(16, seed=seed)),
                ckpt_path=checkpoint.best_model_path,
            )
        # Round 1 was open when the checkpoint was saved; of other probes it can't be closed.
        written = [r["number"] for r in read_lines(run_dir / "rounds.jsonl")]
        assert written == ([1, 2] if seed == 1 else [2])
        told = [str(w.message) for w in caught if "probe set differs" in str(w.message)]
        assert len(told) == (seed == 2)


def test_any_lightning_logger_gets_the_scalars(tmp_path: Path) -> None:
    """A CSV logger holds the figures of both rounds."""
    logger = CSVLogger(tmp_path)
    fit(tmp_path, VLMExplainCallback(probe_size=4), logger=logger)
    text = (Path(logger.log_dir) / "metrics.csv").read_text()
    header, *rows = text.splitlines()
    column = header.split(",").index("vlmxai/coverage")
    assert [row.split(",")[column] for row in rows if row.split(",")[column]] == ["1.0", "1.0"]


def test_no_thread_outlives_the_fit(tmp_path: Path) -> None:
    """The judge's thread ends with success and with an exception in training."""

    class Broken(TinyModule):
        def on_train_epoch_end(self) -> None:
            raise RuntimeError("planted")

    fit(tmp_path, VLMExplainCallback(probe_size=4))
    assert judge_threads() == []
    trainer = make_trainer(tmp_path, VLMExplainCallback(probe_size=4))
    with pytest.raises(RuntimeError, match="planted"):
        trainer.fit(Broken(), loader(Squares()), loader(Squares(16, seed=1)))
    assert judge_threads() == []


def test_a_fit_without_validation_says_that_nothing_is_explained(tmp_path: Path) -> None:
    """Silence would look like success."""
    trainer = make_trainer(tmp_path, VLMExplainCallback(), limit_val_batches=0)
    with pytest.warns(UserWarning, match="no validation data, so nothing is explained"):
        trainer.fit(TinyModule(), loader(Squares()), loader(Squares()))


@pytest.mark.parametrize("lag", [0, 1])
def test_training_is_bit_identical_with_and_without_the_callback(tmp_path: Path, lag: int) -> None:
    """Weights, buffers, optimizer state and the next random number are equal to the last bit."""
    ends = []
    for callbacks in ([], [VLMExplainCallback(probe_size=8, lag=lag, run_dir=tmp_path / "runs")]):
        pl.seed_everything(0, verbose=False)
        trainer = make_trainer(tmp_path, *callbacks, max_epochs=3)
        module = TinyModule()
        trainer.fit(module, loader(Squares(), shuffle=True), loader(Squares(16, seed=1)))
        momenta = [s["momentum_buffer"] for s in trainer.optimizers[0].state.values()]
        ends.append([*module.state_dict().values(), *momenta, torch.rand(1)])
    assert (tmp_path / "runs" / "samples.jsonl").exists()
    assert len(ends[0]) == len(ends[1]) > 10
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_subset_is_read_through_to_its_data_set(tmp_path: Path) -> None:
    """Labels, class names and normalisation are found behind `Subset`."""
    torch.manual_seed(0)
    trainer = make_trainer(tmp_path, VLMExplainCallback(probe_size=4))
    subset = Subset(Squares(32, seed=1), list(range(4, 20)))
    trainer.fit(TinyModule(), loader(Squares()), loader(subset))
    samples = read_lines(tmp_path / "vlmxai" / "samples.jsonl")
    assert sorted(s["label_name"] for s in samples) == ["blue"] * 4 + ["red"] * 4


def test_loaders_that_are_made_late_are_no_missing_validation(tmp_path: Path) -> None:
    """Without a sanity check, and validating every second epoch, rounds come without a warning."""
    callback = VLMExplainCallback(probe_size=4)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*no validation data.*")
        fit(tmp_path, callback, max_epochs=4, num_sanity_val_steps=0, check_val_every_n_epoch=2)
    assert callback.latest_round is not None
    assert callback.latest_round.number == 1


def test_a_fit_ends_with_a_report_and_a_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page is in the run folder, the terminal says where; `validate()` sums itself up."""
    callback = VLMExplainCallback(ScriptedJudge([Verdict.scored(1)]), probe_size=4)
    trainer = fit(tmp_path, callback)
    assert callback.run_dir is not None
    report = callback.run_dir / "report.html"
    printed = capsys.readouterr().out
    assert "fit round 1, 4 of 4 probes judged" in printed
    assert str(report) in printed.replace("\n", "")
    assert report.read_text().startswith("<!doctype html>")
    trainer.validate(TinyModule(), loader(Squares(16, seed=1)), verbose=False)
    assert "validate round 0, " in capsys.readouterr().out


def test_a_report_that_fails_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fit ends as it would, and the summary says how to make the report."""

    def fail(_run_dir: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr("lightning_vlmxai.callbacks.publishing.write_report", fail)
    callback = VLMExplainCallback(ScriptedJudge([Verdict.scored(1)]), probe_size=4)
    with pytest.warns(UserWarning, match="Writing the report failed, so there is none"):
        trainer = fit(tmp_path, callback)
    assert trainer.state.finished
    assert "vlmxai report" in capsys.readouterr().out

"""Stages, folders and gates: what holds in every order of calls, and where several runs meet."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from curves import read_lines
from lightning_vlmxai import ConfigurationError, QuadrantStopping, VLMExplainCallback
from lightning_vlmxai.records import JudgeRequest, UnscoredReason, Verdict
from lightning_vlmxai.sinks import claim_folder
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Separable, Squares, loader, make_trainer


def make_callback(score: float = 4, **arguments: Any) -> VLMExplainCallback:
    """Return a callback that waits for each round."""
    judge = ScriptedJudge([Verdict.scored(score)])
    return VLMExplainCallback(judge, **{"probe_size": 4, "lag": 0, **arguments})


def loaders() -> tuple[Any, Any]:
    """Return a training and a validation loader."""
    return loader(Squares(16)), loader(Squares(16, seed=1))


def test_predict_works_and_explains_nothing(tmp_path: Path) -> None:
    """Before a fit and after it."""
    callback = make_callback()
    trainer = make_trainer(tmp_path, callback, max_epochs=1)
    module, (train, val) = Separable(), loaders()
    images = torch.utils.data.DataLoader([image for image, *_ in Squares(4)])  # type: ignore[arg-type, misc]
    assert len(trainer.predict(module, images) or []) == 4
    assert callback.latest_round is None
    trainer.fit(module, train, val)
    assert len(trainer.predict(module, images) or []) == 4
    assert callback.run_dir is not None
    assert len(read_lines(callback.run_dir / "rounds.jsonl")) == 1


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_fit_test_fit_writes_every_round_once(tmp_path: Path) -> None:
    """Also where `test` loads the best checkpoint in between."""
    callback = make_callback()
    trainer = make_trainer(tmp_path, callback, max_epochs=2, enable_checkpointing=True)
    module, (train, val) = Separable(), loaders()
    module.test_step = module.validation_step  # type: ignore[method-assign]
    trainer.fit(module, train, val)
    trainer.test(module, val, ckpt_path="best")
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module, train, val)
    assert callback.run_dir is not None
    rounds = read_lines(callback.run_dir / "rounds.jsonl")
    assert [(r["stage"], r["number"]) for r in rounds] == [
        ("fit", 0),
        ("fit", 1),
        ("test", 0),
        ("fit", 2),
        ("fit", 3),
    ]


def test_a_gate_takes_no_round_of_validate_for_the_fits(tmp_path: Path) -> None:
    """`validate()` first; the fit's round 0 still ends the run."""
    gate = QuadrantStopping(divergence_threshold=0.4)
    callback = make_callback(score=0)
    trainer = make_trainer(tmp_path, callback, gate, max_epochs=5)
    module, (train, val) = Separable(), loaders()
    trainer.validate(module, val)
    trainer.fit(module, train, val)
    assert trainer.current_epoch == 1


def test_a_class_gate_counts_its_own_probes(tmp_path: Path) -> None:
    """Two judged probes of a class are less than `min_judged=3`, whatever the others are."""
    monitor = "vlmxai/class/red/correct_low_rate"
    for min_judged, epochs in ((2, 1), (3, 4)):
        gate = QuadrantStopping(monitor, divergence_threshold=0.4, min_judged=min_judged)
        callback = make_callback(score=0, watch_classes=["red"], min_per_class=2)
        trainer = make_trainer(tmp_path / str(min_judged), callback, gate, max_epochs=4)
        if min_judged == 2:
            trainer.fit(Separable(), *loaders())
        else:
            told = "could not look at .*red.* in 3 rounds: 2 judged probes, of min_judged=3"
            with pytest.warns(UserWarning, match=told):
                trainer.fit(Separable(), *loaders())
        assert trainer.current_epoch == epochs


@pytest.mark.slow
def test_runs_that_start_at_once_get_a_folder_each(tmp_path: Path) -> None:
    """Eight processes, one place."""
    claim = (
        "import sys; from pathlib import Path; from lightning_vlmxai.sinks import claim_folder\n"
        "sys.stdin.read(); print(claim_folder(Path(sys.argv[1])))"
    )
    started = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", claim, str(tmp_path / "vlmxai")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    found = [process.communicate("go")[0].strip() for process in started]
    assert len(set(found)) == 8
    assert all(Path(folder).is_dir() for folder in found)
    assert claim_folder(tmp_path / "vlmxai") == tmp_path / "vlmxai-8"


def test_a_folder_that_another_run_holds_is_refused(tmp_path: Path) -> None:
    """With a line that works; once the other ends, it is free."""

    class Other(Separable):
        def on_validation_start(self) -> None:
            if self.trainer.sanity_checking:
                return
            trainer = make_trainer(tmp_path, make_callback(run_dir=tmp_path / "run"), max_epochs=1)
            with pytest.raises(ConfigurationError, match="one run writes to") as told:
                trainer.fit(Separable(), *loaders())
            self.line = str(told.value).split("`run_dir=")[-1].split("`")[0]

    module = Other()
    callback = make_callback(run_dir=tmp_path / "run")
    make_trainer(tmp_path, callback, max_epochs=1).fit(module, *loaders())
    for run_dir in (eval(module.line), tmp_path / "run"):  # noqa: S307 - our own line
        again = make_callback(run_dir=run_dir)
        make_trainer(tmp_path, again, max_epochs=1).fit(Separable(), *loaders())
        assert (Path(run_dir) / "rounds.jsonl").is_file()


def test_nothing_is_left_of_a_folder_in_which_nothing_was_written(tmp_path: Path) -> None:
    """A fit without a validation."""
    callback = make_callback()
    trainer = make_trainer(tmp_path, callback, max_epochs=1, limit_val_batches=0)
    with pytest.warns(UserWarning, match="no validation data"):
        trainer.fit(Separable(), *loaders())
    assert not (tmp_path / "vlmxai").exists()


def test_a_remote_store_is_told_of_and_a_local_folder_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures are files."""
    monkeypatch.chdir(tmp_path)
    callback = make_callback()
    trainer = make_trainer(tmp_path, callback, max_epochs=1)
    trainer._default_root_dir = "memory://runs"  # type: ignore[assignment]
    with pytest.warns(UserWarning, match=r"memory://.* is a remote store.*`run_dir="):
        trainer.fit(Separable(), *loaders())
    assert (tmp_path / "vlmxai" / "rounds.jsonl").is_file()


def test_a_folder_deleted_in_mid_run_is_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Later rounds have their pictures, the probes' own too; one line tells of it."""

    class Careless(Separable):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch in (1, 2):
                callback.state_dict()  # waits until the round before is written
                shutil.rmtree(tmp_path / "vlmxai")

    callback = make_callback()
    make_trainer(tmp_path, callback, max_epochs=3).fit(Careless(), *loaders())
    assert callback.run_dir is not None
    samples = read_lines(callback.run_dir / "samples.jsonl")
    assert {s["round"] for s in samples} == {2}
    assert all(
        (callback.run_dir / s[key]).is_file() for s in samples for key in ("image", "picture")
    )
    assert sum("was deleted" in record.message for record in caplog.records) == 1


@pytest.mark.filterwarnings("ignore:.*server_error")
def test_a_gate_that_nothing_is_judged_for_says_so_once(tmp_path: Path) -> None:
    """After three rounds without a figure."""

    def out(request: JudgeRequest) -> Verdict:
        return Verdict.unscored(UnscoredReason.SERVER_ERROR, "HTTP 503")

    callback = VLMExplainCallback(ScriptedJudge(out), probe_size=4, lag=0)
    gate = QuadrantStopping(divergence_threshold=0.4)
    trainer = make_trainer(tmp_path, callback, gate, max_epochs=5)
    with pytest.warns(UserWarning, match="could not look at") as told:
        trainer.fit(Separable(), *loaders())
    assert sum("could not look at" in str(w.message) for w in told) == 1

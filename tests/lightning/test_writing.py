"""What is written beside the training: the same as if it were written at once, and no less."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import killed_writer
import lightning_vlmxai
from curves import Unhurried, read_lines
from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.callbacks.publishing import Publisher
from lightning_vlmxai.callbacks.writing import Writer
from lightning_vlmxai.records import Round
from lightning_vlmxai.report import read_run
from lightning_vlmxai.sinks import RunFolderSink
from openai_server import OpenAIServer, verdict
from samples import make_round, make_sample
from tiny import Separable, Squares, loader, make_trainer

PATIENCE_S = 120.0
"""After which a thread is taken for one that never comes."""


def fit(folder: Path, *callbacks: pl.Callback) -> None:
    """Train with TensorBoard for four epochs."""
    pl.seed_everything(0, verbose=False)
    trainer = make_trainer(
        folder,
        VLMExplainCallback(Unhurried(), probe_size=4, run_dir=folder / "run"),
        *callbacks,
        max_epochs=4,
        logger=TensorBoardLogger(folder, "board", version=""),
    )
    trainer.fit(Separable(), loader(Squares()), loader(Squares(16, seed=1)))


def at_once(self: Writer, job: Callable[[], None]) -> Future[None]:
    """Do a job on the thread that asks, as if there were no writer: the oracle."""
    job()
    done: Future[None] = Future()
    done.set_result(None)
    return done


def points(folder: Path) -> dict[str, list[Any]]:
    """Return all that TensorBoard was given, by tag, with its step."""
    guide = {"images": 0, "tensors": 0, "scalars": 0}
    events = EventAccumulator(str(folder / "board"), guide).Reload()
    tags = events.Tags()
    found: dict[str, list[Any]] = {}
    for tag in tags["images"]:
        found[tag] = [(e.step, e.encoded_image_string) for e in events.Images(tag)]
    for tag in tags["scalars"]:
        found[tag] = [(e.step, e.value) for e in events.Scalars(tag)]
    for tag in tags["tensors"]:
        found[tag] = [(e.step, e.tensor_proto.SerializeToString()) for e in events.Tensors(tag)]
    return found


def files(folder: Path) -> dict[str, Any]:
    """Return what a run folder holds, without what clocks say and the page of both."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".jsonl":
            found[name] = [
                {k: v for k, v in x.items() if k != "latency_s"} for x in read_lines(path)
            ]
        elif path.is_file() and name != "report.html":
            found[name] = path.read_bytes()
    return found


def test_all_that_is_written_is_what_would_be_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points, steps, pictures, texts and files."""
    fit(tmp_path / "beside")
    monkeypatch.setattr(Writer, "do", at_once)
    fit(tmp_path / "at once")
    assert points(tmp_path / "beside") == points(tmp_path / "at once")
    beside, once = (files(tmp_path / name / "run") for name in ("beside", "at once"))
    assert beside == once
    assert len([name for name in beside if name.endswith(".png")]) > 4 * 4
    assert [line["number"] for line in beside["rounds.jsonl"]] == [0, 1, 2, 3]


def test_training_goes_on_while_a_round_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Round 0 waits in the run folder's sink until the third epoch trains."""
    trains = threading.Event()
    came: list[bool] = []
    write = RunFolderSink.write

    def wait(self: RunFolderSink, closed: Round) -> None:
        came.append(trains.wait(PATIENCE_S))
        write(self, closed)

    class Third(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 2:
                trains.set()

    monkeypatch.setattr(RunFolderSink, "write", wait)
    fit(tmp_path, Third())
    assert came == [True] * 4
    assert len(read_run(tmp_path / "run").rounds) == 4


def test_a_checkpoint_never_counts_a_round_that_is_not_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is asked for while the round is being written."""
    begun, asked = threading.Event(), threading.Event()
    write = RunFolderSink.write

    def wait(self: RunFolderSink, closed: Round) -> None:
        begun.set()
        asked.wait(PATIENCE_S)
        write(self, closed)

    seen: list[tuple[list[int], list[int]]] = []

    class Asks(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            (explain,) = (c for c in trainer.callbacks if isinstance(c, VLMExplainCallback))  # type: ignore[attr-defined]
            if trainer.sanity_checking or explain.latest_round is None:
                return
            begun.wait(PATIENCE_S)
            # Lets the writer go on only once the state is being asked for.
            threading.Timer(0.05, asked.set).start()
            state = explain.state_dict()["run"]["rounds"]
            still_open = [one["start"]["number"] for one in state["open"]]
            lines = read_lines(tmp_path / "run" / "rounds.jsonl")
            closed = sorted(set(range(state["next_number"])) - set(still_open))
            seen.append((closed, [line["number"] for line in lines]))
            if trainer.current_epoch + 1 < (trainer.max_epochs or 0):  # nobody asks at the end
                begun.clear()
                asked.clear()

    monkeypatch.setattr(RunFolderSink, "write", wait)
    fit(tmp_path, Asks())
    assert len(seen) >= 3
    assert all(closed == written for closed, written in seen)


def run(folder: Path, base_url: str, how: str) -> int:
    """Run the slow writer's fit; return its status."""
    here = Path(killed_writer.__file__).parent
    paths = [str(here), str(Path(lightning_vlmxai.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, killed_writer.__file__, str(folder), base_url, how]
    with (folder / "printed.txt").open("ab") as printed:
        return subprocess.call(  # noqa: S603
            command, env=environment, stdout=printed, stderr=printed, timeout=500
        )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "raise"])
def test_what_was_judged_is_kept_though_rounds_wait_to_be_written(tmp_path: Path, how: str) -> None:
    """The folder can be read, the next run goes on, and no closed round is paid for twice."""
    asked: list[tuple[str, bytes]] = []

    def answer(seen: Any) -> Any:
        asked.append((seen.label, b"".join(seen.picture_bytes)))
        return verdict(3)

    with OpenAIServer(answer) as server:
        assert run(tmp_path, server.base_url, how) != 0
        cut = read_run(tmp_path / "run")
        assert {r.number for r in cut.rounds} >= {0, 1}
        assert (tmp_path / "run" / "report.html").exists() == (how == "raise")
        assert run(tmp_path, server.base_url, "go on") == 0, (tmp_path / "printed.txt").read_text()
    whole = {line["number"]: line["judged"] for line in read_lines(tmp_path / "run/rounds.jsonl")}
    assert whole == dict.fromkeys(range(killed_writer.EPOCHS), killed_writer.PROBES)
    # The rehearsal's, and those of rounds 0 to 2: round 3 was still being judged.
    closed = set(asked[: 1 + 3 * killed_writer.PROBES])
    assert {asked.count(one) for one in closed} == {1}


def test_a_checkpoint_waits_for_late_verdicts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in no state: what is not in the folder by then could be lost."""
    kept: list[Round] = []

    def dawdle(self: RunFolderSink, late: Round) -> None:
        time.sleep(0.3)
        kept.append(late)

    monkeypatch.setattr(RunFolderSink, "write_late", dawdle)
    publisher = Publisher(run_dir=tmp_path, stage="fit", loggers=[], settings=dict)
    try:
        publisher.write(make_round(make_sample(score=4)))
        late = make_round(make_sample(score=1, index=1))
        publisher.write_late([late])
        publisher.settle()
        assert kept == [late]
    finally:
        publisher.close()


def test_no_thread_is_left_and_a_fault_of_a_sink_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it did when it was written at once."""

    def fail(self: RunFolderSink, closed: Round) -> None:
        raise OSError(f"no place for round {closed.number}")

    monkeypatch.setattr(RunFolderSink, "write", fail)
    with pytest.warns(UserWarning, match="no place for round 0"):
        fit(tmp_path)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("vlmxai")]


def test_jobs_are_done_in_order_and_a_fault_is_raised_where_they_are_waited_for() -> None:
    """Those after it are done all the same."""
    done: list[int] = []
    writer = Writer(waiting=2)

    def job(number: int) -> None:
        done.append(number)
        if number == 1:
            raise KeyError(number)

    writer.do(partial(job, 0))
    writer.do(partial(job, 1))
    writer.do(partial(job, 2))
    with pytest.raises(KeyError):
        writer.do(partial(job, 3))
    writer.do(partial(job, 4))
    writer.close()
    writer.close()
    assert done == [0, 1, 2, 4]


def test_no_more_waits_than_was_said() -> None:
    """The third job waits until the first is done."""
    may, begun = threading.Event(), threading.Event()
    writer, done = Writer(waiting=2), list[Any]()
    writer.do(lambda: (may.wait(PATIENCE_S), done.append(0))[1])
    writer.do(lambda: done.append(1))

    def third() -> None:
        begun.set()
        writer.do(lambda: done.append(2))
        done.append("asked")

    thread = threading.Thread(target=third)
    thread.start()
    begun.wait(PATIENCE_S)
    assert done == []
    may.set()
    thread.join(PATIENCE_S)
    writer.close()
    assert done.index(0) < done.index("asked")
    assert [one for one in done if one != "asked"] == [0, 1, 2]

"""When rounds are, when they are closed, and that a judge's speed changes nothing."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    RichProgressBar,
    TQDMProgressBar,
)

from curves import MemoryLogger, Steady, Unhurried, Watch, read_lines
from helpers_judge import make_judge
from lightning_vlmxai import QuadrantStopping, UnscoredReason, Verdict, VLMExplainCallback
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.testing import ScriptedJudge
from openai_server import OpenAIServer, verdict
from tiny import Separable, Squares, loader, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*blank_saliency", "ignore:.*ModelCheckpoint")


def run_of(tmp_path: Path, most_s: float, lag: int) -> tuple[Any, ...]:
    """Return all that a run logged and decided."""
    logger, watch = MemoryLogger(), Watch()
    gate = QuadrantStopping("vlmxai/average_score", mode="max", patience=3)
    stock = EarlyStopping("vlmxai/centre_shift", patience=5, strict=False)
    # It looks at every second epoch, by when there is a round for any of these lags.
    keep = ModelCheckpoint(tmp_path, monitor="vlmxai/average_score", mode="max", every_n_epochs=2)
    explain = VLMExplainCallback(Unhurried(most_s), probe_size=8, lag=lag)
    trainer = make_trainer(
        tmp_path,
        *(gate, stock, explain, watch, keep),
        enable_checkpointing=True,
        logger=logger,
        max_epochs=9,
        val_check_interval=2,
    )
    trainer.fit(Steady(), loader(Squares(32)), loader(Squares(16, seed=1)))
    best = Path(keep.best_model_path).name, keep.best_model_score
    ended = trainer.global_step, gate.stopped_epoch, gate.wait_count, stock.stopped_epoch
    return logger.curves, watch.seen, ended, best


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_the_judge_s_speed_changes_no_figure_step_or_decision(tmp_path: Path, lag: int) -> None:
    """Answers in 0 to 5 ms and in 0 to 200 ms: all logged, monitored, stopped, kept is equal."""
    fast, slow = (run_of(tmp_path / str(s), s, lag) for s in (0.005, 0.2))
    assert fast == slow
    curves, seen, ended, best = fast
    assert len(curves["vlmxai/average_score"]) > 3
    assert [bool(metrics) for metrics in seen[: lag + 1]] == [False] * lag + [True]
    assert ended[0] < 36  # a gate has fired: the comparison says something
    assert best[1] is not None


@pytest.mark.parametrize(
    ("every", "lag", "settings", "steps"),
    [
        (1, 1, {"val_check_interval": 2}, [1, 3, 5, 7]),
        (1, 5, {}, [3, 7]),
        (2, 1, {"val_check_interval": 1}, [1, 3, 5, 7]),
        (3, 0, {"val_check_interval": 1}, [2, 5]),
        (1, 1, {"limit_val_batches": 1}, [3, 7]),
        (1, 0, {"check_val_every_n_epoch": 2}, [7]),
        (1, 1, {"max_time": timedelta(days=1), "max_epochs": 2}, [3, 7]),
    ],
)
def test_rounds_are_at_every_nth_validation(
    tmp_path: Path, every: int, lag: int, settings: dict[str, Any], steps: list[int]
) -> None:
    """Counted over the run, whatever the epochs; each is written by its own step."""
    explain = VLMExplainCallback(
        ScriptedJudge([Verdict.scored(5)]), probe_size=4, lag=lag, every_n_validations=every
    )
    watch = Watch()
    trainer = make_trainer(tmp_path, explain, watch, **settings)
    trainer.fit(Separable(), loader(Squares(32)), loader(Squares(16, seed=1)))
    assert explain.run_dir is not None
    rounds = read_lines(explain.run_dir / "rounds.jsonl")
    assert [(r["number"], r["step"]) for r in rounds] == list(enumerate(steps))
    first = next((i for i, metrics in enumerate(watch.seen) if metrics), len(watch.seen))
    # The round of number `lag` closes the first.
    assert first == min(every * (lag + 1) - 1, len(watch.seen))


def test_a_run_that_time_ends_still_drains(tmp_path: Path) -> None:
    """`max_time` ends it after a first validation; its round is written."""
    explain = VLMExplainCallback(Unhurried(0.05), probe_size=4)
    trainer = make_trainer(
        tmp_path, explain, max_time=timedelta(0), max_epochs=9, limit_train_batches=2, min_epochs=1
    )
    trainer.fit(Separable(), loader(Squares(32)), loader(Squares(16, seed=1)))
    assert explain.run_dir is not None
    (only,) = read_lines(explain.run_dir / "rounds.jsonl")
    assert (only["step"], only["coverage"]) == (trainer.global_step - 1, 1)


@pytest.mark.parametrize("every", [0, -1])
def test_a_pace_of_no_validations_is_refused(every: int) -> None:
    """The message says what it may be."""
    with pytest.raises(ConfigurationError, match="`every_n_validations` to be at least 1"):
        VLMExplainCallback(every_n_validations=every)


class SlowAtFirst(ScriptedJudge):
    """Answers nothing of the first round before it is let."""

    def __init__(self) -> None:
        super().__init__([Verdict.scored(4)], concurrency=2)
        self.leave = threading.Event()

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Return a verdict, at first too late."""
        while request.round_number == 0 and not self.leave.is_set():
            await asyncio.sleep(0.001)
        return await super().judge(request)


@pytest.mark.filterwarnings("ignore:.*unscored .deadline")
def test_a_late_verdict_is_written_apart_and_counted_nowhere(tmp_path: Path) -> None:
    """The round keeps its gap; `late.jsonl` has what was sent; the next rounds are whole."""
    gate = QuadrantStopping("vlmxai/average_score", mode="max", patience=9)
    judge = SlowAtFirst()
    let = LambdaCallback(
        on_train_epoch_start=lambda trainer, _: trainer.current_epoch and judge.leave.set()
    )
    explain = VLMExplainCallback(judge, probe_size=4, lag=0, deadline_s=1.0)
    logger = MemoryLogger()
    trainer = make_trainer(tmp_path, explain, gate, let, max_epochs=3, logger=logger)
    trainer.fit(Separable(), loader(Squares(16)), loader(Squares(16, seed=1)))
    assert explain.run_dir is not None
    samples = read_lines(explain.run_dir / "samples.jsonl")
    late = read_lines(explain.run_dir / "late.jsonl")
    assert [s["reason"] for s in samples if s["round"] == 0] == ["deadline"] * 4
    assert len(late) == 2  # two were sent, two were not
    assert all(line["is_late"] and line["score"] == 4 for line in late)
    twins = {s["probe"]: s for s in samples if s["round"] == 0}
    for line in late:
        twin = twins[line["probe"]]
        gone = {"reference", "reference_mask"}  # the masks are
        same = twin.keys() - {"score", "quadrant", "reason", "detail", "latency_s", *gone}
        assert {k: line[k] for k in same} == {k: twin[k] for k in same}
        assert (explain.run_dir / line["image"]).is_file()
    assert logger.curves["vlmxai/coverage"] == {1: 0, 3: 1, 5: 1}
    assert 2 not in logger.curves["vlmxai/average_score"]
    assert gate.wait_count == 1  # round 2, no better than round 1


@pytest.mark.filterwarnings("ignore:.*unscored .deadline")
def test_a_late_verdict_is_not_paid_for_again(tmp_path: Path) -> None:
    """What came after its deadline, at the end of the fit, is in the cache of the next run."""
    with OpenAIServer(lambda _: verdict(4)) as server:
        asked_for = []

        def slowly(request: Any) -> Any:
            asked_for.append(request)
            if len(asked_for) > 1:  # the rehearsal was quick: two at a time from then on
                server.closing.wait(5.0)
            return verdict(4)

        server.answer = slowly
        for _ in range(2):
            torch.manual_seed(0)
            explain = VLMExplainCallback(
                make_judge(server.base_url, timeout_s=60.0, call_timeout_s=60.0, concurrency=8),
                probe_size=2,
                deadline_s=4.0,
                run_dir=tmp_path / "run",
            )
            trainer = make_trainer(tmp_path, explain, max_epochs=1)
            trainer.fit(Separable(), loader(Squares(16)), loader(Squares(16, seed=1)))
    samples = read_lines(tmp_path / "run" / "samples.jsonl")
    assert [s["reason"] for s in samples] == ["deadline"] * 2 + [None] * 2
    assert len(read_lines(tmp_path / "run" / "late.jsonl")) == 2
    assert all(s["is_cached"] for s in samples[2:])


def test_a_judge_that_is_out_leaves_a_gap_and_burns_no_patience(tmp_path: Path) -> None:
    """Rounds 3 to 5 are unscored: training goes on, coverage shows it, the gate does not fire."""

    def script(request: JudgeRequest) -> Verdict:
        if 3 <= request.round_number <= 5:
            return Verdict.unscored(UnscoredReason.SERVER_ERROR, "HTTP 503")
        return Verdict.scored(4 if request.round_number < 3 else 3)

    # Three checks of a stale value would end the run, and so would a zero.
    gate = QuadrantStopping(
        "vlmxai/average_score", mode="max", patience=5, divergence_threshold=1.0
    )
    explain = VLMExplainCallback(ScriptedJudge(script), probe_size=4)
    logger = MemoryLogger()
    trainer = make_trainer(tmp_path, explain, gate, max_epochs=9, logger=logger)
    with (
        pytest.warns(UserWarning, match="could not look at vlmxai/average_score in 3 rounds"),
        pytest.warns(UserWarning, match="4 of 4 samples unscored .server_error") as caught,
    ):
        trainer.fit(Separable(), loader(Squares(16)), loader(Squares(16, seed=1)))
    assert sum("vlmxai" in str(w.message) for w in caught) == 2
    assert trainer.current_epoch == 9
    step = [2 * n + 1 for n in range(9)]
    out = [1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert logger.curves["vlmxai/coverage"] == dict(zip(step, out, strict=True))
    judged = [s for s, is_in in zip(step, out, strict=True) if is_in]
    for name in ("average_score", "correct_low_rate", "low_given_correct"):
        assert list(logger.curves[f"vlmxai/{name}"]) == judged
    assert logger.curves["vlmxai/score_drift"] == {3: 0, 5: 0, 13: 1, 15: 0, 17: 0}
    # Round 0 is the best; 1, 2, 6 and 7 came in before a validation; 8 only at the end.
    assert gate.wait_count == 4


class Terminal(io.StringIO):
    """Looks like one."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


@pytest.mark.parametrize("bar", [TQDMProgressBar, RichProgressBar, None])
def test_the_end_of_a_fit_shows_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bar: Any
) -> None:
    """In the bar that the trainer has; nothing where it has none."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(sys, "stdout", shown)
    explain = VLMExplainCallback(Unhurried(0.3), probe_size=4)
    trainer = make_trainer(
        tmp_path,
        *([explain, bar()] if bar else [explain]),
        enable_progress_bar=bar is not None,
        max_epochs=1,
    )
    trainer.fit(Separable(), loader(Squares(16)), loader(Squares(16, seed=1)))
    assert ("Waiting for verdicts" in shown.getvalue()) == (bar is not None)
    if bar is not None:
        assert "4/4" in shown.getvalue().split("Waiting for verdicts")[-1]

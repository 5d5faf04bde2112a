"""`QuadrantStopping` in a real Trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightning_vlmxai import (
    ConfigurationError,
    QuadrantStopping,
    UnscoredReason,
    Verdict,
    VLMExplainCallback,
)
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Separable, Squares, TinyModule, loader, make_trainer

PROBES = 4
pytestmark = pytest.mark.filterwarnings("ignore:.*unscored")


def rounds_judge(score_of: Callable[[int], Verdict]) -> ScriptedJudge:
    """Return a judge whose verdicts depend on the round; the rehearsal comes before round 0."""
    judge = ScriptedJudge(lambda _: score_of((len(judge.requests) - 2) // PROBES), concurrency=1)
    return judge


def run(
    tmp_path: Path,
    judge: ScriptedJudge,
    gate: QuadrantStopping,
    *,
    lag: int = 1,
    min_epochs: int | None = None,
) -> int:
    """Return how many epochs were trained out of at most six."""
    torch.manual_seed(0)
    explain = VLMExplainCallback(judge, probe_size=PROBES, lag=lag)
    trainer = make_trainer(tmp_path, gate, explain, max_epochs=6, min_epochs=min_epochs)
    trainer.fit(Separable(), loader(Squares()), loader(Squares(16, seed=1)))
    return trainer.current_epoch


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_the_gate_ends_the_run_lag_validations_after_the_round(tmp_path: Path, lag: int) -> None:
    """Round 2 is the first with wrong reasons, so the run ends with epoch 2 + lag."""
    judge = rounds_judge(lambda n: Verdict.scored(0 if n >= 2 else 5))
    gate = QuadrantStopping("vlmxai/correct_low_rate", divergence_threshold=0.4)
    assert run(tmp_path, judge, gate, lag=lag) == 3 + lag
    assert gate.stopped_epoch == 2 + lag


def test_the_epoch_in_which_the_gate_fired_stands_while_min_epochs_keep_the_run_going(
    tmp_path: Path,
) -> None:
    """Round 1 fires the gate; rounds 2 to 4, as bad, don't move the epoch in which it did."""
    judge = rounds_judge(lambda n: Verdict.scored(0 if n >= 1 else 5))
    gate = QuadrantStopping("vlmxai/correct_low_rate", divergence_threshold=0.4)
    assert run(tmp_path, judge, gate, lag=0, min_epochs=5) == 5
    assert gate.stopped_epoch == 1


def test_a_sound_run_is_not_ended(tmp_path: Path) -> None:
    """A rate that stays at 0 is no lack of improvement."""
    gate = QuadrantStopping(divergence_threshold=0.4)
    assert run(tmp_path, rounds_judge(lambda _: Verdict.scored(5)), gate) == 6
    assert gate.stopped_epoch == 0


def test_rounds_that_were_not_judged_burn_no_patience(tmp_path: Path) -> None:
    """With patience 2, three rounds without a judge don't stop; two judged ones do."""
    timeout = Verdict.unscored(UnscoredReason.TIMEOUT)

    def outage(n: int) -> Verdict:
        return timeout if 1 <= n <= 3 else Verdict.scored(5)

    gate = QuadrantStopping("vlmxai/average_score", mode="max", patience=2)
    assert run(tmp_path, rounds_judge(outage), gate, lag=0) == 6
    assert gate.wait_count == 2  # rounds 4 and 5, no better than round 0
    gate = QuadrantStopping("vlmxai/average_score", mode="max", patience=2)
    assert run(tmp_path, rounds_judge(lambda _: Verdict.scored(5)), gate, lag=0) == 3


def test_an_outage_neither_stops_nor_repeats_the_last_value(tmp_path: Path) -> None:
    """A stale value beyond the threshold is not checked again: nothing is judged after round 0."""
    judge = rounds_judge(
        lambda n: Verdict.scored(5) if n <= 0 else Verdict.unscored(UnscoredReason.TIMEOUT)
    )
    gate = QuadrantStopping("vlmxai/average_score", mode="min", patience=1)
    assert run(tmp_path, judge, gate, lag=0) == 6
    assert gate.wait_count == 0


@pytest.mark.parametrize(
    ("monitor", "nearest"),
    [("vlmxai/correct_low", "vlmxai/correct_low_rate"), ("val_loss", "vlmxai/cost")],
)
def test_a_metric_that_is_never_logged_is_refused_with_the_nearest(
    tmp_path: Path, monitor: str, nearest: str
) -> None:
    """The message names what is wrong and what was probably meant."""
    message = rf"Expected `monitor` to be a metric .* got '{monitor}'. Nearest are .*{nearest}"
    with pytest.raises(ConfigurationError, match=message):
        run(tmp_path, ScriptedJudge([Verdict.scored(5)]), QuadrantStopping(monitor))


def test_a_class_that_is_not_watched_is_refused(tmp_path: Path) -> None:
    """A class's metric needs the class in `watch_classes`."""
    gate = QuadrantStopping("vlmxai/class/red/correct_low_rate")
    with pytest.raises(ConfigurationError, match=r"needs? its name in `watch_classes`"):
        run(tmp_path, ScriptedJudge([Verdict.scored(5)]), gate)


def test_without_the_callback_it_says_what_to_add(tmp_path: Path) -> None:
    """QuadrantStopping alone has no rounds to count."""
    trainer = make_trainer(tmp_path, QuadrantStopping())
    with pytest.raises(ConfigurationError, match=r"with a VLMExplainCallback.*Add one"):
        trainer.fit(TinyModule(), loader(Squares()), loader(Squares()))

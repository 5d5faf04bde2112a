"""`QuadrantStopping` in a real Trainer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_vlmxai import (
    ConfigurationError,
    QuadrantStopping,
    UnscoredReason,
    Verdict,
    VLMExplainCallback,
)
from lightning_vlmxai.report import write_report
from lightning_vlmxai.testing import ScriptedJudge
from run_folders import unpack
from tiny import MEAN, STD, Separable, Squares, TinyModule, loader, make_trainer

PROBES = 4
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*unscored"),
    pytest.mark.filterwarnings("ignore:.*could not look at"),
]


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
    module: type[Separable] = Separable,
) -> int:
    """Return how many epochs were trained out of at most six."""
    torch.manual_seed(0)
    explain = VLMExplainCallback(judge, probe_size=PROBES, lag=lag)
    trainer = make_trainer(tmp_path, gate, explain, max_epochs=6, min_epochs=min_epochs)
    trainer.fit(module(), loader(Squares()), loader(Squares(16, seed=1)))
    return trainer.current_epoch


class Still(Separable):
    """Is right on every square, by red less blue in the pictures' own units, and stays so."""

    def __init__(self) -> None:
        super().__init__()
        self.network[0] = torch.nn.Conv2d(3, 2, 1)
        red, _, blue = STD
        weight, bias = torch.tensor([[red, 0, -blue], [-red, 0, blue]]), MEAN[0] - MEAN[2]
        with torch.no_grad():
            self.network[0].weight[:] = weight[:, :, None, None]
            self.network[0].bias[:] = torch.tensor([bias, -bias])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return one that does not move."""
        return torch.optim.SGD(self.parameters(), lr=0.0)


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


def test_a_gate_that_fired_is_in_the_folder_and_on_top_of_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When, by which figure and limit; a run whose gate did not fire has no such line."""
    judge = rounds_judge(lambda n: Verdict.scored(0 if n >= 2 else 5))
    gate = QuadrantStopping("vlmxai/correct_low_rate", divergence_threshold=0.4)
    explain = VLMExplainCallback(judge, probe_size=PROBES, lag=1)
    torch.manual_seed(0)
    trainer = make_trainer(tmp_path, gate, explain, max_epochs=6)
    trainer.fit(Still(), loader(Squares()), loader(Squares(16, seed=1)))
    assert explain.run_dir is not None
    (line,) = [json.loads(t) for t in (explain.run_dir / "gate.jsonl").read_text().splitlines()]
    assert (line["round"], line["epoch"], line["value"]) == (2, 2, 1.0)
    said = "The gate fired in epoch 3: vlmxai/correct_low_rate = 1.000"
    assert line["text"].startswith(said)
    found = unpack(write_report(explain.run_dir).read_text())["findings"]
    assert found[0]["text"].startswith("Correct-Low is 4 of 4 in epoch 3")
    assert found[-1]["text"].startswith(said)
    assert said in capsys.readouterr().out


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


@pytest.mark.parametrize(
    ("settings", "stops"),
    [
        ({"bound": "point"}, True),
        # Two of four: Wilson's interval is 0.15 to 0.85.
        ({"bound": "lower"}, False),
        ({"bound": "upper"}, True),
        ({"bound": "lower", "divergence_threshold": 0.14}, True),
        ({"bound": "lower", "divergence_threshold": 0.16}, False),
        ({"bound": "lower", "monitor": "vlmxai/low_given_correct"}, False),
        ({"min_judged": 4}, True),
        ({"min_judged": 5}, False),
        ({"min_coverage": 1.0}, True),
    ],
)
def test_the_gate_looks_at_what_it_was_told_to(
    tmp_path: Path, settings: dict[str, Any], stops: bool
) -> None:
    """An end of the interval, enough probes, enough of them judged."""
    low = iter([0, 0, 5, 5] * 100)
    judge = ScriptedJudge(lambda r: Verdict.scored(5 if r.round_number < 0 else next(low)))
    gate = QuadrantStopping(**{"divergence_threshold": 0.3, **settings})
    assert run(tmp_path, judge, gate, lag=0, module=Still) == (1 if stops else 6)


@pytest.mark.parametrize(("min_coverage", "epochs"), [(0.75, 1), (0.76, 6)])
def test_rounds_with_too_small_a_coverage_neither_stop_nor_burn_patience(
    tmp_path: Path, min_coverage: float, epochs: int
) -> None:
    """Three of four are judged, all Low."""
    timeout = Verdict.unscored(UnscoredReason.TIMEOUT)
    turn = iter([timeout, *[Verdict.scored(0)] * 3] * 100)
    judge = ScriptedJudge(
        lambda r: Verdict.scored(0) if r.round_number < 0 else next(turn), concurrency=1
    )
    gate = QuadrantStopping(divergence_threshold=0.9, patience=1, min_coverage=min_coverage)
    assert run(tmp_path, judge, gate, lag=0, module=Still) == epochs
    assert gate.wait_count == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bound": "middle"}, "`bound` to be one of point, lower, upper, got 'middle'"),
        (
            {"bound": "lower", "monitor": "vlmxai/average_score"},
            r"got 'lower' of 'vlmxai/average_score'. Those with one are correct_low_rate, low_gi",
        ),
        ({"min_coverage": 1.5}, r"`min_coverage` to be in \[0, 1\], got 1.5"),
        ({"min_judged": 0}, "`min_judged` to be at least 1, got 0"),
    ],
)
def test_a_gate_that_can_t_be_is_refused(settings: dict[str, Any], message: str) -> None:
    """Each message says what may be passed."""
    with pytest.raises(ConfigurationError, match=message):
        QuadrantStopping(**settings)


def test_why_the_run_ends_is_told_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Metric, value, interval, limit, round, epoch, step, number judged, what to do."""
    judge = rounds_judge(lambda n: Verdict.scored(0 if n >= 2 else 5))
    gate = QuadrantStopping(divergence_threshold=0.4, bound="lower")
    with caplog.at_level("INFO"):
        run(tmp_path, judge, gate, module=Still)
    (told,) = [r.message for r in caplog.records if "QuadrantStopping ends" in r.message]
    assert told == (
        "vlmxai: QuadrantStopping ends the run: vlmxai/correct_low_rate = 1.000 (95 % interval "
        "0.510 to 1.000) is by its lower end above 0.4. It is that of round 2 (epoch 2, step 8) "
        "with 4 of 4 probes judged. Look at its samples in the run folder or the logger: if the "
        "model attends to a shortcut, mend the training data of these classes; if it does not, "
        "raise the limit and resume from the last checkpoint."
    )
    caplog.clear()
    patient = QuadrantStopping("vlmxai/average_score", mode="max", patience=2)
    with caplog.at_level("INFO"):
        run(tmp_path, rounds_judge(lambda _: Verdict.scored(5)), patient)
    assert "vlmxai/average_score = 5.000 has not improved in 2 rounds. It is" in caplog.text


def test_a_round_is_counted_once_also_after_a_resumption() -> None:
    """The state holds the last round that was seen."""
    gate, resumed = QuadrantStopping(patience=3), QuadrantStopping(patience=3)
    gate._seen = 4
    resumed.load_state_dict(gate.state_dict())
    assert resumed._seen == 4


@pytest.mark.parametrize("lag", [0, 1])
def test_a_gate_looks_at_each_round_of_a_second_fit(tmp_path: Path, lag: int) -> None:
    """Whose rounds count from 0 again: none is taken for one of the first fit."""
    gate = QuadrantStopping(divergence_threshold=0.9)
    ends = []
    for fold in range(2):
        judge = ScriptedJudge([Verdict.scored(0)])
        ends.append(run(tmp_path / str(fold), judge, gate, lag=lag, module=Still))
    assert ends == [1 + lag] * 2
    explain = VLMExplainCallback(ScriptedJudge([Verdict.scored(0)]), probe_size=PROBES, lag=lag)
    for fold in range(2):
        trainer = make_trainer(tmp_path / f"same-{fold}", gate, explain, max_epochs=6)
        trainer.fit(Still(), loader(Squares()), loader(Squares(16, seed=1)))
        assert trainer.current_epoch == 1 + lag


class Flips(Still):
    """Is wrong on every square from the second epoch on."""

    def on_train_epoch_start(self) -> None:
        """Turn around."""
        if self.current_epoch == 1:
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.neg_()


def test_a_judged_round_without_the_figure_does_not_count(tmp_path: Path) -> None:
    """P(Low | correct) is known for round 0 alone: its old value burns no patience afterwards."""
    gate = QuadrantStopping("vlmxai/low_given_correct", patience=1)
    judge = ScriptedJudge([Verdict.scored(0)])
    assert run(tmp_path, judge, gate, lag=0, module=Flips) == 6
    assert (gate.wait_count, float(gate.best_score)) == (0, 1.0)

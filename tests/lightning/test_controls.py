"""`VLMExplainCallback(controls=)`: a judge is tested with each round, and its fall is told."""

from __future__ import annotations

import asyncio
import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from curves import MemoryLogger, Unhurried, read_lines
from helpers_judge import make_judge
from lightning_vlmxai import (
    Budget,
    ConfigurationError,
    QuadrantStopping,
    ReferenceMaskJudge,
    VLMExplainCallback,
)
from lightning_vlmxai.judges import overlap_score
from lightning_vlmxai.records import JudgeRequest, Verdict
from lightning_vlmxai.testing import ScriptedJudge
from openai_server import OpenAIServer, verdict
from tiny import Separable, Squares, loader, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*unscored", "ignore:.*different pictures")

PROBES, CONTROLS = 8, 8


def truth(request: JudgeRequest) -> float:
    """Return what a judge says who sees colour and place of the square."""
    assert request.reference_mask is not None
    red, _, blue = request.pixels[:, request.reference_mask].mean(dim=1).tolist()
    is_named = request.label_name == ("red" if red > blue else "blue")
    return overlap_score(request.mask, request.reference_mask) if is_named else 0.5


def constant(request: JudgeRequest) -> float:
    """Return 1 for everything: all is Low."""
    return 1.0


def by_label(request: JudgeRequest) -> float:
    """Return what the name brings to mind."""
    return 4.0 if request.label_name == "red" else 1.0


def at_random(request: JudgeRequest) -> float:
    """Return anything, the same for the same picture."""
    return random.Random(request.mask.numpy().tobytes()).choice([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])  # noqa: S311


def falling(after: Callable[[JudgeRequest], float], at: int) -> ScriptedJudge:
    """Return a judge that is good until a round."""
    return ScriptedJudge(
        lambda request: Verdict.scored((truth if request.round_number < at else after)(request))
    )


def fit(
    folder: Path, judge: Any, *callbacks: Any, epochs: int = 4, **settings: Any
) -> tuple[VLMExplainCallback, MemoryLogger, int]:
    """Train on squares; return the callback, what was logged, and the number of epochs."""
    torch.manual_seed(0)
    logger = MemoryLogger()
    settings = {"probe_size": PROBES, "run_dir": folder / "vlmxai", **settings}
    explain = VLMExplainCallback(judge, **settings)
    trainer = make_trainer(folder, *callbacks, explain, max_epochs=epochs, logger=logger)
    trainer.fit(Separable(), loader(Squares()), loader(Squares(16, seed=1)))
    return explain, logger, trainer.current_epoch


@pytest.mark.parametrize("lag", [0, 1])
def test_controls_count_in_no_rate_and_are_kept_apart(tmp_path: Path, lag: int) -> None:
    """All other figures and samples are those of a run without them."""
    _, without, _ = fit(tmp_path / "without", Unhurried(), lag=lag)
    explain, logger, _ = fit(tmp_path / "with", Unhurried(), lag=lag, controls=CONTROLS)
    ours = {name for name in logger.curves if name.startswith("vlmxai/judge/")}
    assert {n: c for n, c in logger.curves.items() if n not in ours} == without.curves
    assert ours <= set(explain.metric_names)
    assert {len(logger.curves[name]) for name in ours} == {4}
    assert "vlmxai/judge/auc" in ours
    one, other = tmp_path / "with" / "vlmxai", tmp_path / "without" / "vlmxai"

    def samples(folder: Path) -> list[dict[str, Any]]:
        lines = read_lines(folder / "samples.jsonl")
        return [{k: v for k, v in line.items() if k != "latency_s"} for line in lines]

    assert samples(one) == samples(other)
    lines = read_lines(one / "controls.jsonl")
    assert [(line["round"], line["control"]) for line in lines] == [
        (number, control) for number in range(4) for control in range(CONTROLS)
    ]
    assert {line["kind"] for line in lines} == {"object", "elsewhere", "shuffled", "other label"}
    assert all((one / line["image"]).is_file() for line in lines)
    assert all((line["right_answer"] == "High") == (line["kind"] == "object") for line in lines)
    assert not (other / "controls.jsonl").exists()
    assert not any("judge/" in name for name in VLMExplainCallback().metric_names)
    assert "controls" not in json.loads((other / "run.json").read_text())
    pages = [(folder / "report.html").read_text() for folder in (one, other)]
    assert ['id="judge-controls"' in page for page in pages] == [True, False]


def test_controls_are_drawn_anew_each_round(tmp_path: Path) -> None:
    """Also of a model that stays, so that no stored answer is theirs; the rehearsal has none."""
    judge = ScriptedJudge(lambda request: Verdict.scored(truth(request)))

    class Still(Separable):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    explain = VLMExplainCallback(
        judge, probe_size=PROBES, controls=CONTROLS, run_dir=tmp_path / "a"
    )
    trainer = make_trainer(tmp_path, explain, max_epochs=4)
    trainer.fit(Still(), loader(Squares()), loader(Squares(16, seed=1)))
    assert sum(request.round_number < 0 for request in judge.requests) == 1
    of_round = [[r for r in judge.requests if r.round_number == n] for n in range(4)]
    assert [len(requests) for requests in of_round] == [PROBES + CONTROLS] * 4
    shown = {
        (r.label_name, (255 * r.pixels * r.mask).round().numpy().tobytes())
        for requests in of_round
        for r in requests
    }
    assert len(shown) == PROBES + 4 * CONTROLS
    assert explain.latest_round is not None
    assert explain.latest_round.metrics["judge/auc"] == 1.0


@pytest.mark.parametrize("after", [constant, by_label, at_random])
def test_a_fall_is_told_and_the_gate_does_not_act_on_it(
    tmp_path: Path, after: Callable[[JudgeRequest], float]
) -> None:
    """Good for five rounds; without the gate's condition the run would end by what it says."""

    def run(name: str, **settings: Any) -> tuple[int, MemoryLogger, list[str]]:
        gate = QuadrantStopping(divergence_threshold=0.2, **settings)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _, logger, epochs = fit(
                tmp_path / name, falling(after, 5), gate, epochs=9, lag=0, controls=CONTROLS
            )
        return epochs, logger, [str(w.message) for w in caught]

    ended, *_ = run("believed")
    assert ended == 6
    epochs, logger, told = run("tested", min_judge_auc=0.75)
    assert epochs == 9
    falls = [line for line in told if "worse than at first" in line]
    assert len(falls) == 1
    alarms = list(logger.curves["vlmxai/judge/alarm"].values())
    assert alarms[:5] == [0.0] * 5
    assert 1.0 in alarms[5:7]
    assert any("QuadrantStopping could not look" in line and "judge" in line for line in told)
    page = (tmp_path / "tested" / "vlmxai" / "report.html").read_text()
    assert "worse than at first" in page


def test_the_first_bad_round_does_not_count_yet_without_an_alarm(tmp_path: Path) -> None:
    """Its own controls say so, while the last rounds' together are still well."""
    gate = QuadrantStopping(divergence_threshold=0.2, min_judge_auc=0.75)
    _, logger, epochs = fit(
        tmp_path, falling(constant, 2), gate, epochs=3, lag=0, controls=CONTROLS
    )
    assert epochs == 3
    assert gate.stopped_epoch == 0
    assert set(logger.curves["vlmxai/judge/alarm"].values()) == {0.0}
    assert [auc >= 0.75 for auc in logger.curves["vlmxai/judge/auc"].values()] == [True] * 3


class PlantedError(RuntimeError):
    """Ends a run where it stands."""


class Accident(pl.Callback):
    """Raises in the third epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 2:
            raise PlantedError


def test_what_closes_in_an_accident_is_looked_at_again(tmp_path: Path) -> None:
    """The state that is saved then has the watch as it was, and the round open."""
    explain = VLMExplainCallback(
        falling(truth, 0), probe_size=PROBES, controls=CONTROLS, run_dir=tmp_path / "vlmxai"
    )
    trainer = make_trainer(tmp_path, explain, Accident(), max_epochs=4)
    with pytest.raises(PlantedError):
        trainer.fit(Separable(), loader(Squares()), loader(Squares(16, seed=1)))
    assert explain.latest_round is not None
    saved = explain.state_dict()["run"]
    assert [opened["start"]["number"] for opened in saved["rounds"]["open"]] == [1]
    assert [kept["number"] for kept in saved["controls"]["rounds"]] == [0]
    lines = read_lines(tmp_path / "vlmxai" / "controls.jsonl")
    assert {line["round"] for line in lines} == {0, 1}


def test_a_good_judge_s_rounds_count(tmp_path: Path) -> None:
    """The gate looks at them as it does without controls."""
    for name, settings in (("with", {"min_judge_auc": 0.75}), ("without", {})):
        gate = QuadrantStopping("vlmxai/coverage", mode="max", patience=2, **settings)
        *_, epochs = fit(tmp_path / name, falling(truth, 0), gate, epochs=6, lag=0, controls=8)
        assert (epochs, gate.wait_count) == (3, 2)


def test_a_gate_without_controls_is_refused(tmp_path: Path) -> None:
    """With what to pass; so are impossible numbers."""
    gate = QuadrantStopping(min_judge_auc=0.75)
    with pytest.raises(ConfigurationError, match=r"Pass VLMExplainCallback\(controls=8\)"):
        fit(tmp_path, ScriptedJudge([Verdict.scored(4)]), gate)
    with pytest.raises(ConfigurationError, match=r"`min_judge_auc` to be in \[0, 1\]"):
        QuadrantStopping(min_judge_auc=1.5)
    for count in (-1, 1):
        with pytest.raises(ConfigurationError, match="`controls` to be 0, or at least 2"):
            VLMExplainCallback(controls=count)


def test_controls_that_miss_the_deadline_are_no_answers(tmp_path: Path) -> None:
    """The round's samples stand, the gate does not know its judge, and nothing is late."""

    class Slow(ScriptedJudge):
        async def judge(self, request: JudgeRequest) -> Verdict:
            if request.round_number >= 0 and self.asked.count(request.round_number) >= PROBES:
                await asyncio.sleep(30)
            self.asked.append(request.round_number)
            return await super().judge(request)

    judge = Slow(lambda request: Verdict.scored(truth(request)), concurrency=64)
    judge.asked = []
    gate = QuadrantStopping("vlmxai/coverage", mode="max", patience=1, min_judge_auc=0.75)
    with (
        pytest.warns(UserWarning, match="so that its judge is not known"),
        pytest.warns(UserWarning, match=r"no control of a round was answered.*deadline"),
    ):
        explain, logger, epochs = fit(
            tmp_path, judge, gate, lag=0, controls=CONTROLS, deadline_s=2.0, epochs=3
        )
    assert epochs == 3
    assert explain.latest_round is not None
    assert explain.latest_round.metrics["coverage"] == 1.0
    assert set(logger.curves["vlmxai/judge/answered"].values()) == {0.0}
    assert "vlmxai/judge/auc" not in logger.curves
    assert not (tmp_path / "vlmxai" / "late.jsonl").exists()
    lines = read_lines(tmp_path / "vlmxai" / "controls.jsonl")
    assert {(line["score"], line["reason"]) for line in lines} == {(None, "deadline")}


def test_probes_come_before_controls_where_a_budget_ends(tmp_path: Path) -> None:
    """Through HTTP, with a budget a round for the probes and two more."""
    with OpenAIServer(lambda _: verdict(4)) as server:
        judge = make_judge(
            server.base_url, budget=Budget(max_calls=PROBES + 2, per="round"), concurrency=1
        )
        explain, _, _ = fit(tmp_path, judge, epochs=2, lag=0, controls=CONTROLS)
    assert explain.latest_round is not None
    assert explain.latest_round.metrics["coverage"] == 1.0
    assert explain.latest_round.metrics["judge/answered"] == 2 / CONTROLS
    assert explain.latest_round.metrics["calls"] == PROBES
    assert explain.latest_round.metrics["judge/calls"] == 2
    lines = read_lines(tmp_path / "vlmxai" / "controls.jsonl")
    assert {line["reason"] for line in lines} == {None, "over_budget"}


def test_validate_has_them_too(tmp_path: Path) -> None:
    """Its only round tests its judge."""
    explain = VLMExplainCallback(probe_size=PROBES, controls=6, run_dir=tmp_path / "vlmxai")
    trainer = make_trainer(tmp_path, explain)
    (logged,) = trainer.validate(Separable(), loader(Squares(16)), verbose=False)
    assert logged["vlmxai/judge/auc"] == 1.0
    kinds = {line["kind"] for line in read_lines(tmp_path / "vlmxai" / "controls.jsonl")}
    assert kinds == {"object", "elsewhere", "shuffled"}  # this judge reads no labels


class Maskless(Squares):
    """Squares of which nobody knows where they are."""

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index)[:2]


def test_without_masks_names_are_tested_or_it_is_said_that_nothing_is(tmp_path: Path) -> None:
    """By judges who read them; for the reference judge there is nothing left."""
    module = Separable()

    def run(name: str, judge: Any) -> VLMExplainCallback:
        explain = VLMExplainCallback(judge, probe_size=4, controls=4, run_dir=tmp_path / name)
        trainer = make_trainer(tmp_path, explain)
        trainer.validate(module, loader(Maskless(16)), verbose=False)
        return explain

    run("named", ScriptedJudge([Verdict.scored(4)]))
    kinds = [line["kind"] for line in read_lines(tmp_path / "named" / "controls.jsonl")]
    assert sorted(kinds) == ["other label", "other label", "whole", "whole"]
    with pytest.warns(UserWarning, match="there are no controls"):
        explain = run("reference", Unlabelled())
    assert explain.latest_round is not None
    assert explain.latest_round.controls == ()


class Unlabelled(ScriptedJudge):
    """A judge that is told names and does not heed them."""

    reads_labels = ReferenceMaskJudge.reads_labels

    def __init__(self) -> None:
        super().__init__([Verdict.scored(4)])


def test_controls_that_can_not_be_drawn_cost_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training goes on, and rounds without them."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("lightning_vlmxai.callbacks.controlling.draw_controls", fail)
    with pytest.warns(UserWarning, match=r"Drawing controls failed.*planted"):
        _, logger, epochs = fit(tmp_path, Unhurried(), controls=4)
    assert epochs == 4
    assert len(logger.curves["vlmxai/coverage"]) == 4
    assert "vlmxai/judge/answered" not in logger.curves


def test_an_estimate_counts_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Before the fit, beside the probes."""
    with OpenAIServer(lambda _: verdict(4)) as server, caplog.at_level("INFO"):
        fit(tmp_path, make_judge(server.base_url), epochs=1, controls=CONTROLS)
    assert f"up to {PROBES + CONTROLS} calls" in caplog.text

"""A panel that rotates in a real Trainer: calls, gates, resumption, neutrality, the report."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from helpers_judge import make_judge
from lightning_vlmxai import (
    ConfigurationError,
    Item,
    QuadrantStopping,
    UnscoredReason,
    Verdict,
    VLMExplainCallback,
)
from lightning_vlmxai.records import JudgeRequest, Quadrant, Round
from lightning_vlmxai.report.compare import _list_views
from lightning_vlmxai.report.figures import count_round
from lightning_vlmxai.report.findings import History, find_in_run
from lightning_vlmxai.report.grouping import describe_grouped
from lightning_vlmxai.report.metadata import read_metadata
from lightning_vlmxai.report.reader import read_run
from lightning_vlmxai.report.summary import print_summary
from lightning_vlmxai.rounds import Answer, estimate
from lightning_vlmxai.testing import ScriptedJudge
from neutral_fit import Combination
from neutrality import compare, describe
from openai_server import OpenAIServer
from samples import make_explanation, make_round, make_sample
from tiny import Separable, Squares, loader, make_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*blank_saliency"),
    pytest.mark.filterwarnings("ignore:.*unscored"),
    pytest.mark.filterwarnings("ignore:.*the judge hardly tells"),
    pytest.mark.filterwarnings("ignore:.*could not look at"),
    pytest.mark.filterwarnings("ignore:.*may not look at them"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
    # True where a data set draws from a generator of its own: a resumed run finds it elsewhere.
    pytest.mark.filterwarnings("ignore:.*the probe set differs"),
]
PROBES, EPOCHS = 24, 6


class Rounds(pl.Callback):
    """Keeps each closed round."""

    def __init__(self, explain: VLMExplainCallback) -> None:
        self.explain = explain
        self.closed: list[Round] = []

    def on_validation_end(self, *_: Any) -> None:
        """Look."""
        latest = self.explain.latest_round
        if latest is not None and (not self.closed or self.closed[-1].number != latest.number):
            self.closed.append(latest)


def train(
    folder: Path,
    judge: Any,
    *more: pl.Callback,
    share: float = 0.4,
    epochs: int = EPOCHS,
    module: pl.LightningModule | None = None,
    **settings: Any,
) -> tuple[VLMExplainCallback, list[Round]]:
    """Return a callback whose fit is over, and the rounds that were closed in it."""
    torch.manual_seed(0)
    explain = VLMExplainCallback(
        judge, probe_size=PROBES, judged_share=share, **{"lag": 0, **settings}
    )
    rounds = Rounds(explain)
    trainer = make_trainer(folder, explain, rounds, *more, max_epochs=epochs)
    trainer.fit(module or Separable(), loader(Squares()), loader(Squares(48, seed=1)))
    return explain, rounds.closed


class Still(Separable):
    """Learns nothing: predictions and maps stay what they are."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Move no weight."""
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_calls_are_those_of_the_drawn(tmp_path: Path) -> None:
    """A server is asked for what was drawn and for nothing else; figures and folder agree."""
    with OpenAIServer() as server:
        judge = make_judge(server.base_url, cache=False)
        explain, closed = train(tmp_path, judge)
        asked = sum(not s.verdict.is_reused for of in closed for s in of.samples)
        blank = sum(s.explanation.is_blank for of in closed for s in of.samples)
        assert len(server.requests) == 1 + asked - blank  # one in the rehearsal
    assert len(closed) == EPOCHS
    assert asked < 0.75 * EPOCHS * PROBES
    assert closed[0].metrics["reused"] == 0
    assert closed[-1].metrics["reused"] > 0
    assert explain.run_dir is not None
    assert read_run(explain.run_dir).settings["judged_share"] == 0.4
    for of, logged in zip(read_run(explain.run_dir).rounds, closed, strict=True):
        figures = count_round(of)
        for quadrant in Quadrant:
            assert figures.rate(quadrant) == logged.metrics[f"{quadrant.value}_rate"]
        assert of.metrics["judged_share"] == logged.metrics["judged_share"]


def test_the_default_is_that_all_are_judged(tmp_path: Path) -> None:
    """Figures, and the names that are logged, are those of a callback that knows no panel."""
    judge = ScriptedJudge(lambda request: Verdict.scored(5 * float(request.mask.mean())))
    explain, closed = train(tmp_path, judge, share=1.0, epochs=2)
    assert all(of.metrics["reused"] == 0 for of in closed)
    assert "vlmxai/judged_share" not in explain.metric_names
    assert "vlmxai/judged_share" in VLMExplainCallback(judged_share=0.5).metric_names


@pytest.mark.parametrize("share", [0, -0.1, 1.01])
def test_a_share_is_above_0_and_at_most_1(share: float) -> None:
    """What can't be is said at once."""
    with pytest.raises(ConfigurationError, match=r"`judged_share` to be in \(0, 1\]"):
        VLMExplainCallback(judged_share=share)


def fails(request: JudgeRequest) -> Verdict:
    """Answer in three rounds, then a part of what is asked, then nothing."""
    number = request.round_number
    if number > 3 or (number == 3 and request.probe_index % 2):
        return Verdict.unscored(UnscoredReason.TIMEOUT, "slow")
    return Verdict.scored(5)


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        ({"min_judged": PROBES}, 1),  # fires at once: nothing was drawn yet
        ({"min_judged": 1, "patience": 2}, 3),
        ({"min_judged": PROBES, "patience": 3}, EPOCHS),
        ({"min_coverage": 1.0, "patience": 3}, EPOCHS),
        ({"min_judged": PROBES + 1}, EPOCHS),
    ],
)
def test_a_gate_counts_what_stands_by_the_share_that_was_answered(
    tmp_path: Path, settings: dict[str, Any], epochs: int
) -> None:
    """Verdicts that stand count while the drawn are answered; in an outage they are no figure."""
    limit = {} if "patience" in settings else {"divergence_threshold": 6.0}
    gate = QuadrantStopping("vlmxai/average_score", mode="max", **settings, **limit)
    module = Still()
    _, closed = train(tmp_path, ScriptedJudge(fails), gate, module=module)
    assert len(closed) == epochs
    if epochs == EPOCHS:
        assert closed[2].metrics["coverage"] == 1
        assert closed[2].metrics["reused"] > 0
        assert 0 < closed[3].metrics["coverage"] < 1
        assert closed[5].metrics["coverage"] == 0
        assert "correct_high_rate" not in closed[5].metrics
        assert closed[5].judged > 0  # these still stand, and count for nothing


def test_min_judged_counts_what_is_answered_not_what_stands() -> None:
    """Of four drawn one was answered: a quarter of what stands counts, of a class likewise."""
    stands = replace(make_sample(score=1), inclusion=0.5, expected_score=1.0)
    stands = replace(stands, verdict=replace(stands.verdict, is_reused=True))
    answered = replace(make_sample(score=1), inclusion=0.5, expected_score=1.0)
    failed = replace(make_sample(), inclusion=0.5, expected_score=1.0)
    other = replace(stands, explanation=make_explanation(label_name="dog"))
    samples = [make_sample(score=1), answered, *[failed] * 3, *[stands] * 12, *[other] * 8]
    closed = make_round(*samples, watch_classes=("dog",))
    assert closed.judged == 22
    for monitor, counts in (
        ("vlmxai/correct_low_rate", 1 + 24 // 4),
        ("vlmxai/class/dog/correct_low_rate", 8 // 4),
    ):
        for least, is_enough in ((counts, True), (counts + 1, False)):
            lack = QuadrantStopping(monitor, min_judged=least)._lack(closed)
            assert (not lack) is is_enough
            assert is_enough or f"{counts} judged probes" in lack


@pytest.mark.filterwarnings("ignore:.*settings differ")
@pytest.mark.parametrize(("lag", "ends"), [(0, EPOCHS), (1, EPOCHS), (1, 4)])
def test_no_verdict_of_another_judge_stands_after_a_resumption(
    tmp_path: Path, lag: int, ends: int
) -> None:
    """All are asked of the judge that is passed now, those of an open round too."""
    checkpoint = tmp_path / "run.ckpt"

    class Save(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.current_epoch == 3:
                trainer.save_checkpoint(checkpoint)

    _, closed = train(
        tmp_path, ScriptedJudge([Verdict.scored(1)]), Save(), module=Still(), epochs=4, lag=lag
    )
    assert closed[-1].metrics["reused"] > 0
    other = ScriptedJudge([Verdict.scored(5)])
    other.name = "other"
    explain = VLMExplainCallback(other, probe_size=PROBES, judged_share=0.4, lag=lag)
    rounds = Rounds(explain)
    trainer = make_trainer(tmp_path, explain, rounds, max_epochs=ends)
    trainer.fit(Still(), loader(Squares()), loader(Squares(48, seed=1)), ckpt_path=checkpoint)
    assert [of.number for of in rounds.closed] == list(range(4 - lag, ends - lag))
    assert explain.latest_round is not None
    closed = [*rounds.closed, explain.latest_round]  # that is closed after the last validation
    assert closed[-1].number == ends - 1
    scores = {s.verdict.score for of in closed for s in of.samples}
    assert scores == {5.0}


class _Bare(Squares):
    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index)[0]


class _Unlabelled(Still):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self(batch).sum() * 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_without_labels_the_low_are_estimated_and_dashboards_are_complete(
    tmp_path: Path, share: float
) -> None:
    """Log, logger and report tell one figure, which is an estimate where not all were judged."""
    explain = VLMExplainCallback(
        ScriptedJudge(lambda of: Verdict.scored((of.probe_index + of.round_number) % 6)),
        probe_size=PROBES,
        judged_share=share,
        lag=0,
        class_names=["red", "blue"],
        unpack=lambda row: Item(image=row, target=None),
    )
    rounds = Rounds(explain)
    logger = TensorBoardLogger(tmp_path)
    trainer = make_trainer(tmp_path, explain, rounds, max_epochs=3, logger=logger)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*Sink.*")
        trainer.fit(_Unlabelled(), loader(_Bare()), loader(_Bare(48, seed=1)))
    assert explain.run_dir is not None
    (said,) = find_in_run(read_run(explain.run_dir))
    closed = rounds.closed[-1]
    assert History().tell(closed) == (said.text,)
    answers = [Answer.of(s) for s in closed.samples]
    low = estimate(answers, lambda _, score: float(score < 2.5)).mean
    assert low is not None
    assert ("estimated" in said.text) is (share < 1)
    assert f"({low:.2f}, 95 %" in said.text
    assert (closed.metrics["reused"] > 0) is (share < 1)


def test_a_judge_that_says_reused_is_heard_all_the_same(tmp_path: Path) -> None:
    """Who was asked is known of the draw, not of what a judge makes of its own memory."""
    again = replace(Verdict.scored(1), is_reused=True)
    judge = ScriptedJudge(lambda of: again if of.round_number == 3 else Verdict.scored(4))
    _, closed = train(tmp_path, judge, module=Still(), epochs=4)
    assert closed[3].metrics["average_score"] < 4
    assert closed[3].metrics["reused"] < PROBES


def test_a_round_without_an_answer_is_told_as_one(tmp_path: Path) -> None:
    """Sentences, summary and comparison make no rate of verdicts that all are of earlier rounds."""
    out = Verdict.unscored(UnscoredReason.TIMEOUT, "slow")
    judge = ScriptedJudge(lambda request: out if request.round_number == 3 else Verdict.scored(1))
    explain, closed = train(tmp_path, judge, module=Still(), epochs=4)
    assert closed[-1].metrics["reused"] > 0
    assert explain.run_dir is not None
    reused = int(closed[-1].metrics["reused"])
    said = f"No sample of epoch 3 was judged ({reused} kept, {PROBES - reused} timeout)"
    run = read_run(explain.run_dir)
    assert find_in_run(run)[-1].text.startswith(said)
    assert "Correct-Low is estimated in epoch 2" in " ".join(f.text for f in find_in_run(run))
    history = History()
    assert [history.tell(of) for of in closed][-1][-1].startswith(said)
    console = Console(file=io.StringIO(), width=200)
    print_summary(explain.run_dir, console=console)
    assert "fit round 2, 24 of 24 probes judged" in console.file.getvalue()  # type: ignore[attr-defined]
    (explain.run_dir / "who.csv").write_text(
        "sample,half\n" + "".join(f"{s.probe},{s.probe % 2}\n" for s in run.rounds[-1].samples)
    )
    grouped = describe_grouped(run, read_metadata(explain.run_dir / "who.csv"))
    assert {of["round"] for of in grouped.columns} == {2}
    views = _list_views([run, run], None)
    assert [of.number for view in views for of in view.rounds].count(3) == 0


@pytest.mark.parametrize(
    "combination", [Combination(), Combination(checkpoint="resumed", lag=0, augment="global")]
)
def test_not_a_bit_of_a_training_differs(combination: Combination, tmp_path: Path) -> None:
    """All states and metrics are those of a training without the callback."""
    make = partial(VLMExplainCallback, judged_share=0.3)
    assert compare(combination, tmp_path, make).differences == [], describe(combination)

"""`find_shortcuts=True` in a real Trainer: named, tried on the live model, told, written."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from dotted import DottedSquares, ReadsDots
from lightning_vlmxai import QuadrantStopping, UnscoredReason, Verdict, VLMExplainCallback
from lightning_vlmxai.callbacks import shortcutting
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.report.reader import read_run
from lightning_vlmxai.report.shortcuts import say_shortcuts
from lightning_vlmxai.tasks import MultiLabelClassification, Segmentation
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Squares, TinyModule, loader, make_trainer

TEXT = (
    "red: 12 of 12 right answers rest on what lies top right (95 %: 76 to 100 %; other classes 0 "
    "of 12). 0 of 12 pictures of other classes look like theirs there. Erasing it turns 12 of 12 "
    "predictions, erasing as much elsewhere 0. Pasting it onto other classes makes 12 of 12 a red, "
    "pasting as much from elsewhere 0. "
    "shortcut_training.csv lists all 24 training pictures, the most alike first."
)


def fit(
    folder: Path,
    *callbacks: Any,
    module: TinyModule | None = None,
    data: Any = None,
    epochs: int = 2,
    **options: Any,
) -> list[str]:
    """Return what was warned of shortcuts in a fit, in order."""
    options = {"probe_size": 24, "find_shortcuts": True, **options}
    explain = VLMExplainCallback(run_dir=folder, **options)
    trainer = make_trainer(folder, *callbacks, explain, max_epochs=epochs)
    data = loader(DottedSquares() if data is None else data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(module or ReadsDots(), data, data)
    told = [str(w.message) for w in caught]
    return [line for line in told if "right answers" in line or "hortcut" in line]


def read(folder: Path) -> dict[str, Any]:
    """Return `shortcuts.json`."""
    found: dict[str, Any] = json.loads((folder / "shortcuts.json").read_text())
    return found


def test_a_dot_is_named_and_proven_at_the_end_of_the_fit(tmp_path: Path) -> None:
    """By log, by `shortcuts.json` with every denominator, and by the list of pictures."""
    assert fit(tmp_path) == [f"vlmxai: {TEXT}"]
    record = read(tmp_path)
    assert (record["stage"], record["round"], record["right"], record["note"]) == ("fit", 1, 24, "")
    (found,) = record["shortcuts"]
    assert found["text"] == TEXT
    assert (found["class"], found["label"], found["low"], found["right"]) == ("red", 0, 12, 12)
    assert [of["probe"] for of in found["bearers"]] == list(range(0, 24, 2))
    box = found["place"]
    assert (box["words"], box["top"], box["right"]) == ("top right", 0.0, 1.0)
    assert box["bottom"] < 0.3 < 0.7 < box["left"]
    for kind in ("erased", "pasted"):
        effect = found[kind]
        assert (effect["total"], effect["flipped"], effect["control"]) == (12, 12, 0)
        assert effect["is_cause"]
    rows = list(csv.DictReader((tmp_path / "shortcut_pictures.csv").read_text().splitlines()))
    bearers = [row for row in rows if row["bears_cue"] == "yes"]
    assert [int(row["probe"]) for row in bearers] == list(range(0, 24, 2))
    told = ("prediction", "prediction_with_cue", "prediction_without_cue", "prediction_control")
    assert {tuple(row[name] for name in told) for row in bearers} == {("red", "red", "blue", "red")}
    others = [row for row in rows if row["bears_cue"] == "no"]
    assert [int(row["probe"]) for row in others] == list(range(1, 24, 2))
    assert {tuple(row[name] for name in told) for row in others} == {
        ("blue", "red", "blue", "blue")
    }


def test_a_logger_is_told_at_the_step_of_the_round(tmp_path: Path) -> None:
    """TensorBoard has it as a text, once."""
    logger = TensorBoardLogger(tmp_path)
    explain = VLMExplainCallback(probe_size=24, find_shortcuts=True)
    trainer = make_trainer(tmp_path, explain, max_epochs=2, logger=logger)
    with pytest.warns(UserWarning, match="right answers rest on"):
        trainer.fit(ReadsDots(), loader(DottedSquares()), loader(DottedSquares()))
    events = EventAccumulator(logger.log_dir).Reload()
    ((step, text),) = [
        (event.step, event.tensor_proto.string_val[0].decode())
        for event in events.Tensors("vlmxai/alerts/text_summary")
    ]
    assert step == 5  # of three batches an epoch
    assert "12 of 12 right answers" in text


def test_without_a_dot_nothing_is_told(tmp_path: Path) -> None:
    """The file says that it was looked for."""

    class ReadsSquares(ReadsDots):
        def __init__(self) -> None:
            super().__init__()
            with torch.no_grad():
                self.network[0].weight[0] = -self.network[0].weight[1]
                self.network[0].bias[0] = -0.6 - self.network[0].bias[1]

    assert fit(tmp_path, module=ReadsSquares(), data=DottedSquares(is_dotted=False)) == []
    record = read(tmp_path)
    assert record["right"] == 24
    assert record["shortcuts"] == []
    assert len((tmp_path / "shortcut_pictures.csv").read_text().splitlines()) == 1


def test_it_is_asked_for(tmp_path: Path) -> None:
    """By default nothing is looked for or written."""
    assert fit(tmp_path, find_shortcuts=False) == []
    assert not (tmp_path / "shortcuts.json").exists()


def test_a_gate_tells_before_it_ends_the_run_and_no_one_tells_twice(tmp_path: Path) -> None:
    """The look is at the round by which the gate fired; that of the last round adds no alert."""
    seen: list[dict[str, Any]] = []

    class Gate(QuadrantStopping):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            super().on_validation_end(trainer, pl_module)
            if trainer.should_stop and not seen:
                seen.append(read(tmp_path))

    gate = Gate(divergence_threshold=0.4)
    assert fit(tmp_path, gate, epochs=9) == [f"vlmxai: {TEXT}"]
    assert gate.stopped_epoch == 1
    assert [(of["round"], len(of["shortcuts"])) for of in seen] == [(0, 1)]
    assert (read(tmp_path)["round"], len(read(tmp_path)["shortcuts"])) == (1, 1)


@pytest.mark.parametrize("what", ["find_shortcuts", "try_cause"])
def test_a_failure_ends_no_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """It is a warning, and told in the report; if only the trial fails, the finding says so."""

    def fail(*_args: Any, **_options: Any) -> None:
        raise ValueError("no luck")

    monkeypatch.setattr(shortcutting, what, fail)
    told = fit(tmp_path)
    assert "no luck" in told[0]
    assert (tmp_path / "report.html").exists()
    if what == "find_shortcuts":
        note = "Looking for shortcuts failed, so none is told: ValueError: no luck."
        assert (read(tmp_path)["note"], read(tmp_path)["shortcuts"]) == (note, [])
        assert note in say_shortcuts(read_run(tmp_path))
    if what == "try_cause":
        assert len(told) == 1  # what wasn't tried, and is rare among too few, raises no alert
        (found,) = read(tmp_path)["shortcuts"]
        assert (found["erased"], found["is_proven"]) == (None, False)
        assert (
            "It was not tried: ValueError: no luck. That it is a shortcut was not shown."
            in found["text"]
        )


class _Pixels(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps


class _Dense(Squares):
    def __getitem__(self, index: int) -> Any:
        picture, label, mask = super().__getitem__(index)
        return picture, mask.long() * (1 + label)


class _PixelModule(ReadsDots):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 3, 1), _Pixels())


class _ManyModule(ReadsDots):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])


class _Many(DottedSquares):
    def __getitem__(self, index: int) -> Any:
        picture, label, mask = super().__getitem__(index)
        return picture, nn.functional.one_hot(torch.tensor(label), 2).float(), mask


@pytest.mark.filterwarnings("ignore")
def test_of_old_verdicts_alone_no_shortcut_is_told(tmp_path: Path) -> None:
    """With the judge out in the last round, its verdicts that stand are no finding of it."""

    def script(request: JudgeRequest) -> Verdict:
        if request.round_number == 2:
            return Verdict.unscored(UnscoredReason.TIMEOUT, "slow")
        return Verdict.scored(1.0 if request.label_name == "red" else 5.0)

    (line,) = fit(tmp_path, judge=ScriptedJudge(script), judged_share=0.3, lag=0, epochs=3)
    assert "0 were judged, of no class" in line
    assert read(tmp_path)["shortcuts"] == []


@pytest.mark.parametrize(("is_out", "who"), [(False, "12 were judged, only of 'red'"), (True, "0")])
@pytest.mark.filterwarnings("ignore")
def test_with_nothing_to_hold_a_class_against_none_is_said_to_be_missing(
    tmp_path: Path, is_out: bool, who: str
) -> None:
    """Where no other class has a judged right answer, nothing could stand out."""

    def script(request: JudgeRequest) -> Verdict:
        if is_out and request.round_number >= 0:
            return Verdict.unscored(UnscoredReason.TIMEOUT, "slow")
        return Verdict.scored(1.0)

    data = DottedSquares()
    data.targets = [0] * len(data.targets)
    (line,) = fit(tmp_path, judge=ScriptedJudge(script), data=data)
    assert who in line
    assert read(tmp_path)["note"] == line.removeprefix("vlmxai: ")
    assert say_shortcuts(read_run(tmp_path)) == [read(tmp_path)["note"]]


@pytest.mark.parametrize(
    ("task", "module", "data", "why"),
    [
        (Segmentation(), _PixelModule(), _Dense(), "has a class a pixel"),
        (MultiLabelClassification(), _ManyModule(), _Many(), "has several labels a picture"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_where_it_means_nothing_that_is_said(
    tmp_path: Path, task: Any, module: TinyModule, data: Any, why: str
) -> None:
    """Dense and multi-label models have no one class a picture to be turned."""
    judge = ScriptedJudge(lambda _: Verdict.scored(1.0))
    (line,) = fit(tmp_path, judge=judge, module=module, data=data, task=task)
    assert line.startswith("vlmxai: Shortcuts are looked for in single-label classifiers")
    assert why in line
    assert read(tmp_path)["note"] == line.removeprefix("vlmxai: ")

"""Wrong labels of a data set, through a real audit of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from audited import by_index, run
from lightning_vlmxai import BinaryClassification, ReferenceMaskJudge
from lightning_vlmxai.callbacks import vlm_audit
from lightning_vlmxai.cli import main
from lightning_vlmxai.testing import ScriptedJudge
from tiny import MEAN, STD, Separable, Squares

pytest.importorskip("cleanlab", reason="the extra `labels` is not installed")
EXCHANGED = (4, 10, 20, 32)
"""Red ones, of which the network is sure; blue ones it mostly takes for red."""
Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report, which a process of its own writes."""
    monkeypatch.setattr(vlm_audit, "write_report", lambda _: None)


class OneLogit(Separable):
    """Says how much more blue than red a picture is."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits[:, 1] - logits[:, 0]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.forward(batch[0])


def exchanged() -> Squares:
    """Return squares of which some red ones have the label of blue ones."""
    data = Squares(40)
    for index in EXCHANGED:
        data.targets[index] = 1
    return data


@pytest.mark.parametrize("task", [None, BinaryClassification()])
def test_exchanged_labels_of_an_audit_come_first(tmp_path: Path, task: Any) -> None:
    """Of two classes, and of one logit; each with its own names, probabilities and verdict."""
    module = OneLogit() if task else Separable()
    run(tmp_path, ReferenceMaskJudge(), data=exchanged(), module=module, task=task)
    assert main(["labels", str(tmp_path / "run"), "--top", "6"]) == 0
    with (tmp_path / "run/suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["probe"]) for row in rows[:4]} == set(EXCHANGED)
    for row in rows[:4]:
        assert (row["label"], row["suggested"]) == ("blue", "red")
        assert float(row["label_probability"]) < 0.25 < 0.75 < float(row["suggested_probability"])
        assert row["quadrant"].startswith("wrong_")


def test_an_audit_without_labels_is_refused(tmp_path: Path, capsys: Out) -> None:
    """As `trainer.predict` leaves it."""
    module = Separable()
    module.predict_step = lambda batch: module(batch[0])  # type: ignore[method-assign]
    unlabelled = [(exchanged()[i][0],) for i in range(40)]
    run(
        tmp_path,
        ScriptedJudge(by_index),
        data=unlabelled,
        stage="predict",
        module=module,
        normalization=(MEAN, STD),
    )
    assert main(["labels", str(tmp_path / "run")]) == 2
    assert "they have no label" in capsys.readouterr().err

"""CONTRIBUTING.md holds what it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_vlmxai.attribution.methods import gradcam
from lightning_vlmxai.judges import Judge
from lightning_vlmxai.records import JudgeRequest
from lightning_vlmxai.sinks import Sink
from lightning_vlmxai.tasks import Task
from samples import make_round, make_sample

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def examples() -> dict[str, Any]:
    """Every name that the examples define."""
    names: dict[str, Any] = {"__name__": "examples"}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names)  # noqa: S102 - the document's own examples
    return names


def test_every_file_that_is_named_is_there() -> None:
    """The table of changes can be followed."""
    table = TEXT.split("## Where a change goes")[1].split("###")[0]
    named = re.findall(r"`([a-z_]+/[a-z_./]*)`", table)
    assert len(named) >= 10
    missing = [name for name in named if not (ROOT / "lightning_vlmxai" / name).exists()]
    assert missing == []


def test_the_judge_judges(examples: dict[str, Any]) -> None:
    """It is a `Judge`, and tells the centre from a corner."""
    judge = examples["CentreJudge"]()
    assert isinstance(judge, Judge)
    mask = torch.zeros(4, 4)
    request = JudgeRequest(probe_index=0, label_name="a", pixels=torch.zeros(3, 4, 4), mask=mask)
    assert asyncio.run(judge.judge(request)).score == 0.0
    mask[2, 2] = 1.0
    assert asyncio.run(judge.judge(request)).score == 5.0


def test_the_sink_writes(examples: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """It is a `Sink`, and says nothing of a rate without a denominator."""
    sink = examples["PrintSink"]()
    assert isinstance(sink, Sink)
    sink.write(make_round(make_sample(score=1.0)))
    assert "1.00 of 1 right for the wrong reason" in capsys.readouterr().out
    sink.write(make_round())
    assert capsys.readouterr().out == ""


def test_the_method_maps(examples: dict[str, Any]) -> None:
    """Where no gradient is negative it is Grad-CAM."""
    activations, gradients = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    found = examples["abs_gradcam"](activations, gradients)
    assert torch.allclose(found, gradcam(activations, gradients))


def test_the_task_counts_the_second_best(examples: dict[str, Any]) -> None:
    """It is a `Task`: the second most likely class is right, the third is not."""
    task = examples["TopTwo"]()
    assert isinstance(task, Task)
    prediction = task.predict(torch.tensor([[3.0, 2.0, 1.0]]))
    assert [task.is_correct(prediction, 0, torch.tensor(k)) for k in range(3)] == [
        True,
        True,
        False,
    ]

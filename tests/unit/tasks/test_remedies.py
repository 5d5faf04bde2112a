"""For every output and every label one remedy, and following it leads somewhere."""

from __future__ import annotations

import re
from itertools import product

import pytest
import torch
from torch import Tensor

from lightning_vlmxai import tasks
from lightning_vlmxai.errors import VLMExplainError

ROWS, CLASSES, SIDE = 6, 5, 8
GENERATOR = torch.Generator().manual_seed(0)
ANSWERS = {
    "[B]": torch.randn(ROWS, generator=GENERATOR),
    "[B, 1]": torch.randn(ROWS, 1, generator=GENERATOR),
    "[B, K]": torch.randn(ROWS, CLASSES, generator=GENERATOR),
    "[B, h, w]": torch.randn(ROWS, SIDE, SIDE, generator=GENERATOR),
    "[B, 1, h, w]": torch.randn(ROWS, 1, SIDE, SIDE, generator=GENERATOR),
    "[B, K, h, w]": torch.randn(ROWS, CLASSES, SIDE, SIDE, generator=GENERATOR),
    "[B, K, d, h, w]": torch.randn(ROWS, CLASSES, 2, SIDE, SIDE, generator=GENERATOR),
}
LABELS = {
    "class": torch.tensor(3),
    "0 or 1": torch.tensor(1),
    "0.0 or 1.0": torch.tensor(1.0),
    "measure": torch.tensor(0.37),
    "several": torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]),
    "map of 0 and 1": torch.randint(0, 2, (SIDE, SIDE), generator=GENERATOR),
    "map of classes": torch.randint(0, CLASSES, (SIDE, SIDE), generator=GENERATOR),
    "map of 0 and 255": 255 * torch.randint(0, 2, (SIDE, SIDE), generator=GENERATOR),
}
NAMES = [
    "Classification",
    "BinaryClassification",
    "MultiLabelClassification",
    "Segmentation",
    "BinarySegmentation",
]
WORKS = {
    ("[B]", "0 or 1"): "BinaryClassification",
    ("[B]", "0.0 or 1.0"): "BinaryClassification",
    ("[B, 1]", "0 or 1"): "BinaryClassification",
    ("[B, 1]", "0.0 or 1.0"): "BinaryClassification",
    ("[B, K]", "class"): "Classification",
    ("[B, K]", "0 or 1"): "Classification",
    ("[B, K]", "several"): "MultiLabelClassification",
    ("[B, h, w]", "map of 0 and 1"): "BinarySegmentation",
    ("[B, 1, h, w]", "map of 0 and 1"): "BinarySegmentation",
    ("[B, K, h, w]", "map of 0 and 1"): "Segmentation",
    ("[B, K, h, w]", "map of classes"): "Segmentation",
    ("[B, K, h, w]", "map of 0 and 255"): "Segmentation",  # 255 is void there
}


def explain(task: tasks.Task, answer: Tensor, label: Tensor) -> None:
    """Read an answer and a label as a run does."""
    reader = tasks.OutputReader(task)
    reader.see(answer, ROWS, lambda: [label] * ROWS)
    reading = reader.choose([reader.tell()], None)
    task = reading.task(task)
    prediction = task.predict(reading.take(answer))
    task.label_of(label, prediction.num_classes)
    task.is_correct(prediction, 0, label)


@pytest.mark.parametrize(("answer", "label"), list(product(ANSWERS, LABELS)))
@pytest.mark.parametrize("first", NAMES)
def test_following_the_remedies_ends(first: str, answer: str, label: str) -> None:
    """Each `task=...` that a message offers is tried in turn: it works, or is refused for good."""
    tried, said, name = [], "", first
    while name:
        assert name not in tried, f"in a circle: {tried}, {said}"
        tried.append(name)
        try:
            explain(getattr(tasks, name)(), ANSWERS[answer], LABELS[label])
        except VLMExplainError as error:
            said = str(error)
            offers = set(re.findall(r"`task=(\w+)\(\)", said))
            assert len(offers) <= 1, said
            name = offers.pop() if offers else ""
        else:
            assert WORKS[answer, label] == name
            return
    assert (answer, label) not in WORKS, said
    if label == "measure" and answer in ("[B]", "[B, 1]", "[B, K]"):
        assert "Regression is not supported" in said

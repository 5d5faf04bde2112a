"""Which tensor of an answer is read."""

from __future__ import annotations

import pickle
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_vlmxai.errors import AttributionError
from lightning_vlmxai.tasks import (
    BinaryClassification,
    Classification,
    OutputReader,
    Prediction,
    Reading,
    Segmentation,
)
from lightning_vlmxai.tasks.base import take_part, tensors_in

FEATURES, LOGITS = torch.arange(24.0).reshape(3, 8), torch.eye(3, 4) * 9
Pair = namedtuple("Pair", ["features", "scores"])


@dataclass
class Answer:
    """As a library's own output class."""

    features: Tensor
    scores: Tensor


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (FEATURES, [""]),
        ((FEATURES, LOGITS), [0, 1]),
        (Pair(FEATURES, LOGITS), ["features", "scores"]),
        (Answer(FEATURES, LOGITS), ["features", "scores"]),
        (OrderedDict(a=FEATURES, b=[LOGITS]), ["a", "b.0"]),
        ({"a.b": {"c": LOGITS}}, ["a.b.c"]),
        ((LOGITS, LOGITS, torch.tensor(0.5), torch.arange(3)), [0]),
    ],
)
def test_a_tensor_s_name_takes_it(answer: Any, names: list[Any]) -> None:
    """Once, without scalars and whole numbers, whatever the containers are."""
    found = tensors_in(answer)
    assert list(found) == names
    for name in names:
        if name not in ("", "a.b.c"):
            assert take_part(answer, name) is found[name]


@pytest.mark.parametrize("part", [7, "scores", "1.2", -3])
def test_a_part_that_isn_t_there_is_told_with_those_that_are(part: Any) -> None:
    """The message's own line can be pasted."""
    with pytest.raises(AttributionError, match=r"of 0 \[3, 8\], 1 \[3, 4\]\. Pass `output=0`"):
        take_part((FEATURES, LOGITS), part)
    assert take_part((FEATURES, LOGITS), -1) is LOGITS


def choose(
    reader: OutputReader, answers: list[Any], labels: list[Any], names: Any = None
) -> Reading:
    """Return the choice after some batches."""
    for answer, targets in zip(answers, labels, strict=True):
        reader.see(answer, 3, lambda targets=targets: targets)
    return reader.choose([reader.tell()], names)


def test_the_choice_is_narrowed_by_every_batch() -> None:
    """By labels that don't fit, and by parts that a batch has not; both ranks' batches count."""
    narrow = LOGITS[:, :2]
    pair = (narrow, LOGITS)
    assert choose(OutputReader(Classification()), [pair, pair], [[0, 1, 0], [1, 3, 2]]).part == 1
    assert (
        choose(
            OutputReader(Classification()), [pair, (narrow, LOGITS[:, :, None])], [[0, 1, 0]] * 2
        ).part
        == 0
    )
    one, other = OutputReader(Classification()), OutputReader(Classification())
    one.see(pair, 3, lambda: [0, 1, 0])
    other.see(pair, 3, lambda: [3, 3, 3])
    told = pickle.loads(pickle.dumps([one.tell(), other.tell()]))  # noqa: S301 - as ranks do
    assert (
        one.choose(told, None) == other.choose(told, None) == Reading(part=1, is_probability=False)
    )


def test_names_count_more_than_labels() -> None:
    """Two parts that labels fit, one with as many numbers as there are names."""
    answer = {"a": FEATURES, "b": LOGITS}
    reading = choose(OutputReader(Classification()), [answer], [[0, 1, 2]], "wxyz")
    assert (reading.part, reading.describe()) == ("b", "b")
    with pytest.raises(AttributionError, match=r'`output="a"` or `output="b"`'):
        choose(OutputReader(Classification()), [answer], [[0, 1, 2]])


def test_what_a_user_named_is_taken_first() -> None:
    """A further choice inside of it is offered with its whole name."""
    answer = {"head": (FEATURES, LOGITS), "other": LOGITS + 1}
    reading = choose(OutputReader(Classification(), "head.1"), [answer], [[0, 1, 2]])
    assert reading.take(answer) is LOGITS
    with pytest.raises(AttributionError, match=r'`output="head\.0"` or `output="head\.1"`'):
        choose(OutputReader(Classification(), "head"), [answer], [[0, 1, 2]])
    reading = choose(OutputReader(Classification(), lambda a: a["head"][1]), [answer], [[0, 1, 2]])
    assert reading.take(answer) is LOGITS


def test_a_task_that_reads_the_whole_answer_is_given_it() -> None:
    """A task of a user's own may need several parts."""

    class Sum(Classification):
        def predict(self, output: Any) -> Prediction:
            return super().predict(output["a"] + output["b"])

    answer = {"a": LOGITS, "b": LOGITS + 1}
    assert choose(OutputReader(Sum()), [answer], [[0, 1, 2]]).take(answer) is answer


def test_a_detector_s_boxes_are_no_logits() -> None:
    """As many boxes as pictures, and four numbers each."""
    with pytest.raises(AttributionError, match="Object detection is not supported"):
        OutputReader(Classification()).read([{"boxes": LOGITS, "scores": LOGITS[0]}], 3)


def test_masks_a_query_are_no_maps_a_class() -> None:
    """As Mask2Former's; the message's line makes maps a class of them, which work."""
    queries = torch.randn(3, 20, 5)
    queries[:, :, 4] = 9.0
    queries[:, 7, 2] = 19.0
    masks = torch.full((3, 20, 4, 4), -9.0)
    masks[:, 7, :2] = 9.0
    answer = SimpleNamespace(class_queries_logits=queries, masks_queries_logits=masks)
    reader = OutputReader(Segmentation())
    with pytest.raises(AttributionError, match="a mask a query") as told:
        reader.read(answer, 3)
    line = str(told.value).split("`output=")[1].split("`")[0]
    reader = OutputReader(Segmentation(), eval(line))  # noqa: S307 - our own line
    (prediction,) = reader.read(answer, 3).values()
    assert prediction.num_classes == 4
    assert (prediction.class_maps[:, :2] == 2).all()


def test_a_part_many_times_wider_than_its_labels_is_asked_about() -> None:
    """Features beside logits that another task reads; names settle it."""
    wide, target = torch.randn(3, 40, 4, 4), torch.full((4, 4), 2)
    for task, part, label in (
        (Classification(), torch.randn(3, 40), torch.tensor(2)),
        (Segmentation(), wide, target),
    ):
        answer = (part, torch.randn(3, 1))
        with pytest.raises(AttributionError, match=r"got 0 \[B, 40.*`output=0`"):
            choose(OutputReader(task), [answer], [[label] * 3])
        names = [str(k) for k in range(40)]
        assert choose(OutputReader(task), [answer], [[label] * 3], names).part == 0
        assert choose(OutputReader(task, 0), [answer], [[label] * 3]).given == 0


def test_parts_that_another_task_reads_are_offered_with_it() -> None:
    """Each part's own task is named."""
    answer = (torch.zeros(3, 1), torch.zeros(3, 2, 4, 4))
    with pytest.raises(AttributionError) as told:
        OutputReader(Classification()).read(answer, 3)
    assert "`task=BinaryClassification()` for a single logit (0)" in str(told.value)
    assert "`task=Segmentation()` for a dense output (1)" in str(told.value)


@pytest.mark.parametrize(
    ("make", "is_probability", "is_doubted"),
    [
        (lambda x: x.sigmoid(), True, False),
        (lambda x: x.sigmoid().squeeze(1), True, False),
        (lambda x: torch.stack([x.sigmoid(), x.sigmoid()]).mean(dim=0), True, False),
        (lambda x: x.sigmoid().clamp(1e-3, 1 - 1e-3), True, False),
        (lambda x: x * 0.01 + 0.5, False, False),
        (lambda x: nn.functional.relu(x) * 0.01, False, False),
        (lambda x: 1 / (1 + (-x).exp()), True, True),  # not known by its graph: by its range
    ],
)
def test_numbers_in_the_unit_interval_are_told_apart_by_what_made_them(
    make: Any, is_probability: bool, is_doubted: bool
) -> None:
    """A validation records no graph, so one row is asked with one."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 1)
    rows = torch.rand(3, 4)

    def run() -> Tensor:
        made: Tensor = make(layer(rows))
        return made

    reader = OutputReader(BinaryClassification())
    reader.see(run().detach(), 3, lambda: [0.0, 1.0, 0.0])
    reading = reader.choose([reader.tell(run)], None)
    assert reading.is_probability is is_probability
    assert isinstance(reading.task(BinaryClassification()), BinaryClassification)
    assert reading.task(BinaryClassification()).from_probabilities is is_probability
    told = reader.choice + reader.doubt
    assert f"BinaryClassification(from_probabilities={not is_probability})" in told
    assert bool(reader.doubt) is is_doubted


def test_one_number_outside_of_the_unit_interval_makes_them_all_logits() -> None:
    """In whichever batch it is."""
    reader = OutputReader(BinaryClassification())
    reader.see(torch.tensor([0.1, 0.5, 0.9]), 3, lambda: [0, 1, 0])
    reader.see(torch.tensor([0.1, 1.5, 0.9]), 3, lambda: [0, 1, 0])
    assert reader.choose([reader.tell()], None).is_probability is False


def test_what_was_told_is_not_found_out() -> None:
    """`from_probabilities` given is a task of its own."""
    task = BinaryClassification(from_probabilities=False)
    reader = OutputReader(task)
    reader.see(torch.tensor([0.1, 0.5, 0.9]), 3, lambda: [0, 1, 0])
    reading = reader.choose([reader.tell()], None)
    assert reading.is_probability is None
    assert reading.task(task) is task

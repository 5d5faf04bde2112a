from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_vlmxai.errors import AttributionError, ConfigurationError
from lightning_vlmxai.tasks import (
    BinaryClassification,
    BinarySegmentation,
    Classification,
    MultiLabelClassification,
    Prediction,
    Segmentation,
    WithTarget,
    logits_of,
)

LOGITS = torch.tensor([[1.0, 3.0, 0.0], [2.0, -1.0, 0.0]])


class _Output(dict[str, Any]):
    """As a Hugging Face output: a dict with attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        [LOGITS],
        (torch.tensor(0.7), LOGITS),
        {"logits": LOGITS, "loss": torch.tensor(0.7)},
        {"out": LOGITS, "aux": LOGITS + 1},
        {"scores_of_mine": LOGITS},
        _Output(loss=torch.tensor(0.7), logits=LOGITS),
        SimpleNamespace(logits=LOGITS, hidden_states=None),
    ],
    ids=["tensor", "list", "loss first", "dict", "out", "only", "hugging face", "object"],
)
def test_logits_are_found_in_every_usual_output(output: Any) -> None:
    """Tensor, tuple, list, dict and object give the very same logits."""
    assert logits_of(output) is LOGITS


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            {"a": LOGITS, "b": LOGITS + 1},
            r'dict with "a" \[2, 3\], "b" \[2, 3\]\. Name .*`output="a"`',
        ),
        ((torch.zeros(2, 64), LOGITS), r"tuple with 0 \[2, 64\], 1 \[2, 3\]\. Name .*`output=0`"),
        ({"loss": torch.tensor(1.0)}, r"dict with no tensor\. Return the logits"),
    ],
)
def test_an_output_of_which_several_could_be_the_logits_is_refused(output: Any, said: str) -> None:
    """Never the first of them: that may be features. The message tells what there was."""
    with pytest.raises(AttributionError, match=said):
        logits_of(output)


@pytest.mark.parametrize(
    "output",
    [
        [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}],
        _Output(logits=LOGITS, pred_boxes=torch.zeros(2, 3, 4)),
        SimpleNamespace(logits=LOGITS, pred_boxes=torch.zeros(2, 3, 4)),
    ],
)
def test_a_detection_output_is_refused_as_unsupported(output: Any) -> None:
    """Boxes are recognised before anything that looks like logits."""
    with pytest.raises(AttributionError, match=r"got boxes\. Object detection is not supported"):
        logits_of(output)


def test_classification_predicts_the_largest_logit() -> None:
    """Class, softmax probability and explained logit are those of the largest logit."""
    prediction = Classification().predict(LOGITS)
    assert prediction.classes.tolist() == [1, 0]
    assert prediction.scores.tolist() == [3.0, 2.0]
    assert prediction.confidences[0] == pytest.approx(float(LOGITS[0].softmax(0)[1]))
    assert prediction.num_classes == 3
    assert Classification().is_correct(prediction, 0, torch.tensor(1))
    assert not Classification().is_correct(prediction, 1, torch.tensor(1))


def test_classification_scores_another_output_for_the_same_class() -> None:
    """The score follows the predicted class, not the other output's own largest."""
    prediction = Classification().predict(LOGITS)
    other = torch.tensor([[5.0, 1.0, 0.0], [4.0, 9.0, 0.0]])
    assert Classification().score(other, prediction).tolist() == [1.0, 4.0]
    confidence = Classification().confidence(other, prediction)
    assert confidence.tolist() == pytest.approx(other.softmax(1)[[0, 1], [1, 0]].tolist())


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [((2, 1), "BinaryClassification"), ((2,), "BinaryClassification"), ((2, 3, 4, 4), "Segment")],
)
def test_classification_names_the_fitting_task(shape: tuple[int, ...], remedy: str) -> None:
    """Outputs of another shape are refused with the task that reads them."""
    with pytest.raises(AttributionError, match=rf"got \[.*\]\. Pass `task={remedy}"):
        Classification().predict(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_binary_explains_the_evidence_for_the_predicted_class(shape: tuple[int, ...]) -> None:
    """A negative logit is class 0, explained by minus itself."""
    logits = torch.tensor([2.0, -3.0, 0.0]).reshape(shape)
    prediction = BinaryClassification().predict(logits)
    assert prediction.classes.tolist() == [1, 0, 0]
    assert prediction.scores.tolist() == [2.0, 3.0, 0.0]
    assert prediction.confidences.tolist() == pytest.approx([0.880797, 0.952574, 0.5], abs=1e-5)
    assert BinaryClassification().score(-logits, prediction).tolist() == [-2.0, -3.0, 0.0]
    assert BinaryClassification().confidence(logits, prediction)[0] == prediction.confidences[0]


@pytest.mark.parametrize("label", [torch.tensor(1), torch.tensor(1.0), torch.tensor([1.0])])
def test_binary_takes_float_labels(label: Tensor) -> None:
    """A label as the loss wants it, a float, is the same class."""
    prediction = BinaryClassification().predict(torch.tensor([2.0, -2.0]))
    assert BinaryClassification().label_of(label, 2) == 1
    assert BinaryClassification().is_correct(prediction, 0, label)
    assert not BinaryClassification().is_correct(prediction, 1, label)


def test_binary_refuses_other_labels_and_outputs() -> None:
    """Half a label and two logits have their own messages."""
    with pytest.raises(
        ConfigurationError, match=r"to be a class, got 0\.5, a measure\. Regression"
    ):
        BinaryClassification().label_of(torch.tensor(0.5), 2)
    with pytest.raises(AttributionError, match=r"got \[2, 2\]\. Pass `task=Classification"):
        BinaryClassification().predict(torch.zeros(2, 2))


def test_classification_refuses_labels_outside_the_model() -> None:
    """A label past the last class is a configuration error that says so."""
    with pytest.raises(ConfigurationError, match=r"in \[0, 2\], the model's classes, got 3"):
        Classification().label_of(torch.tensor(3), 3)
    with pytest.raises(ConfigurationError, match="one integer a sample"):
        Classification().label_of(torch.tensor([1, 2]), 3)


def _dense(class_map: list[list[int]], classes: int = 4) -> Tensor:
    """Return logits [1, K, h, w] that are 5 at the class and 1 elsewhere."""
    wanted = torch.tensor(class_map)
    return (torch.nn.functional.one_hot(wanted, classes).permute(2, 0, 1) * 4.0 + 1.0)[None]


def test_segmentation_explains_the_largest_foreground_class() -> None:
    """Background is larger but no object; the score sums the class's logits over its pixels."""
    logits = _dense([[0, 0, 0, 2], [0, 1, 2, 2]])
    prediction = Segmentation().predict({"out": logits})
    assert prediction.classes.tolist() == [2]
    assert prediction.scores.tolist() == [15.0]
    probability = float(torch.tensor([5.0, 1.0, 1.0, 1.0]).softmax(0)[0])
    assert prediction.confidences.tolist() == pytest.approx([probability])


def test_segmentation_scores_the_same_pixels_of_another_output() -> None:
    """Where the class was predicted stays the region, whatever the other output predicts."""
    prediction = Segmentation().predict(_dense([[0, 2], [2, 1]]))
    other = torch.arange(16.0).reshape(1, 4, 2, 2)
    assert Segmentation().score(other, prediction).tolist() == [9.0 + 10.0]


def test_segmentation_of_background_alone_is_background() -> None:
    """Without any object the background is what is explained; no class is one for None."""
    logits = _dense([[0, 0], [0, 0]])
    assert Segmentation().predict(logits).classes.tolist() == [0]
    assert Segmentation(background=None).predict(logits).classes.tolist() == [0]
    mostly = _dense([[0, 0], [0, 3]])
    assert Segmentation(background=None).predict(mostly).classes.tolist() == [0]
    assert Segmentation().predict(mostly).classes.tolist() == [3]


@pytest.mark.parametrize(
    ("target", "correct"),
    [
        ([[2, 2], [2, 0]], True),  # 3 of 3 pixels
        ([[2, 0], [0, 0]], False),  # 1 of 3
        ([[2, 2], [0, 0]], True),  # 2 of 3
        ([[2, 255], [255, 0]], True),  # void doesn't count: 1 of 1
        ([[1, 1], [1, 2]], False),  # the largest true class isn't met at all
    ],
)
def test_segmentation_is_correct_from_half_the_union(
    target: list[list[int]], correct: bool
) -> None:
    """The largest true class decides, by intersection over union without void."""
    prediction = Segmentation().predict(_dense([[2, 2], [2, 0]]))
    assert Segmentation().is_correct(prediction, 0, torch.tensor(target)) is correct


def test_segmentation_takes_the_label_from_objects_only() -> None:
    """Void and background are no label, a leading axis is no harm."""
    target = torch.tensor([[0, 0, 0, 255], [255, 255, 1, 3]])
    assert Segmentation().label_of(target, 4) == 1
    assert Segmentation().label_of(torch.tensor([[[0, 3, 3]]]), 4) == 3
    assert Segmentation().label_of(torch.tensor([[0, 255]]), 4) == 0


def test_segmentation_meets_targets_of_another_size() -> None:
    """A class map of a quarter of the size is enlarged to the target's."""
    prediction = Segmentation().predict(_dense([[2, 0], [0, 0]]))
    target = torch.zeros(8, 8, dtype=torch.long)
    target[:4, :4] = 2
    assert Segmentation().is_correct(prediction, 0, target)


def test_segmentation_refuses_targets_that_are_no_class_map() -> None:
    """One label a picture and a class outside the model have their own messages."""
    with pytest.raises(ConfigurationError, match=r"an integer class a pixel, \[H, W\]"):
        Segmentation().label_of(torch.tensor(1), 4)
    with pytest.raises(ConfigurationError, match=r"or void \(255\), got \[0, 7\]"):
        Segmentation().label_of(torch.tensor([[0, 7]]), 4)
    with pytest.raises(ConfigurationError, match=r"`min_iou` to be in \(0, 1\], got 0\.0"):
        Segmentation(min_iou=0.0)
    with pytest.raises(AttributionError, match=r"got \[2, 3\]\. Pass `task=Classification"):
        Segmentation().predict(torch.zeros(2, 3))


def test_a_target_of_your_own_changes_the_score_alone() -> None:
    """Class and correctness stay the task's."""
    task = WithTarget(
        task=Classification(), target=lambda k: lambda logits: logits.softmax(dim=0)[k]
    )
    prediction = task.predict(LOGITS)
    assert prediction.classes.tolist() == [1, 0]
    assert prediction.scores.tolist() == pytest.approx(prediction.confidences.tolist())
    assert task.is_correct(prediction, 0, torch.tensor(1))
    assert task.label_of(torch.tensor(2), 3) == 2


def test_a_target_of_several_numbers_is_refused() -> None:
    """A target must give one number a sample."""
    task = WithTarget(task=Classification(), target=lambda _: lambda logits: logits)
    with pytest.raises(AttributionError, match=r"one number a sample, got \[3\]"):
        task.predict(LOGITS)


def test_rows_select_every_field() -> None:
    """Rows may repeat; class maps go along."""
    prediction = Segmentation().predict(torch.cat([_dense([[2, 0]]), _dense([[1, 1]])]))
    rows: Prediction = prediction.rows(torch.tensor([1, 0, 1]))
    assert rows.classes.tolist() == [1, 2, 1]
    assert rows.class_maps is not None
    assert rows.class_maps.tolist() == [[[1, 1]], [[2, 0]], [[1, 1]]]


def test_probabilities_give_the_classes_of_their_logits() -> None:
    """Class, confidence and explained score are those of the logits that they were made of."""
    torch.manual_seed(0)
    for task, logits, squash in (
        (Classification(), torch.randn(4, 5), lambda z: z.softmax(dim=1)),
        (Segmentation(), torch.randn(4, 5, 6, 6), lambda z: z.softmax(dim=1)),
        (BinaryClassification(), torch.randn(4, 1) * 3, torch.sigmoid),
        (MultiLabelClassification(), torch.randn(4, 5) * 3, torch.sigmoid),
        (BinarySegmentation(), torch.randn(4, 1, 6, 6) * 3, torch.sigmoid),
    ):
        plain, read = task.predict(logits), task.predict(squash(logits))
        assert (plain.from_probabilities, read.from_probabilities) == (False, True)
        assert torch.equal(plain.classes, read.classes)
        assert torch.allclose(plain.confidences, read.confidences, atol=1e-5)
        other = squash(logits.roll(1, dims=0))
        if squash is torch.sigmoid:
            assert torch.allclose(plain.scores, read.scores, rtol=1e-4, atol=1e-4)
            assert torch.allclose(
                task.score(other, read),
                task.score(logits.roll(1, dims=0), plain),
                rtol=1e-4,
                atol=1e-4,
            )
        assert torch.allclose(
            task.confidence(other, read), task.confidence(logits.roll(1, dims=0), plain), atol=1e-5
        )


def test_probabilities_have_the_gradients_of_logits() -> None:
    """The explained score's, through the sigmoid, are one; even where it is saturated, finite."""
    logits = torch.tensor([3.0, -2.0, 40.0], requires_grad=True)
    task = BinaryClassification(from_probabilities=True)
    (gradients,) = torch.autograd.grad(task.predict(logits.sigmoid()).scores.sum(), logits)
    assert gradients[:2].tolist() == pytest.approx([1.0, -1.0], abs=1e-4)
    assert gradients.isfinite().all()


@pytest.mark.parametrize(
    ("total", "dtype", "is_probability"),
    [
        (1.0005, torch.float32, True),
        (1.002, torch.float32, False),
        (0.99, torch.float32, False),
        (1.002, torch.bfloat16, True),
        (1.03, torch.bfloat16, False),
    ],
)
def test_a_distribution_sums_to_one(total: float, dtype: torch.dtype, is_probability: bool) -> None:
    """Within rounding; small logits that don't are no probabilities, and one row is enough."""
    values = torch.tensor([[0.5, 0.5], [0.25, total - 0.25]], dtype=dtype)
    prediction = Classification().predict(values)
    assert prediction.from_probabilities is is_probability
    assert Segmentation().predict(values[:, :, None, None]).from_probabilities is is_probability


def test_two_probabilities_are_two_classes() -> None:
    """0.1 is class 0, though as a logit it would be class 1; told otherwise, it is."""
    values = torch.tensor([[0.1], [0.9]])
    assert BinaryClassification().predict(values).classes.tolist() == [0, 1]
    told = BinaryClassification(from_probabilities=False)
    assert told.predict(values).classes.tolist() == [1, 1]


def test_a_single_number_that_may_be_either_is_asked_for() -> None:
    """Nothing tells a logit of 0.3 from a probability of 0.3; the message's line works."""
    with pytest.raises(AttributionError, match="given where a single number") as told:
        BinaryClassification().predict(torch.tensor([0.3]))
    line = str(told.value).split("`task=")[1].split("`")[0]
    assert eval(line).predict(torch.tensor([0.3])).classes.tolist() == [1]  # noqa: S307


def test_log_probabilities_are_logits() -> None:
    """A model trained with NLLLoss answers with them; the confidence is the probability."""
    prediction = Classification().predict(LOGITS.log_softmax(dim=1))
    assert not prediction.from_probabilities
    assert torch.allclose(prediction.confidences, Classification().predict(LOGITS).confidences)


def test_several_labels_a_picture() -> None:
    """Zeros and ones, or numbers; the most confident label is right if it is among them."""
    task = MultiLabelClassification()
    prediction = task.predict(torch.tensor([[-1.0, 2.0, 3.0], [-3.0, -2.0, -4.0]]))
    assert prediction.classes.tolist() == [2, 1]
    assert prediction.confidences.tolist() == pytest.approx([0.952574, 0.119203], abs=1e-5)
    assert task.is_correct(prediction, 0, torch.tensor([1.0, 0.0, 1.0]))
    assert not task.is_correct(prediction, 1, torch.tensor([1, 0, 1]))
    assert task.is_correct(prediction, 1, torch.tensor([2, 1]))
    assert task.label_of(torch.tensor([0, 0, 0]), 3) == -1
    assert task.label_of(torch.tensor([]), 3) == -1


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (torch.tensor(1), "task=Classification"),
        (torch.tensor([0, 1, 0, 1]), "or a list of labels"),  # one too many for zeros and ones
        (torch.tensor([0.0, 0.5, 1.0]), "or a list of labels"),
        (torch.tensor([3]), r"in \[0, 2\]"),
    ],
)
def test_several_labels_refuses_what_is_none(target: Tensor, said: str) -> None:
    """One label, a list of another length, shares, a number past the last."""
    with pytest.raises(ConfigurationError, match=said):
        MultiLabelClassification().label_of(target, 3)


def test_binary_segmentation_is_segmentation_of_two_classes() -> None:
    """Literally: logits 0 and x, by classes, confidences and correctness."""
    torch.manual_seed(0)
    logits = (
        torch.randn(6, 1, 4, 4) - torch.tensor([0.0, 9.0, 1.0, -1.0, 0.0, 0.5])[:, None, None, None]
    )
    twin = Segmentation().predict(torch.cat([torch.zeros_like(logits), logits], dim=1))
    for answer in (logits, logits[:, 0]):
        prediction = BinarySegmentation().predict(answer)
        assert torch.equal(prediction.classes, twin.classes)
        assert torch.allclose(prediction.confidences, twin.confidences)
        region = (logits[:, 0] > 0) == prediction.classes[:, None, None].bool()
        signs = 2 * prediction.classes[:, None, None] - 1
        slow = (logits[:, 0] * signs * region).sum(dim=(1, 2)) / 2
        assert torch.allclose(prediction.scores, slow)
        target = (torch.rand(4, 4) > 0.5).float()
        for row in range(6):
            assert BinarySegmentation().is_correct(prediction, row, target) == (
                Segmentation().is_correct(twin, row, target.long())
            )
    assert prediction.classes.tolist()[1] == 0


def test_binary_segmentation_refuses_other_masks_with_a_line_that_works() -> None:
    """0 and 255 may be foreground or void: asked, never taken for either."""
    target = torch.tensor([[0, 255], [255, 0]])
    with pytest.raises(ConfigurationError, match=r"values in \[0, 255\]") as told:
        BinarySegmentation().label_of(target, 2)
    line = str(told.value).split("`")[5]
    assert eval(line) == BinarySegmentation(void=255)  # noqa: S307 - our own line
    assert BinarySegmentation(void=255).label_of(target, 2) == 0
    assert BinarySegmentation().label_of(target > 0, 2) == 1
    with pytest.raises(ConfigurationError, match=r"0 or 1 a pixel, \[H, W\]"):
        BinarySegmentation().label_of(torch.tensor(1), 2)

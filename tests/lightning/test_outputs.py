"""Whatever a network answers with, what is explained is what the validation counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_vlmxai import (
    BinaryClassification,
    BinarySegmentation,
    MultiLabelClassification,
    Perturbation,
    VLMExplainCallback,
    VLMExplainError,
)
from lightning_vlmxai.errors import AttributionError, ConfigurationError
from lightning_vlmxai.probes import Item
from lightning_vlmxai.records import Verdict
from lightning_vlmxai.report.reader import read_run
from lightning_vlmxai.testing import ScriptedJudge, TinyConvNet
from quarters import COUNT, Module, Net, Quarters, explain, explained_accuracy, settings
from tiny import make_trainer


def largest(answer: Tensor, labels: Tensor) -> Tensor:
    """Count single labels."""
    return answer.argmax(dim=1) == labels


@dataclass
class Answer:
    """An answer with attributes."""

    embedding: Tensor
    scores: Tensor


def pooled(maps: Tensor) -> Tensor:
    """Return features that know the label, `[B, 64]`, larger than any logit."""
    return maps.mean(dim=(2, 3)) * 100


NAMES = ("upper left", "upper right", "lower left", "lower right")
ANSWERS: dict[str, tuple[Callable[[Tensor, Tensor], Any], Callable[[Any], Tensor], str]] = {
    "(features, logits)": (lambda z, m: (pooled(m), z), lambda a: a[1], "1"),
    "(logits, features)": (lambda z, m: (z, pooled(m)), lambda a: a[0], "0"),
    "(maps, logits)": (lambda z, m: (m, z), lambda a: a[1], "1"),
    "dict": (lambda z, m: {"emb": pooled(m), "cls": z}, lambda a: a["cls"], "cls"),
    "nested": (lambda z, m: {"a": [pooled(m), z]}, lambda a: a["a"][1], "a.1"),
    "dataclass": (lambda z, m: Answer(pooled(m), z), lambda a: a.scores, "scores"),
    "key": (lambda z, m: {"logits": z, "emb": pooled(m)}, lambda a: a["logits"], ""),
    "probabilities": (lambda z, _m: z.softmax(dim=1), lambda a: a, ""),
    "log-probabilities": (lambda z, _m: z.log_softmax(dim=1), lambda a: a, ""),
    "both": (lambda z, m: (pooled(m), z.softmax(dim=1)), lambda a: a[1], "1"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_of_whatever_answer_explained_accuracy_is_val_acc(tmp_path: Path, kind: str) -> None:
    """The part with as many numbers as there are names is read; run.json says which."""
    head, logits, part = ANSWERS[kind]
    module = Module(Net(head), lambda answer, labels: largest(logits(answer), labels))
    callback = explain(tmp_path, module, Quarters(names=NAMES))
    assert explained_accuracy(callback) == module.accuracy == 0.9
    told = settings(tmp_path)
    assert told["output"] == part
    assert told["from_probabilities"] is (kind in ("probabilities", "both"))
    for sample in callback.latest_round.samples:
        explanation = sample.explanation
        mask = Quarters().masks[explanation.probe_index]
        assert (explanation.mask * mask).sum() >= 0.8 * explanation.mask.sum()


def pair() -> Module:
    """Return a module that answers with features and logits."""
    return Module(Net(ANSWERS["(features, logits)"][0]), lambda a, y: largest(a[1], y))


@pytest.mark.parametrize("output", [1, "1", lambda answer: answer[1]])
def test_without_names_the_part_is_asked_for_with_lines_that_work(
    tmp_path: Path, output: Any
) -> None:
    """Labels fit features as well as logits: the message lists both, and the offers work."""
    with pytest.raises(
        AttributionError, match=r"0 \[B, 64\], 1 \[B, 4\]\. Pass `output=0` or `output=1`"
    ):
        explain(tmp_path / "asked", pair(), Quarters())
    module = pair()
    callback = explain(tmp_path, module, Quarters(), output=output)
    assert explained_accuracy(callback) == module.accuracy == 0.9


def test_a_choice_is_told_once_in_words(tmp_path: Path, caplog: Any) -> None:
    """Which part, of which shape, and which not."""
    module = Module(Net(ANSWERS["dict"][0]), lambda a, y: largest(a["cls"], y))
    with caplog.at_level("INFO"):
        explain(tmp_path, module, Quarters(names=NAMES))
    said = '"cls" [B, 4] is read, not "emb" [B, 64]'
    assert said in caplog.text


def test_labels_tell_where_names_don_t(tmp_path: Path) -> None:
    """Two numbers can't be the logits of four labels, seen only when the third label passes by."""

    class Sorted(Quarters):
        def __getitem__(self, index: int) -> Any:
            order = sorted(range(COUNT), key=self.targets.__getitem__)
            return super().__getitem__(order[index])

    net = Net(lambda z, _m: (z[:, :2], z))
    module = Module(net, lambda a, y: largest(a[1], y))
    callback = explain(tmp_path, module, Sorted(), sanity=0)
    assert explained_accuracy(callback) == module.accuracy == 0.9


def test_features_alone_are_refused_by_the_names(tmp_path: Path) -> None:
    """64 numbers for 4 classes: the message speaks of metric learning."""
    module = Module(Net(lambda _z, m: pooled(m)), largest)
    with pytest.raises(ConfigurationError, match=r"64 names.*got 4 names.*metric learning"):
        explain(tmp_path, module, Quarters(names=NAMES))


def test_features_alone_are_doubted_by_the_labels(tmp_path: Path) -> None:
    """A warning, for large heads are validated on few classes; a part so wide is refused."""
    module = Module(Net(lambda _z, m: pooled(m)), largest)
    with pytest.warns(UserWarning, match=r"no label is above 3, but .* tells 64 classes apart"):
        explain(tmp_path / "alone", module, Quarters())
    module = Module(Net(lambda z, m: (pooled(m), z[:, :1])), lambda a, _y: a[0][:, 0] > 0)
    with pytest.raises(AttributionError, match=r"which part .* got 0 \[B, 64\]"):
        explain(tmp_path, module, Quarters())


def odd(z: Tensor) -> Tensor:
    """Return the log-odds, `[B, 1]`, that the right half is bright."""
    return (z[:, [1, 3]].amax(dim=1) - z[:, [0, 2]].amax(dim=1))[:, None]


@pytest.mark.parametrize(
    ("head", "limit", "read", "accuracy"),
    [
        (lambda z, _m: odd(z), 0.0, False, 0.9),
        (lambda z, _m: odd(z).sigmoid(), 0.5, True, 0.9),
        (lambda z, _m: odd(z).sigmoid()[:, 0], 0.5, True, 0.9),
        # Logits of a network that has learnt nothing are often all in [0, 1]; all are class 1.
        (lambda z, _m: odd(z) * 0.01 + 0.3, 0.0, False, 0.6),
    ],
    ids=["logits", "probabilities", "[B]", "logits in [0, 1]"],
)
@pytest.mark.parametrize("method", ["hirescam", "occlusion"])
def test_one_probability_a_sample_is_told_from_one_logit(
    tmp_path: Path, method: str, head: Any, limit: float, read: bool, accuracy: float
) -> None:
    """By all of the validation, and by the operation that made it."""
    module = Module(Net(head), lambda a, y: (a.flatten() > limit) == (y == 1))
    callback = explain(
        tmp_path,
        module,
        Quarters("binary"),
        task=BinaryClassification(),
        method=method,
        perturbation=Perturbation(cells=2),
    )
    assert explained_accuracy(callback) == module.accuracy == accuracy
    assert settings(tmp_path)["from_probabilities"] is read


class ManyNet(Net):
    """Says which quarter is bright, whether that is on the left, and never a sixth label."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__(
            lambda z, _m: activation(torch.cat([z - 5, -odd(z), z[:, :1] * 0 - 9], dim=1))
        )


@pytest.mark.parametrize("activation", [lambda z: z, torch.sigmoid], ids=["logits", "sigmoids"])
def test_each_predicted_label_is_an_explanation(tmp_path: Path, activation: Any) -> None:
    """Correct by label, as the validation counts them; read again, none is lost."""
    data = Quarters("many")
    counted: dict[tuple[int, int], bool] = {}

    def count(answer: Tensor, labels: Tensor) -> Tensor:
        found = answer > (0.5 if activation is torch.sigmoid else 0.0)
        return labels[found] == 1

    module = Module(ManyNet(activation), count)
    names = (*NAMES, "left", "no")
    callback = explain(
        tmp_path, module, data, task=MultiLabelClassification(), class_names=names, max_epochs=2
    )
    logits = ManyNet(lambda z: z)(data.pictures)
    for row in range(COUNT):
        for label in range(6):
            if logits[row, label] > 0:
                counted[row, label] = bool(data[row][1][label] == 1)
    samples = callback.latest_round.samples
    explained = {(s.explanation.probe_index, s.explanation.part): s for s in samples}
    assert len(explained) == len(samples) == len(counted) == 45
    assert {place: s.explanation.is_correct for place, s in explained.items()} == counted
    assert sum(counted.values()) / 45 == module.accuracy
    for (row, label), sample in explained.items():
        explanation = sample.explanation
        assert explanation.prediction_name == names[label]
        if counted[row, label]:
            assert explanation.label_name == names[label]
        assert sample.attention_drift == 0.0  # compared with the same label's
    first, last = read_run(tmp_path / "run").rounds
    assert {s.place: s.is_correct for s in last.samples} == counted
    assert len({s.image for s in last.samples}) == len({s.saliency for s in last.samples}) == 45
    assert all((tmp_path / "run" / s.image).exists() for s in first.samples)


def test_a_picture_without_a_predicted_label_is_explained_by_its_most_confident(
    tmp_path: Path,
) -> None:
    """Every probe has an explanation; one without true labels has none as its label."""

    class Unlabelled(Quarters):
        def __getitem__(self, index: int) -> Any:
            return self.pictures[index], torch.zeros(4)

    module = Module(Net(lambda z, _m: z - 100), lambda a, y: (a > 0) == (y == 1))
    callback = explain(
        tmp_path, module, Unlabelled(), task=MultiLabelClassification(), class_names=NAMES
    )
    assert explained_accuracy(callback) == 0.0
    explanations = [s.explanation for s in callback.latest_round.samples]
    assert {(e.label, e.label_name) for e in explanations} == {(-1, "none")}
    assert [e.prediction for e in explanations] == [i % 4 for i in range(COUNT)]


@pytest.mark.parametrize("channel", [True, False], ids=["[B, 1, h, w]", "[B, h, w]"])
@pytest.mark.parametrize("activation", [lambda z: z, torch.sigmoid], ids=["logits", "sigmoids"])
def test_one_logit_a_pixel(tmp_path: Path, activation: Any, channel: bool) -> None:
    """Correct from half of the union on; the map lies on the foreground; names are there."""

    def head(z: Tensor, maps: Tensor) -> Tensor:
        logits = 40 * (
            maps.mean(dim=1, keepdim=True) / maps.amax(dim=(1, 2, 3), keepdim=True) - 0.3
        )
        answer: Tensor = activation(logits if channel else logits[:, 0])
        return answer

    limit = 0.5 if activation is torch.sigmoid else 0.0

    def count(answer: Tensor, masks: Tensor) -> Tensor:
        found, true = answer.reshape(masks.shape) > limit, masks > 0
        return (found & true).sum(dim=(1, 2)) >= 0.5 * (found | true).sum(dim=(1, 2))

    module = Module(Net(head), count)
    callback = explain(tmp_path, module, Quarters("mask"), task=BinarySegmentation())
    assert explained_accuracy(callback) == module.accuracy == 0.9
    for sample in callback.latest_round.samples:
        explanation = sample.explanation
        assert explanation.prediction_name == "foreground"
        mask = Quarters().masks[explanation.probe_index]
        assert (explanation.mask * mask).sum() >= 0.8 * explanation.mask.sum()


class Flat(nn.Module):
    """Quarters by one linear layer: no map of features anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4, bias=False))
        with torch.no_grad():
            quarters = nn.functional.one_hot(torch.arange(4)).float().reshape(4, 1, 2, 2)
            weights = nn.functional.interpolate(quarters, size=(16, 16)).expand(4, 3, 16, 16)
            self.layers[1].weight[:] = weights.reshape(4, -1) / 100

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def test_a_model_without_a_feature_map_is_offered_what_needs_none(tmp_path: Path) -> None:
    """Both methods of the message work, and find the quarter."""
    with pytest.raises(AttributionError, match="feature map") as told:
        explain(tmp_path / "asked", Module(Flat(), largest), Quarters(), method="gradcam")
    offers = [part for part in str(told.value).split("`")[1::2] if part.startswith("method=")]
    assert len(offers) == 2
    for offer in offers:
        module = Module(Flat(), largest)
        method = offer.split('"')[1]
        callback = explain(
            tmp_path / method,
            module,
            Quarters(),
            method=method,
            perturbation=Perturbation(masks=200, cells=4, batch_size=256),
        )
        assert explained_accuracy(callback) == module.accuracy == 0.9
        assert settings(tmp_path / method)["target_layer"] is None
        masks = Quarters().masks.bool()
        maps = [s.explanation.saliency for s in callback.latest_round.samples]
        inside = torch.stack([m[mask].mean() for m, mask in zip(maps, masks, strict=True)])
        outside = torch.stack([m[~mask].mean() for m, mask in zip(maps, masks, strict=True)])
        assert (inside > outside).all()
        assert inside.mean() > 1.5 * outside.mean()


def test_regression_is_one_message_whose_lines_work(tmp_path: Path) -> None:
    """Under the default task and under the binary one; pasted, two classes are explained."""

    def module() -> Module:
        return Module(Net(lambda z, _m: z[:, :1]), lambda a, y: (a[:, 0] > 1.37) == (y > 1.37))

    arguments: list[dict[str, Any]] = [{}, {"task": BinaryClassification()}]
    for number, given in enumerate(arguments):
        with pytest.raises(VLMExplainError, match="Regression is not supported") as told:
            explain(tmp_path / str(number), module(), Quarters("measure"), **given)
    lines = [part for part in str(told.value).split("`")[1::2] if "lambda" in part]
    pasted = eval(f"dict({', '.join(lines)})", {"Item": Item})  # noqa: S307 - our own lines
    watched = module()
    callback = explain(
        tmp_path, watched, Quarters("measure"), task=BinaryClassification(), **pasted
    )
    limit = float(lines[0].split("- ")[1])
    with torch.no_grad():
        right = (watched.net(Quarters().pictures)[:, 0] > limit) == (
            torch.tensor(Quarters().targets) + 0.37 > limit
        )
    assert explained_accuracy(callback) == int(right.sum()) / COUNT


def test_asking_what_made_an_answer_leaves_training_as_it_was(tmp_path: Path) -> None:
    """A row is asked with gradients recorded: weights, buffers and generators don't notice."""

    def train(*callbacks: pl.Callback) -> list[Tensor]:
        pl.seed_everything(0, verbose=False)
        module = Module(TinyConvNet(1), lambda a, y: (a.flatten() > 0.5) == (y == 1))
        module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.1)  # type: ignore[method-assign]

        def step(batch: Any, batch_idx: int) -> Tensor:
            logits = nn.functional.dropout(module.net(batch[0]).flatten())
            return nn.functional.binary_cross_entropy_with_logits(logits, batch[1].float())

        module.training_step = step  # type: ignore[method-assign]
        module.forward = lambda images: module.net(images).sigmoid()  # type: ignore[method-assign]
        loader = DataLoader(Quarters("binary"), batch_size=8, shuffle=True)
        data = DataLoader(Quarters("binary"), batch_size=8)
        make_trainer(tmp_path, *callbacks).fit(module, loader, data)
        state = [value.clone() for value in module.state_dict().values()]
        return [*state, torch.get_rng_state()]

    judge = ScriptedJudge([Verdict.scored(4)])
    watched = train(
        VLMExplainCallback(judge, task=BinaryClassification(), run_dir=tmp_path / "run")
    )
    assert settings(tmp_path)["from_probabilities"] is True
    assert all(torch.equal(a, b) for a, b in zip(watched, train(), strict=True))

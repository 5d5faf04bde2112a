"""A probe goes in as the user's own validation goes in: explained accuracy is `val_acc`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    SubsetRandomSampler,
)
from torchmetrics import MeanMetric

from lightning_vlmxai import VLMExplainCallback, VLMExplainError
from lightning_vlmxai.errors import AttributionError, ProbeError
from lightning_vlmxai.records import Verdict
from lightning_vlmxai.testing import ScriptedJudge
from neutral_state import MemoryLogger
from own_doors import (
    COUNT,
    MEAN,
    STD,
    Bright,
    Module,
    Net,
    explain,
    explained_accuracy,
    loader,
    normalize,
    to_dict,
)
from tiny import make_trainer


@pytest.mark.parametrize("how", ["data set", "collate", "transfer", "step"])
def test_wherever_a_picture_is_normalised_explained_accuracy_is_val_acc(
    tmp_path: Path, how: str
) -> None:
    """Without an argument, to the last sample; the judge sees the files' own colours."""
    module, data = Module(how), loader(how)
    arguments = {"normalization": ([MEAN] * 3, [STD] * 3)} if how == "data set" else {}
    callback = explain(tmp_path, module, data, **arguments)
    assert module.accuracy == 0.9
    assert explained_accuracy(callback) == module.accuracy
    assert callback.latest_round is not None
    for sample in callback.latest_round.samples:
        stored = data.dataset.bytes[sample.explanation.probe_index].float() / 255  # type: ignore[attr-defined]
        assert (sample.explanation.pixels - stored).abs().max() <= 2 / 255
    wrong = Module("")(data.dataset.bytes.float() / 255).argmax(dim=1)  # type: ignore[attr-defined]
    right = torch.tensor(data.dataset.targets)  # type: ignore[attr-defined]
    assert float((wrong == right).float().mean()) < 0.7  # what going past it would have said


class Whole(Module):
    """`forward` takes the batch as it is."""

    def forward(self, batch: Any) -> Tensor:
        return self.net(normalize(batch["image"]))

    def predict_batch(self, batch: Any) -> Tensor:
        return self(batch)


class Keyword(Module):
    """The network's own way of being called."""

    def forward(self, *, pixel_values: Tensor, label: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        logits = self.net(normalize(pixel_values))
        return {"loss": nn.functional.cross_entropy(logits, label), "logits": logits}

    def predict_batch(self, batch: Any) -> Tensor:
        return self(pixel_values=batch["image"], label=batch["label"])["logits"]


class TwoInputs(Module):
    """A number a sample decides together with the picture."""

    def forward(self, images: Tensor, shift: Tensor) -> Tensor:
        return self.net(normalize(images)) + torch.stack([shift, -shift], dim=1)

    def predict_batch(self, batch: Any) -> Tensor:
        return self(batch["image"], batch["label"] * 0.1)


class Averaged(Module):
    """Validates a frozen copy of the network, which says the contrary."""

    def __init__(self) -> None:
        super().__init__()
        self.copy = Net().requires_grad_(False)
        with torch.no_grad():
            self.copy.features.weight.neg_()

    def predict_batch(self, batch: Any) -> Tensor:
        return self.copy(normalize(batch["image"]))


class Direct(Module):
    """Calls `forward` itself."""

    def forward(self, images: Tensor) -> Tensor:
        return self.net.features(normalize(images)).mean(dim=(2, 3))

    def predict_batch(self, batch: Any) -> Tensor:
        return self.forward(batch["image"])


class Flipped(Module):
    """Test-time augmentation."""

    def predict_batch(self, batch: Any) -> Tensor:
        images = normalize(batch["image"])
        return (self.net(images) + self.net(images.flip(3))) / 2


@pytest.mark.parametrize("kind", [Whole, Keyword, TwoInputs, Averaged, Direct, Flipped])
def test_however_a_step_calls_its_network(tmp_path: Path, kind: Callable[[], Module]) -> None:
    """The whole batch, keywords, several inputs, a copy, `forward` itself, twice."""
    module = kind()
    callback = explain(tmp_path, module, loader(collate_fn=to_dict))
    assert explained_accuracy(callback) == module.accuracy
    assert module.accuracy == (0.1 if kind is Averaged else 0.9)


def test_a_training_sample_can_t_become_a_probe(tmp_path: Path) -> None:
    """Where training and validation are two parts of one data set, dealt out by samplers."""
    held_out = list(range(0, COUNT, 3))
    data = DataLoader(Bright(), batch_size=4, sampler=SubsetRandomSampler(held_out))
    module = Module("step")
    callback = explain(tmp_path, module, data)
    assert callback.latest_round is not None
    assert explained_accuracy(callback) == module.accuracy
    pictures = (Bright().bytes[held_out].float() / 255).flatten(1).sum(dim=1)
    shown = [float(s.explanation.pixels.sum()) for s in callback.latest_round.samples]
    assert sorted(shown) == pytest.approx(sorted(pictures.tolist()))


COUNTS = (40, 10, 80, 70, 25, 55, 30, 60, 15, 15)


class Sorted(IterableDataset[Any]):
    """A stream of ten classes, one after the other."""

    def __iter__(self) -> Iterator[Any]:
        for label, count in enumerate(COUNTS):
            for i in range(count):
                yield torch.full((3, 8, 8), (label + 0.5) / 10) + 0.001 * (i % 7), label


class Levels(Module):
    """Ten classes by brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.net.features = nn.Conv2d(3, 10, 1)
        with torch.no_grad():
            centres = (torch.arange(10) + 0.5) / 10
            self.net.features.weight[:] = (2 * centres / 3)[:, None, None, None]
            self.net.features.bias[:] = -(centres**2)


@pytest.mark.filterwarnings("ignore:.*blank_saliency", "ignore:.*of one single value")
def test_a_sorted_stream_gives_every_class_its_share(tmp_path: Path) -> None:
    """Within one, in memory for four times the probes."""
    judge = ScriptedJudge([Verdict.scored(4)])
    callback = VLMExplainCallback(judge, probe_size=20, lag=0)
    trainer = make_trainer(tmp_path, callback, max_epochs=1)
    trainer.fit(Levels(), DataLoader(Bright(), batch_size=8), DataLoader(Sorted(), batch_size=8))
    assert callback.latest_round is not None
    labels = [sample.explanation.label for sample in callback.latest_round.samples]
    shares = {label: 20 * count / sum(COUNTS) for label, count in enumerate(COUNTS)}
    assert len(labels) == 20
    assert all(abs(labels.count(label) - share) <= 1 for label, share in shares.items())


class Moody(Module):
    """Behaves otherwise when it is not validated; `how` says in which way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.mood, self.is_validating = how, False

    def predict_batch(self, batch: Any) -> Tensor:
        self.is_validating = True
        try:
            return self(batch[0])
        finally:
            self.is_validating = False

    def forward(self, images: Tensor) -> Tensor:
        if self.is_validating:
            return self.net(normalize(images))
        if self.mood == "skipped":
            return self.net(images)
        if self.mood == "shifted":
            return self.net(normalize(images)).roll(1, dims=0)
        return self.net((images - 0.45) / STD)


@pytest.mark.parametrize("how", ["skipped", "shifted", "another normalisation"])
def test_a_broken_equality_is_caught_by_the_proof(tmp_path: Path, how: str) -> None:
    """In the rehearsal; the message names a row and both predictions."""
    said = r"row \d+: the validation predicted class \d with probability .*predicts class \d"
    with pytest.raises(AttributionError, match=said):
        explain(tmp_path, Moody(how), loader())


class Inline(Module):
    """Backbone and head are called one after the other: no module goes from picture to logits."""

    def __init__(self, heads: int = 1) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(2, 2) for _ in range(heads))
        self.batches: list[int] = []
        self.kept: dict[str, list[Tensor]] = {"logits": []}
        self.metric = MeanMetric()
        for head in self.heads:
            with torch.no_grad():
                head.weight[:], head.bias[:] = torch.eye(2), 0.0  # type: ignore[index, operator]

    def predict_batch(self, batch: Any) -> Tensor:
        features = self.net.features(normalize(batch[0])).mean(dim=(2, 3))
        return torch.stack([head(features) for head in self.heads]).mean(dim=0)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx, dataloader_idx)
        self.batches.append(batch_idx)
        self.kept["logits"].append(batch[0])
        self.metric(batch[1])
        self.log("val_mean", self.metric)
        self.log("val_batches", float(len(self.batches)))
        if self.logger is not None:
            self.logger.log_metrics({"by hand": float(batch_idx)})


# Its two channels are one map and its negative, whatever a head makes of them.
@pytest.mark.filterwarnings("ignore:.*what comes behind the target layer is made random")
def test_a_backbone_and_a_head_called_in_the_step_are_explained(tmp_path: Path) -> None:
    """By the step itself, which leaves no trace of being run again."""
    left = []
    for callbacks in ([], [VLMExplainCallback(ScriptedJudge([Verdict.scored(4)]), lag=0)]):
        module, logger = Inline(), MemoryLogger()
        trainer = make_trainer(tmp_path, *callbacks, max_epochs=1, logger=logger)
        trainer.fit(module, DataLoader(Bright(), batch_size=8), loader())
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if "vlmxai" not in k}
        left.append((module.batches, len(module.kept["logits"]), logger.states, figures))
    assert explained_accuracy(callbacks[0]) == module.accuracy == 0.9
    assert left[0] == left[1]
    assert left[0][0] == [0, 1, 0, 1, 2, 3]  # two of the sanity check, four of the validation


# Its two channels are one map and its negative, whatever a head makes of them.
@pytest.mark.filterwarnings("ignore:.*what comes behind the target layer is made random")
def test_of_several_heads_in_the_step_one_is_asked_for(tmp_path: Path) -> None:
    """Nobody knows which is the classifier; the pasted name does."""
    with pytest.raises(ProbeError, match=r"several parts.*heads\.0, heads\.1") as told:
        explain(tmp_path, Inline(heads=2), loader())
    assert '`network="heads.0"`' in str(told.value)
    module = Inline(heads=2)
    callback = explain(tmp_path, module, loader(), network="heads.0")
    assert explained_accuracy(callback) == module.accuracy


@pytest.mark.filterwarnings("ignore:.*blank_saliency")
def test_features_that_a_head_is_given_are_no_logits(tmp_path: Path) -> None:
    """A backbone that answers `[B, 2]` itself, and a head that says the contrary of it."""

    class Headed(Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(2, 2)
            with torch.no_grad():
                self.head.weight[:], self.head.bias[:] = -torch.eye(2), 0.0

        def predict_batch(self, batch: Any) -> Tensor:
            return self.head(self.net(normalize(batch[0])).detach())

    module = Headed()
    callback = explain(tmp_path, module, loader(), method="scorecam")
    assert explained_accuracy(callback) == module.accuracy == pytest.approx(0.1)


def test_steps_without_a_part_that_answers_are_refused(tmp_path: Path) -> None:
    """Logits that no module gives can't be read."""

    class Bare(Module):
        def predict_batch(self, batch: Any) -> Tensor:
            return self.net.features(normalize(batch[0])).mean(dim=(2, 3))

    with pytest.raises(ProbeError, match=r"calls a network with a picture.*`self\(x\)`"):
        explain(tmp_path, Bare(), loader())


def test_bands_that_are_no_picture_ask_for_one_with_a_line_that_works(tmp_path: Path) -> None:
    """Thirteen bands: the message's own line, pasted, explains them."""

    class Bands(Bright):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return torch.cat([image] * 4 + [image[:1]]) * 3000, label

    class Spectral(Module):
        def __init__(self) -> None:
            super().__init__()
            self.net.features = nn.Conv2d(13, 2, 1, bias=False)
            with torch.no_grad():
                self.net.features.weight[0], self.net.features.weight[1] = -1.0, 1.0

        def predict_batch(self, batch: Any) -> Tensor:
            return self(batch[0] / 3000 - 0.5)

    data = DataLoader(Bands(seed=1), batch_size=8)
    with pytest.raises(ProbeError, match="picture=lambda row") as told:
        explain(tmp_path, Spectral(), data)
    line = str(told.value).split("`picture=")[-1].split("`")[0]
    module = Spectral()
    callback = explain(tmp_path, module, data, picture=eval(line))  # noqa: S307 - our own line
    assert explained_accuracy(callback) == module.accuracy == 0.9


def test_every_refusal_is_one_of_ours() -> None:
    """One base class catches them."""
    assert issubclass(ProbeError, VLMExplainError)

"""What is wrong is said in the first seconds, with what to change."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import transforms

from lightning_vlmxai import (
    AttributionError,
    ConfigurationError,
    JudgeError,
    ProbeError,
    VLMExplainCallback,
    VLMExplainError,
    VLMJudge,
)
from lightning_vlmxai.records import Verdict
from lightning_vlmxai.testing import ScriptedJudge
from tiny import Separable, Squares, TinyModule, loader, make_trainer


def fit(tmp_path: Path, callback: VLMExplainCallback, dataset: Any, module: Any = None) -> None:
    """Start a fit that must not get as far as its first training batch."""

    class Untrained(type(module or TinyModule())):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            raise AssertionError("training had started before the error was found")

    untrained = Untrained()
    if module is not None:
        untrained.network, untrained.dropout = module.network, module.dropout
    trainer = make_trainer(tmp_path, callback)
    trainer.fit(untrained, loader(Squares()), loader(dataset))


def test_pixels_that_cannot_be_established(tmp_path: Path) -> None:
    """A normalisation that the data set hides is asked for."""
    dataset = Squares()
    dataset.transform = lambda picture: 5 * picture - 2
    with pytest.raises(
        ProbeError,
        match=r"Expected `picture` to be in \[0, 1\] .* no known mean .* Pass `normalization=",
    ):
        fit(tmp_path, VLMExplainCallback(), dataset)


def test_a_normalization_that_is_not_the_data_sets(tmp_path: Path) -> None:
    """Undoing the wrong one leaves [0, 1], which is said."""
    callback = VLMExplainCallback(normalization=([0.5] * 3, [2.0] * 3))
    with pytest.raises(ProbeError, match=r"got \[-3.50, 6.50\] in 3 channels once it is undone"):
        fit(tmp_path, callback, Squares())


def test_two_normalizations_that_differ(tmp_path: Path) -> None:
    """Which one to undo can't be guessed."""
    dataset = Squares()
    dataset.transform = transforms.Compose(
        [transforms.Normalize([0.5] * 3, [0.5] * 3), transforms.Normalize([0.1] * 3, [1.0] * 3)]
    )
    with pytest.raises(ProbeError, match=r"no known mean .* Pass `normalization="):
        fit(tmp_path, VLMExplainCallback(), dataset)


def test_a_model_without_a_feature_map(tmp_path: Path) -> None:
    """The message says what was looked for."""
    module = TinyModule()
    module.dropout = torch.nn.Flatten()
    module.network = torch.nn.Sequential(torch.nn.Linear(3 * 32 * 32, 2))
    with pytest.raises(AttributionError, match=r"must give a feature map .* got no layer with"):
        fit(tmp_path, VLMExplainCallback(), Squares(), module)


def test_a_target_layer_that_does_not_exist(tmp_path: Path) -> None:
    """The message names the nearest layers."""
    with pytest.raises(AttributionError, match=r"got 'network.layer4'. Name one of: .*network"):
        fit(tmp_path, VLMExplainCallback(target_layer="network.layer4"), Squares())


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_out_of_range(tmp_path: Path, label: int) -> None:
    """One bad label anywhere among the probes is found."""
    dataset = Squares()
    dataset.targets[13] = label

    class Deaf(TinyModule):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            """Look at no label: cross entropy would fail first."""
            self(batch[0])

    module = Deaf()
    with pytest.raises(
        ConfigurationError, match=rf"Expected `label` to be in \[0, 1\].* got {label}\. Renumber"
    ):
        fit(tmp_path, VLMExplainCallback(), dataset, module)


class Nameless(Squares):
    """Has numbers for its classes."""

    classes = ()  # type: ignore[assignment]


class Named(ScriptedJudge):
    """Can't be asked by numbers."""

    needs_class_names = True


def test_a_judge_that_is_asked_by_names_is_never_asked_by_numbers(tmp_path: Path) -> None:
    """In the rehearsal, before anything is paid; the line, pasted, gives names to fill in."""
    assert VLMJudge.needs_class_names
    judge = Named([Verdict.scored(4)])
    with pytest.raises(ConfigurationError, match="`class_names` to be known, for scripted") as told:
        fit(tmp_path, VLMExplainCallback(judge), Nameless())
    assert judge.requests == []
    line = str(told.value).split("`")[-2]
    callback = VLMExplainCallback(judge, **eval(f"dict({line})"))  # noqa: S307 - our own line
    torch.manual_seed(0)  # some weights give blank maps, which are warned of
    make_trainer(tmp_path, callback).fit(TinyModule(), loader(Squares()), loader(Nameless()))
    assert judge.requests[0].label_name.startswith("the name of class ")


def test_names_that_do_not_fit_are_told_and_not_asked_for(tmp_path: Path) -> None:
    """A target transform has changed the labels; numbers stand in their place."""

    class Turned(Squares):
        target_transform = staticmethod(lambda label: 1 - label)

        def __getitem__(self, index: int) -> Any:
            picture, label, mask = super().__getitem__(index)
            return picture, self.target_transform(label), mask

    judge = ScriptedJudge([Verdict.scored(4)])
    trainer = make_trainer(tmp_path, VLMExplainCallback(judge))
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=r"names of Turned are not used, for 16 of 16 rows"):
        trainer.fit(TinyModule(), loader(Squares()), loader(Turned()))
    assert judge.requests[0].label_name in ("0", "1")


def test_watched_classes_without_names(tmp_path: Path) -> None:
    """Nobody would know which they are."""
    callback = VLMExplainCallback(watch_classes=["red"])
    with pytest.raises(ConfigurationError, match=r"known, for `watch_classes` needs them"):
        fit(tmp_path, callback, Nameless())


def test_class_names_of_the_wrong_length(tmp_path: Path) -> None:
    """Three names for two outputs."""
    callback = VLMExplainCallback(class_names=["a", "b", "c"])
    with pytest.raises(ConfigurationError, match=r"`class_names` to be 2 names.* got 3 names"):
        fit(tmp_path, callback, Squares())


@pytest.mark.parametrize("names", [["crane", "crane"], ["crane", "Crane"]])
def test_classes_of_the_same_name_are_told(tmp_path: Path, names: list[str]) -> None:
    """Their figures are those of one class."""
    callback = VLMExplainCallback(class_names=names, probe_size=8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer(tmp_path, callback, max_epochs=1).fit(
            Separable(), loader(Squares()), loader(Squares())
        )
    told = [str(w.message) for w in caught if "share the name" in str(w.message)]
    assert len(told) == (names[0] == names[1])
    assert all("classes 0, 1 share the name 'crane'" in line for line in told)


def test_a_watched_class_that_does_not_exist(tmp_path: Path) -> None:
    """The message lists the classes."""
    callback = VLMExplainCallback(watch_classes=["green"])
    with pytest.raises(ConfigurationError, match=r"got 'green'. Choose from red, blue"):
        fit(tmp_path, callback, Squares())


def test_a_missing_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the environment variable."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY"):
        fit(tmp_path, VLMExplainCallback(VLMJudge("a-model")), Squares())


def test_an_address_where_no_server_is(tmp_path: Path) -> None:
    """A refused connection fails the rehearsal and names the judge."""
    judge = VLMJudge("a-model", base_url="http://127.0.0.1:9/v1", api_key_env=None, max_retries=0)
    with pytest.raises(JudgeError, match=r"^a-model .*\(connection\).*Check `base_url`"):
        fit(tmp_path, VLMExplainCallback(judge), Squares())


def test_samples_without_masks_under_the_reference_judge(tmp_path: Path) -> None:
    """The embedded judge says that it needs object masks."""

    class Bare(Squares):
        def __getitem__(self, index: int) -> Any:
            return super().__getitem__(index)[:2]

    with pytest.raises(JudgeError, match=r"no object mask: return .* reference_mask.*VLMJudge"):
        fit(tmp_path, VLMExplainCallback(), Bare())


def test_a_sample_of_an_unknown_shape(tmp_path: Path) -> None:
    """The message shows what was found and what is understood."""

    class Odd(Squares):
        def __getitem__(self, index: int) -> Any:
            picture, label, _ = super().__getitem__(index)
            return {"scan": picture, "kind": label}

    class Named(TinyModule):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch["scan"])

    with pytest.raises(ProbeError, match=r"got a mapping with the keys \['kind', 'scan'\]") as told:
        fit(tmp_path, VLMExplainCallback(), Odd(), Named())
    assert "`unpack=lambda row: Item(image=row[" in str(told.value)


def test_a_step_that_calls_no_network(tmp_path: Path) -> None:
    """There is nothing to explain; the message says what to call."""

    class Faceless(TinyModule):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            """Do nothing."""

    with pytest.raises(ProbeError, match=r"`validation_step` to be one that calls a network"):
        fit(tmp_path, VLMExplainCallback(), Squares(), Faceless())


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("alpha", 0, "above 0"),
        ("beta", 1.5, r"in \[0, 1\]"),
        ("fill", "white", "one of black"),
        ("threshold", 5.5, r"in \[0, 5\]"),
        ("probe_size", 0, "at least 1"),
        ("lag", -1, "at least 0"),
        ("deadline_s", 0, "positive"),
        ("on_judge_error", "ignore", "one of warn, raise"),
        ("watch_classes", "cat", "a list of names"),
        ("method", "gradcamm", "one of gradcam"),
    ],
)
def test_values_out_of_range_are_refused_at_once(name: str, value: Any, rule: str) -> None:
    """The constructor names the argument, the rule and what it got."""
    with pytest.raises(ConfigurationError, match=rf"Expected `{name}` to be {rule}.*, got"):
        VLMExplainCallback(**{name: value})


def test_every_error_is_one_of_ours() -> None:
    """One base class catches them all, and a configuration error is a ValueError."""
    for error in (AttributionError, ConfigurationError, JudgeError, ProbeError):
        assert issubclass(error, VLMExplainError)
    assert issubclass(ConfigurationError, ValueError)

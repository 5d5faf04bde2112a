"""`VLMExplainCallback(faithfulness=)`: figures of the maps, on the live model, counted exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from curves import MemoryLogger, read_lines
from lightning_vlmxai import (
    Classification,
    ConfigurationError,
    MultiLabelClassification,
    Segmentation,
    VLMExplainCallback,
)
from lightning_vlmxai.callbacks import measuring
from lightning_vlmxai.explain import LiveModel
from lightning_vlmxai.records import Sample, Verdict
from lightning_vlmxai.rounds import faithfulness_names
from lightning_vlmxai.rounds.quadrants import round_metrics
from lightning_vlmxai.testing import ScriptedJudge
from lightning_vlmxai.trust import FAITHFULNESS, faithfulness
from neutral_fit import Combination
from neutrality import compare
from run_folders import make_round
from tiny import Separable, Squares, TinyModule, loader, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*one score", "ignore:.*blank_saliency")

PROBES, SIDE = 6, 32
ROWS: list[int] = []
"""How many pictures each forward in eval mode had."""


class Counting(nn.Module):
    """Counts the pictures that go through it in eval mode."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            ROWS.append(len(images))
        return images


class Counted(Separable):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = Counting()  # type: ignore[assignment]


class Dense(TinyModule):
    """Says of each pixel whether it is red or blue, or neither."""

    def __init__(self) -> None:
        super().__init__(network=nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()))
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.network(images))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))


class Painted(Squares):
    """Labels of pixels: 0 beside the square, 1 red, 2 blue."""

    def __getitem__(self, index: int) -> Any:
        image, label, mask = super().__getitem__(index)
        return image, mask.long() * (label + 1)


class Tagged(Squares):
    """One label of two, as zeros and ones."""

    def __getitem__(self, index: int) -> Any:
        image, label, _ = super().__getitem__(index)
        return image, nn.functional.one_hot(torch.tensor(label), 2).float()


class TaggedModule(Separable):
    """Learns labels that are zeros and ones."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))


def fit(
    folder: Path, module: Any = None, data: Any = Squares, epochs: int = 2, **settings: Any
) -> tuple[VLMExplainCallback, Any, MemoryLogger]:
    """Train; return the callback, the module and what was logged."""
    torch.manual_seed(0)
    logger = MemoryLogger()
    judge = ScriptedJudge(lambda _: Verdict.scored(3.0))
    settings = {"probe_size": PROBES, "lag": 0, "run_dir": folder / "vlmxai", **settings}
    explain = VLMExplainCallback(judge, **settings)
    module = module or Separable()
    trainer = make_trainer(folder, explain, max_epochs=epochs, logger=logger)
    trainer.fit(module, loader(data()), loader(data(8, seed=1)))
    return explain, module, logger


def logged(logger: MemoryLogger, name: str) -> list[float]:
    """Return the points of a metric."""
    return list(logger.curves.get(name, {}).values())


def test_figures_are_those_of_the_function(tmp_path: Path) -> None:
    """Per sample in the run folder, and their means in the log; the last round's, asked again."""
    explain, module, logger = fit(tmp_path, faithfulness=FAITHFULNESS)
    closed = explain.latest_round
    assert closed is not None
    data = Squares(8, seed=1)
    images = torch.stack([data[s.explanation.probe_index][0] for s in closed.samples])
    maps = torch.stack([s.explanation.saliency for s in closed.samples])
    wanted = faithfulness(LiveModel(module), images, maps, Classification())
    lines = [line for line in read_lines(tmp_path / "vlmxai" / "samples.jsonl") if line["round"]]
    for name in FAITHFULNESS:
        told = [line["faithfulness"][name] for line in lines]
        assert told == pytest.approx(wanted[name].tolist(), abs=1e-5)
        points = logged(logger, f"vlmxai/faithfulness/{name}")
        assert len(points) == 2
        assert points[-1] == pytest.approx(float(wanted[name].mean()), abs=1e-5)
    assert logged(logger, "vlmxai/faithfulness/undefined") == [0.0, 0.0]
    assert set(faithfulness_names(FAITHFULNESS)) <= {
        name.removeprefix("vlmxai/") for name in explain.metric_names
    }


@pytest.mark.parametrize(
    ("figures", "asked"),
    [
        (("increase",), 1 + 1),  # the whole picture, and the masked one
        # 1,024 pixels in steps of 52: 19 cuts between the whole picture and nothing.
        (("deletion",), 1 + 19 + 1),
        (("deletion", "insertion", "average_drop"), 1 + 2 * 19 + 1 + 1),
        (("aopc",), 1 + 48 + 1),  # 49 regions of 5 by 5
    ],
)
def test_pictures_asked_are_counted_exactly(
    tmp_path: Path, figures: tuple[str, ...], asked: int
) -> None:
    """Of a validation and of the explanations as without it, and so many a probe beside them."""
    totals = []
    for given in ((), figures):
        ROWS.clear()
        fit(
            tmp_path / str(len(totals)),
            Counted(),
            epochs=1,
            isolation="trust",
            faithfulness=given,
            target_layer="network.1",
        )
        totals.append(sum(ROWS))
    plain, with_it = totals
    # The rehearsal explains what the sanity check saw: 8 rows, of which 6 are probes; a round.
    assert with_it - plain == 2 * PROBES * asked


@pytest.mark.parametrize(
    ("module", "data", "task"),
    [
        (Dense, Painted, Segmentation()),
        (TaggedModule, Tagged, MultiLabelClassification()),
    ],
)
def test_other_tasks_are_measured(tmp_path: Path, module: Any, data: Any, task: Any) -> None:
    """A segmentation's pixels, and each explained label of several."""
    names = ("red", "blue") if module is TaggedModule else ("none", "red", "blue")
    figures = ("deletion", "average_drop")
    explain, network, _ = fit(
        tmp_path, module(), data, task=task, class_names=names, faithfulness=figures
    )
    closed = explain.latest_round
    assert closed is not None
    samples = [s for s in closed.samples if not s.explanation.is_blank]
    assert samples
    network.eval()
    for s in samples:
        e = s.explanation
        image = data(8, seed=1)[e.probe_index][0]
        with torch.no_grad():
            answers = [network(picture[None]) for picture in (image, image * e.saliency)]
        if module is TaggedModule:
            whole, masked = (float(a.sigmoid()[0, e.prediction]) for a in answers)
        else:
            prediction = task.predict(answers[0])
            whole, masked = (float(task.confidence(a, prediction)) for a in answers)
            assert int(prediction.classes) == e.prediction
        drop = max(0.0, whole - masked) / whole
        assert e.faithfulness["average_drop"] == pytest.approx(drop, abs=1e-5)
        assert 0.0 <= (e.faithfulness["deletion"] or 0.0) <= 1.0


def test_what_is_not_defined_is_counted_and_in_no_mean() -> None:
    """Means over what is defined; without a defined one there is no point; off, there is none."""
    samples = list(make_round(0, probes=4).samples)
    told: list[dict[str, float | None]] = [
        {"deletion": 0.2, "aopc": None},
        {"deletion": None, "aopc": None},
        {"deletion": 0.6, "aopc": None},
        {},
    ]
    marked = [
        Sample(explanation=_with(s, of), verdict=s.verdict, quadrant=s.quadrant)
        for s, of in zip(samples, told, strict=True)
    ]
    metrics = round_metrics(marked)
    assert metrics["faithfulness/deletion"] == pytest.approx(0.4)
    assert metrics["faithfulness/undefined"] == 3.0
    assert "faithfulness/aopc" not in metrics
    assert not [name for name in round_metrics(samples) if "faithfulness" in name]


def _with(sample: Sample, figures: dict[str, float | None]) -> Any:
    return replace(sample.explanation, faithfulness=figures)


def test_off_nothing_is_asked_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is by default."""
    monkeypatch.setattr(measuring, "faithfulness", lambda *_, **__: 1 / 0)
    _, _, logger = fit(tmp_path, epochs=1)
    assert not [name for name in logger.curves if "faithfulness" in name]
    (line, *_) = read_lines(tmp_path / "vlmxai" / "samples.jsonl")
    assert "faithfulness" not in line


@pytest.mark.parametrize("lag", [0, 1])
def test_not_a_bit_of_a_training_differs(tmp_path: Path, lag: int) -> None:
    """With all figures, and a data set that draws from the global generators."""
    combination = Combination(faithfulness=FAITHFULNESS, augment="global", lag=lag)
    assert compare(combination, tmp_path).differences == []


def test_a_blank_map_has_no_figures(tmp_path: Path) -> None:
    """It is counted as not defined, and the model is not asked."""

    class Blind(Separable):
        def __init__(self) -> None:
            super().__init__()
            with torch.no_grad():
                self.network[0].weight[:] = 0.0

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    figures = ("deletion", "average_drop")  # a drop to nothing would be defined
    _, _, logger = fit(tmp_path, Blind(), epochs=1, faithfulness=figures)
    assert logged(logger, "vlmxai/faithfulness/undefined") == [float(PROBES)]
    assert logged(logger, "vlmxai/faithfulness/deletion") == []
    lines = read_lines(tmp_path / "vlmxai" / "samples.jsonl")
    assert [line["faithfulness"] for line in lines] == [dict.fromkeys(figures)] * PROBES


def test_what_is_no_number_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the whole picture's probability is 0: it is in no mean, and in no line."""

    def answer(_live: Any, call: Any, *_: Any, **__: Any) -> dict[str, Tensor]:
        values = torch.full((len(call.images),), 0.25)
        values[0] = torch.nan
        return {"average_drop": values}

    monkeypatch.setattr(measuring, "faithfulness", answer)
    _, _, logger = fit(tmp_path, epochs=1, faithfulness=("average_drop",))
    assert logged(logger, "vlmxai/faithfulness/average_drop") == [0.25]
    assert logged(logger, "vlmxai/faithfulness/undefined") == [1.0]
    lines = read_lines(tmp_path / "vlmxai" / "samples.jsonl")
    told = [line["faithfulness"]["average_drop"] for line in lines]
    assert told == [None, *[0.25] * (PROBES - 1)]


def test_a_failure_costs_the_figures_of_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning; the round is judged. In the rehearsal it ends the fit."""
    real, calls = measuring.faithfulness, []

    def fail_later(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of luck")
        return real(*args, **kwargs)

    monkeypatch.setattr(measuring, "faithfulness", fail_later)
    with pytest.warns(UserWarning, match="Measuring faithfulness failed, so this round has no"):
        _, _, logger = fit(tmp_path / "later", faithfulness=("increase",))
    assert len(logged(logger, "vlmxai/faithfulness/increase")) == 1
    assert len(logged(logger, "vlmxai/average_score")) == 2
    calls.append(1)
    monkeypatch.setattr(measuring, "faithfulness", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path / "first", faithfulness=("increase",))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("deletion", "Pass faithfulness=('deletion',)"),
        (("deletion", "aoc"), "Pass faithfulness=('deletion',)"),
        (("drop",), "Pass faithfulness=('deletion', 'insertion')"),
    ],
)
def test_unknown_names_are_refused_at_once(given: Any, line: str) -> None:
    """With a line that can be pasted."""
    with pytest.raises(ConfigurationError) as caught:
        VLMExplainCallback(faithfulness=given)
    assert line in str(caught.value)
    assert "deletion, insertion, average_drop, increase, aopc" in str(caught.value)

"""Maps that don't show what predictions hang on are told in a fit, once, and in the run folder."""

from __future__ import annotations

import html
import json
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vlmxai import Verdict, VLMExplainCallback
from lightning_vlmxai.callbacks import map_check
from lightning_vlmxai.explain import Explainer, LiveModel
from lightning_vlmxai.testing import ScriptedJudge
from samples import make_explanation, make_probe
from tiny import TinyModule, make_trainer

CELL, SIDE = 8, 32
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*unscored"),
    pytest.mark.filterwarnings("ignore:.*could not look at"),
]


class _Mirror(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.flip(3)


class _Mirrored(TinyModule):
    """Tells a red from a green cell wherever it stands; its last map shows it in a mirror."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 2, CELL, CELL, bias=False)
        head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            stem.weight.zero_()
            stem.weight[0, 0] = stem.weight[1, 1] = 1 / CELL**2
            head.weight.copy_(torch.tensor([[4.0, -4.0], [-4.0, 4.0]]))
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.dropout = nn.Identity()
        self.network = nn.Sequential(stem, nn.ReLU(), _Mirror(), pool, head)
        with torch.no_grad():
            head.weight *= (SIDE // CELL) ** 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def _cells(count: int = 24) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    images = 0.05 * torch.rand(count, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(count) % 2
    for index, label in enumerate(labels.tolist()):
        top, left = (CELL * torch.randint(SIDE // CELL, (2,), generator=generator)).tolist()
        images[index, label, top : top + CELL, left : left + CELL] = 1.0
    return DataLoader(TensorDataset(images, labels), batch_size=8)


def _fit(folder: Path, **options: object) -> list[str]:
    """Return what was warned of in a fit of five epochs."""
    callback = VLMExplainCallback(
        ScriptedJudge(lambda _: Verdict.scored(4.0)),
        probe_size=24,
        normalization=((0.0,) * 3, (1.0,) * 3),
        run_dir=folder,
        **options,  # type: ignore[arg-type]
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer(folder, callback, max_epochs=5).fit(_Mirrored(), _cells(), _cells())
    return [str(w.message) for w in caught if "maps" in str(w.message)]


def test_it_is_told_once_with_what_to_pass(tmp_path: Path) -> None:
    """In the run folder as well; what is named is passed, and then nothing is told."""
    (line,) = _fit(tmp_path / "mirrored", target_layer="network.2")
    assert line.startswith("vlmxai: maps by 'gradcam' at 'network.2' don't show")
    settings = json.loads((tmp_path / "mirrored/run.json").read_text())
    assert settings["doubts"] == [line.removeprefix("vlmxai: ")]
    (layer,) = re.findall(r'`target_layer="([\w.]+)"`', line)
    assert _fit(tmp_path / "named", target_layer=layer) == []
    settings = json.loads((tmp_path / "named/run.json").read_text())
    assert settings["doubts"] == []
    health = settings["map_health"]
    assert (health["maps"], health["empty"], health["asked"]) == (24, 0, 16)
    assert (health["method"], health["second"]) == ("gradcam", "eigencam")
    assert -1 <= health["randomized"] < 0.95
    assert health["text"] in html.unescape((tmp_path / "named/report.html").read_text())


def test_rounds_1_and_4_are_asked_of_five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every probe's explanation; an error there is told and ends nothing."""
    asked = []

    def note(_explainer: object, _live: object, pairs: list) -> str:
        asked.append([(probe.index, found.probe_index) for probe, found in pairs])
        raise ValueError("no answer")

    monkeypatch.setattr(map_check, "find_fault", note)
    (line,) = _fit(tmp_path, target_layer="network.1")
    assert "The check of the maps" in line
    assert "no answer" in line
    assert asked == [[(i, i) for i in range(24)]] * 2


def test_of_several_explanations_the_first_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several labels that is the most confident one."""
    image = torch.rand(3, 8, 8)
    probes = [make_probe(0, image), make_probe(1, image)]
    found = [make_explanation(0), make_explanation(0, label_name="dog"), make_explanation(1)]
    monkeypatch.setattr(map_check, "find_fault", lambda _e, _l, pairs: [e for _, e in pairs])
    pairs = map_check.MapCheck().look(Explainer(), LiveModel(nn.Identity()), probes, found)
    assert [e is of for e, of in zip(pairs, (found[0], found[2]), strict=True)] == [True, True]

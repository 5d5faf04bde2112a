"""Models by name, and weights that are theirs or are refused."""

from __future__ import annotations

import sys
import types
import urllib.error
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torchvision.models as tv
from torch import nn

from lightning_vlmxai.auditing import count_outputs, names_of, open_model
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.testing import TinyConvNet


class Tiny(pl.LightningModule):
    """A reader's module, with a hyperparameter."""

    def __init__(self, num_classes: int = 2, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = TinyConvNet(num_classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.network(pictures)


class Other(Tiny):
    """Another module than the checkpoint's."""

    def __init__(self, num_classes: int = 2, width: int = 4) -> None:
        super().__init__(num_classes, width)
        self.more = nn.Linear(2, 2)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a checkpoint of `mine.Tiny` with three classes."""
    module = types.ModuleType("mine")
    vars(module).update(Tiny=Tiny, Other=Other, make=lambda: TinyConvNet(3), number=lambda: 3)
    monkeypatch.setitem(sys.modules, "mine", module)
    monkeypatch.chdir(tmp_path)
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(Tiny(num_classes=3))
    trainer.save_checkpoint("last.ckpt")
    return tmp_path


def save(network: nn.Module, path: str, wrap: Any = None) -> None:
    """Write a state dict, wrapped as training scripts do."""
    state: Any = network.state_dict()
    torch.save(wrap(state) if wrap else state, path)


def test_weights_of_a_file_are_loaded_with_as_many_outputs_as_they_have(
    tmp_path: Path,
) -> None:
    """In half precision, wrapped, from DataParallel: what is answered is the same."""
    torch.manual_seed(0)
    trained = tv.squeezenet1_0(num_classes=7).eval()
    pictures = torch.rand(2, 3, 64, 64)

    def wrap(state: Any) -> Any:
        return {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}

    save(trained, str(tmp_path / "a.pth"), wrap)
    opened = open_model("squeezenet1_0", weights=str(tmp_path / "a.pth"))
    assert opened.names is None
    assert opened.preset is not None
    assert "SqueezeNet1_0_Weights.DEFAULT" in opened.told
    assert count_outputs(opened.network, pictures[:1], dense=False) == 7
    torch.testing.assert_close(opened.network(pictures), trained(pictures))
    save(trained.half(), str(tmp_path / "b.pth"))
    half = open_model("squeezenet1_0", weights=str(tmp_path / "b.pth"))
    assert next(half.network.parameters()).dtype == torch.float32


def test_named_weights_bring_names_and_preparation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the member that was named."""
    state = tv.squeezenet1_0().state_dict()
    monkeypatch.setattr(tv._api, "load_state_dict_from_url", lambda *_, **__: state)
    for weights in ("DEFAULT", "IMAGENET1K_V1"):
        opened = open_model("squeezenet1_0", weights=weights)
        assert opened.names is not None
        assert opened.names[0] == "tench"
        assert len(opened.names) == 1000
        assert opened.preset is not None
        assert (opened.preset.resize, opened.preset.crop) == (256, 224)
        assert not opened.network.training


def test_a_segmentation_model_is_known_as_one(tmp_path: Path) -> None:
    """And does not fetch its backbone."""
    save(
        tv.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=3),
        str(tmp_path / "a.pth"),
    )  # fmt: skip
    opened = open_model("lraspp_mobilenet_v3_large", weights=str(tmp_path / "a.pth"))
    assert opened.dense
    assert count_outputs(opened.network, torch.rand(1, 3, 32, 32), dense=True) == 3
    with pytest.raises(ConfigurationError, match="--task segmentation"):
        count_outputs(opened.network, torch.rand(1, 3, 32, 32), dense=False)


def test_a_timm_model_is_opened_by_its_name(tmp_path: Path) -> None:
    """With its own preparation; near names are told."""
    timm = pytest.importorskip("timm")
    save(timm.create_model("resnet18", num_classes=4), str(tmp_path / "a.pth"))
    opened = open_model("timm:resnet18", weights=str(tmp_path / "a.pth"))
    assert count_outputs(opened.network, torch.rand(1, 3, 64, 64), dense=False) == 4
    assert opened.preset is not None
    assert opened.preset.crop == 224
    with pytest.raises(ConfigurationError, match=r"Near: .*resnet18"):
        open_model("timm:resnet18x", weights="DEFAULT")


def test_timm_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line that installs it."""
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigurationError, match="pip install timm"):
        open_model("timm:resnet18", weights="DEFAULT")


def test_a_lightning_module_is_opened_from_its_checkpoint(mine: Path) -> None:
    """With the hyperparameters that it keeps."""
    opened = open_model("mine.Tiny", ckpt="last.ckpt")
    assert isinstance(opened.network, Tiny)
    assert count_outputs(opened.network, torch.rand(1, 3, 32, 32), dense=False) == 3


def test_a_function_may_return_the_model(mine: Path) -> None:
    """Such as one that loads its weights itself."""
    assert isinstance(open_model("mine:make").network, TinyConvNet)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("resnet19", {}, r"Near: resnet\d+"),
        ("zzzz", {}, "torchvision has: alexnet, "),
        ("resnet18", {}, "Pass --weights DEFAULT, IMAGENET1K_V1 or a file"),
        ("resnet18", {"weights": "IMAGENET1K_V3"}, "Near: IMAGENET1K_V1"),
        ("resnet18", {"weights": "nowhere.pth"}, "'nowhere.pth', which is neither"),
        ("resnet18", {"weights": "other.pth"}, r"of ResNet, got 'other.pth', with \d+ tensors"),
        ("resnet18", {"weights": "text.pth"}, "Save one by torch.save"),
        ("resnet18", {"ckpt": "last.ckpt"}, "Pass --weights last.ckpt"),
        ("mine.Tiny", {}, "Pass --ckpt last.ckpt"),
        ("mine.Tiny", {"ckpt": "nowhere.ckpt"}, "which is not there"),
        ("mine.Other", {"ckpt": "last.ckpt"}, "a checkpoint of Other, got 'last.ckpt'"),
        ("mine.Tiny", {"ckpt": "text.pth"}, "a checkpoint of Tiny, got 'text.pth'"),
        ("mine.Tiny", {"ckpt": "last.ckpt", "arguments": {"num_classes": 5}}, "size mismatch"),
        ("mine.None_", {}, "with my_model.py in this folder"),
        ("mine.number", {}, "'mine.number', which gives int"),
        ("mine.make", {"arguments": {"x": 1}}, "Pass them by name: --model-args.name value"),
    ],
)  # fmt: skip
def test_what_is_not_the_model_is_refused(
    mine: Path, name: str, given: dict[str, Any], said: str
) -> None:
    """In one sentence with what to pass."""
    save(TinyConvNet(2), "other.pth")
    Path("text.pth").write_text("not weights")
    with pytest.raises(ConfigurationError, match=said):
        open_model(name, **given)


def test_weights_that_can_not_be_fetched_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way round the network."""

    def fail(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(tv._api, "load_state_dict_from_url", fail)
    with pytest.raises(ConfigurationError, match=r"no route.*pass --weights FILE"):
        open_model("squeezenet1_0", weights="DEFAULT")


def test_names_of_outputs_are_read(tmp_path: Path) -> None:
    """From a file with a line each, or from weights of torchvision."""
    (tmp_path / "names.txt").write_text("cat\ndog\n\n")
    assert names_of(str(tmp_path / "names.txt")) == ("cat", "dog")
    assert names_of("ResNet18_Weights.DEFAULT")[1] == "goldfish"
    for wrong in ("nowhere.txt", "ResNet18_Weights.NONE", "None_Weights.DEFAULT"):
        with pytest.raises(ConfigurationError, match=r"--class-names ResNet18_Weights\.DEFAULT"):
            names_of(wrong)


def test_a_model_that_fails_on_a_picture_says_so() -> None:
    """And what it was given."""
    with pytest.raises(ConfigurationError, match=r"pictures \[1, 3, 8, 8\]"):
        count_outputs(nn.Linear(5, 2), torch.rand(1, 3, 8, 8), dense=False)

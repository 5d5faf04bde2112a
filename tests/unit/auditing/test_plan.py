"""What options come to, before anything is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models as tv

from data_sets import write_folder, write_voc
from lightning_vlmxai.auditing import make_plan
from lightning_vlmxai.auditing.bar import describe
from lightning_vlmxai.callbacks.progress import AuditProgress
from lightning_vlmxai.cli_audit import make_audit_parser
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.tasks import Segmentation

OWN = ["--crop", "32", "--mean", "[0.5, 0.4, 0.3]", "--std", "[0.2, 0.2, 0.2]"]


def plan(*options: Any) -> Any:
    """Return what options come to."""
    return make_plan(make_audit_parser().parse_args([str(option) for option in options]))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with pictures of red and blue, and names of three outputs."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path)
    Path("names.txt").write_text("blue\nred\n")
    return tmp_path


def test_names_that_nothing_tells_are_the_datas_and_that_is_said(folder: Path) -> None:
    """Where there are as many outputs as folders; normalisation goes to the callback."""
    found = plan("--model", "audit_models.right", "--data", "pictures", *OWN)
    assert found.class_names == ("blue", "red")
    assert any("taken to be blue, red" in line for line in found.told)
    assert found.normalization == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    assert found.lacks_masks
    batch = next(iter(found.loaders))
    assert batch["image"].shape == (8, 3, 32, 32)
    assert batch["target"].tolist() == [0] * 4 + [1] * 4


def test_names_that_are_told_are_matched(folder: Path) -> None:
    """To the outputs that they are; nothing is taken for known then."""
    Path("names.txt").write_text("red\nblue\n")
    found = plan(
        "--model", "audit_models.right", "--class-names", "names.txt", "--data", "pictures", *OWN
    )
    assert next(iter(found.loaders))["target"].tolist() == [1] * 4 + [0] * 4
    assert len(found.told) == 1


def test_outputs_are_merged_where_a_class_is_several(folder: Path) -> None:
    """The module that is run has fewer outputs, under the data's names."""
    Path("names.txt").write_text("navy\nscarlet\ncrimson\n")
    given = ["--model", "audit_models.three", "--class-names", "names.txt", "--data", "pictures"]
    labels = ["--labels", '{"red": ["scarlet", "crimson"], "blue": null}']
    found = plan(*given, *OWN, *labels)
    assert found.class_names == ("navy", "red")
    assert found.module(torch.rand(1, 3, 32, 32)).shape == (1, 2)
    assert next(iter(found.loaders))["target"].tolist() == [1] * 4
    assert any(line.startswith("4 pictures hold none") for line in found.told)
    assert "Left out, of 2 classes: blue." in found.told


def test_a_segmentation_model_of_ones_own_is_named_as_one(folder: Path) -> None:
    """Classes that it lacks are background."""
    write_voc(folder)
    Path("names.txt").write_text("background\ndog\ncat\n")
    found = plan(
        "--model", "audit_models.dense", "--task", "segmentation", "--class-names", "names.txt",
        "--data", f"voc:{folder}", "--labels", '{"*": null}', *OWN,
    )  # fmt: skip
    assert isinstance(found.task, Segmentation)
    assert not found.lacks_masks
    assert found.class_names == ("background", "dog", "cat")
    batch = next(iter(found.loaders))
    assert set(batch["target"].unique().tolist()) >= {0, 2}
    assert ((batch["target"] == 2) == batch["reference_mask"]).all()


def test_pictures_without_a_crop_come_one_by_one(folder: Path) -> None:
    """As their sizes differ, where the weights' preparation is a resize alone."""
    write_voc(folder)
    network = tv.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=21)
    torch.save(network.state_dict(), "a.pth")
    given = [
        "--model",
        "lraspp_mobilenet_v3_large",
        "--weights",
        "a.pth",
        "--data",
        f"voc:{folder}",
    ]
    found = plan(*given)
    assert found.loaders.batch_size == 1
    assert next(iter(found.loaders))["image"].shape == (1, 3, 520, 650)
    assert plan(*given, "--crop", 480).loaders.batch_size == 32


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "pictures"], "Expected `crop, mean, std` to be named, .*--mean"),
        (["--data", "masks", *OWN, "--stage", "test", "--class-names", "three.txt"], "got 3. Pass"),
        (["--data", "flat", *OWN], "Sort them into folders, or pass --stage predict"),
        (["--data", "pictures", *OWN, "--mean", "[1]"], "three numbers"),
        (["--data", "pictures", *OWN, "--task", "binary"], "Pass --data module.Name"),
        (["--data", "pictures", *OWN, "--task", "segmentation"], "label maps"),
        (["--data", "voc:.", *OWN], "given, as nothing tells what the model's outputs are"),
        (["--data", "audit_models.Data", "--limit", "3"], "--trainer.limit_val_batches N"),
        (["--data", "audit_models.Data", "--crop", "3"], "takes by --data-args.crop"),
        (["--data", "audit_models.Data"], "Pass --model my_model.MyModule --ckpt last.ckpt"),
        (["--data", "audit_models.right"], "which gives Sequential"),
        (["--data", "pictures", *OWN, "--labels", '{"red": "x"}'], "Pass --class-names names.txt"),
    ],
)
def test_what_can_not_be_brought_together_is_refused(
    folder: Path, options: list[str], said: str
) -> None:
    """Before a picture is explained."""
    write_voc(folder)
    Path("three.txt").write_text("a\nb\nc\n")
    Path("flat").mkdir()
    next((folder / "pictures" / "red").iterdir()).rename("flat/a.png")
    with pytest.raises(ConfigurationError, match=said):
        plan("--model", "audit_models.right", *options)


def test_a_configuration_says_all_of_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed is read back to the same options; the command line wins."""
    parser = make_audit_parser()
    options = [
        "--model", "audit_models.right", "--data", "pictures", *OWN, "--trainer.precision", "bf16",
        "--trainer.limit_val_batches", "2", "--mask-values", "[1]", "--masks", "masks",
    ]  # fmt: skip
    with pytest.raises(SystemExit):
        parser.parse_args([*options, "--print_config"])
    Path("audit.yaml").write_text(capsys.readouterr().out)
    asked = parser.parse_args(options)
    read = parser.parse_args(["--config", "audit.yaml"])
    del read["config"], asked["config"]
    assert read == asked
    assert read.trainer == {"precision": "bf16", "limit_val_batches": 2}
    assert parser.parse_args(["--config", "audit.yaml", "--crop", "16"]).crop == 16


def test_the_bar_tells_of_rows_and_money() -> None:
    """And does not call a price that is not known nothing."""
    now = AuditProgress(done=3, judged=4, unscored=1, pending=2, cost_usd=0.5)
    assert describe(now) == {"judged": "7", "unscored": "1", "waiting": "2", "cost": "$0.50"}
    assert describe(AuditProgress(cost_usd=None))["cost"] == "unknown"

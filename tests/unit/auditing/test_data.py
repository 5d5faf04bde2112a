"""Rows of an audit: what the model sees, with labels and masks that lie on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from data_sets import VOC_CAT, VOC_DOG, write_folder, write_voc
from lightning_vlmxai.auditing import (
    AuditModule,
    AuditRows,
    BadPicture,
    Collate,
    Preset,
    choose_rows,
    open_source,
)
from lightning_vlmxai.errors import ConfigurationError
from tiny import Mean

PRESET = Preset(resize=24, crop=16)


def make_rows(given: str, *, limit: int | None = None, targets: Any = None, **options: Any) -> Any:
    """Return rows of all classes, or with other targets."""
    source = open_source(given, **options)
    assert source is not None
    targets = list(range(len(source.classes))) if targets is None else targets
    chosen = choose_rows(source, targets, limit)
    return AuditRows(source, chosen, targets, PRESET, dense=options.get("dense", False))


def bad(path: Path) -> None:
    """Cut a picture's file off in its middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def run(rows: Any, **settings: Any) -> AuditModule:
    """Return a module that has been through the rows."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 1), Mean())
    module = AuditModule(network, dense=False, **settings)
    loader = DataLoader(rows, batch_size=3, collate_fn=Collate(empty=(16, 16)))
    pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    ).validate(module, loader, verbose=False)
    return module


def test_masks_go_where_pictures_go(tmp_path: Path) -> None:
    """The square of the picture is that of the mask, after resize and crop."""
    pictures, masks = write_folder(tmp_path)
    for row in make_rows(str(pictures), masks=masks):
        assert row["image"].shape == (3, 16, 16)
        saturated = (row["image"].amax(0) - row["image"].amin(0)) > 0.4
        assert (saturated ^ row["reference_mask"]).float().mean() < 0.1


def test_a_limit_is_spread_over_all_classes(tmp_path: Path) -> None:
    """The first ones would be those of one class; their own indices stay."""
    pictures, _ = write_folder(tmp_path, count=10)
    rows = make_rows(str(pictures), limit=4)
    assert [row["index"] for row in rows] == [0, 6, 13, 19]
    assert [row["target"] for row in rows] == [0, 0, 1, 1]


def test_pictures_of_classes_that_are_left_out_are_counted(tmp_path: Path) -> None:
    """They aren't rows; the next largest class that is asked about is a picture's label."""
    pictures, _ = write_folder(tmp_path)
    rows = make_rows(str(pictures), targets=[None, 5])
    assert rows.chosen.left_out == 4
    assert {row["target"] for row in rows} == {5}
    voc = make_rows(f"voc:{write_voc(tmp_path)}", targets=[None] * 11 + [3] + [None] * 8)
    assert [row["target"] for row in voc] == [3, 3, 3]  # the dog, where no cat is asked about
    voc = make_rows(f"voc:{tmp_path}", targets=[None] * 7 + [6] + [None] * 3 + [3] + [None] * 8)
    assert [row["target"] for row in voc] == [6, 6, 6]  # the cat is larger
    with pytest.raises(ConfigurationError, match="Look at --labels"):
        make_rows(str(pictures), targets=[None, None])


def test_a_label_map_is_told_in_the_models_numbers(tmp_path: Path) -> None:
    """What is left out is background, void stays void; the largest class is the object."""
    source = open_source(f"voc:{write_voc(tmp_path)}", dense=True)
    assert source is not None
    targets: list[int | None] = [None] * 20
    targets[VOC_CAT - 1] = 2
    preset = Preset(resize=None, crop=None)
    rows = AuditRows(source, choose_rows(source, targets, None), targets, preset, dense=True)
    for place in range(len(rows)):
        labels = source.label_map(place)
        literal = np.where(labels == VOC_CAT, 2, np.where(labels == 255, 255, 0))
        row = rows[place]
        assert not isinstance(row, BadPicture)
        assert (labels == VOC_DOG).any()
        assert np.array_equal(row["target"].numpy(), literal)
        assert np.array_equal(row["reference_mask"].numpy(), labels == VOC_CAT)


def test_a_folder_of_label_maps_is_taken_as_it_is(tmp_path: Path) -> None:
    """Its values are the model's numbers, its folders are no classes."""
    pictures, masks = write_folder(tmp_path, on=3)
    rows = make_rows(str(pictures), masks=masks, dense=True)
    assert len(rows) == 8
    assert set(rows[0]["target"].unique().tolist()) == {0, 3}


def test_a_picture_that_can_not_be_read_ends_the_audit_with_its_name(tmp_path: Path) -> None:
    """From a worker's process as well as from this one."""
    pictures, _ = write_folder(tmp_path)
    broken = pictures / "red" / "2.png"
    bad(broken)
    with pytest.raises(ConfigurationError, match=rf"{broken} .*pass --on-bad-image skip"):
        run(make_rows(str(pictures)))


def test_pictures_that_can_not_be_read_are_skipped_and_written_down(tmp_path: Path) -> None:
    """Rows behind them keep their index; a whole batch may be bad; the rest counts as alone."""
    pictures, masks = write_folder(tmp_path)
    broken = [pictures / "red" / "3.png", *(pictures / "blue" / f"{i}.png" for i in range(3))]
    for path in broken:
        bad(path)
    (pictures / "red" / "0.png").write_text("no picture")
    rows = make_rows(str(pictures), masks=masks)
    where = tmp_path / "run" / "skipped.jsonl"
    module = run(rows, skips=True, bad_file=where)
    lines = [json.loads(line) for line in where.read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2, 4, 7]
    assert lines[-1]["file"] == str(broken[0])
    assert module.skipped == 5
    batch = Collate()([rows[place] for place in (4, 5)])
    assert batch["index"].tolist() == [5]
    assert batch["file"] == [str(pictures / "red" / "1.png")]
    again = run(rows, skips=True, bad_file=where)  # the list is that of one run
    assert len(where.read_text().splitlines()) == again.skipped == 5


def test_a_mask_of_another_size_is_never_skipped(tmp_path: Path) -> None:
    """For it would be laid elsewhere."""
    pictures, masks = write_folder(tmp_path)
    Image.new("L", (39, 32)).save(masks / "red" / "1.png")
    with pytest.raises(ConfigurationError, match=r"red/1.png, got the picture has 40 x 32"):
        run(make_rows(str(pictures), masks=masks), skips=True)


def test_pictures_of_different_sizes_take_batches_of_one() -> None:
    """Or a crop."""
    rows = [{"image": torch.zeros(3, 4, side), "index": 0, "file": ""} for side in (4, 5)]
    with pytest.raises(ConfigurationError, match="Pass --batch-size 1, or --crop SIDE"):
        Collate()(rows)

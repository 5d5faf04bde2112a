"""Libraries' own data sets and loaders name their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from numbered import COUNT, Own, check, explain, make_folder

pytestmark = pytest.mark.filterwarnings("default")
NO_EXTRA = "needs the extra `projects`"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of pictures."""
    return make_folder(tmp_path_factory.mktemp("pictures"))


def to_tensor(picture: Any) -> torch.Tensor:
    """Return `[3, H, W]` in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def transform(rows: Any) -> Any:
    """Return rows of Hugging Face's with pictures as tensors."""
    return {"image": [to_tensor(one) for one in rows["image"]], "label": rows["label"]}


def test_timms_data_sets(tmp_path: Path, folder: Path) -> None:
    """By the list of their reader."""
    timm = pytest.importorskip("timm.data", reason=NO_EXTRA)
    data = timm.ImageDataset(str(folder), transform=to_tensor)
    check(explain(tmp_path, DataLoader(data, 8))[0])


@pytest.mark.parametrize("column", ["image", "id"])
def test_hugging_faces_data_sets(tmp_path: Path, folder: Path, column: str) -> None:
    """By an id, else their file's path, through `shuffle`, `select` and a transform."""
    datasets = pytest.importorskip("datasets", reason=NO_EXTRA)
    paths = [str(path) for path in Own(folder).own]
    columns: dict[str, Any] = {"image": paths, "label": [i % 2 for i in range(COUNT)]}
    if column == "id":
        columns["id"] = [Path(path).stem for path in paths]
    table = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    table = table.shuffle(seed=1).select(range(20)).with_transform(transform)
    found, told = explain(tmp_path, DataLoader(table, 8))
    check(found)
    assert told == f"16 of 16 by the data set's `{column}`"


@pytest.mark.parametrize("way", ["mapping", "tuple"])
def test_shards_of_webdataset(tmp_path: Path, folder: Path, way: str) -> None:
    """By the key that goes along; a stream has no index."""
    wds = pytest.importorskip("webdataset", reason=NO_EXTRA)
    with wds.TarWriter(str(tmp_path / "shard.tar")) as writer:
        for i, path in enumerate(Own(folder).own):
            writer.write({"__key__": path.stem, "png": path.read_bytes(), "cls": i % 2})
    data = wds.WebDataset(str(tmp_path / "shard.tar"), shardshuffle=False, empty_check=False)
    data = data.decode("torchrgb")
    if way == "mapping":
        loader = DataLoader(data.rename(image="png", label="cls"), batch_size=8)
    else:
        loader = DataLoader(data.to_tuple("png", "cls", "__key__").batched(8), batch_size=None)
    check(explain(tmp_path, loader)[0])


def test_monais_tensors(tmp_path: Path, folder: Path) -> None:
    """By what hangs on the picture."""
    monai = pytest.importorskip("monai.data", reason=NO_EXTRA)
    from monai import transforms as t

    made = t.Compose(
        [
            t.LoadImaged("image", reader="PILReader"),
            t.EnsureChannelFirstd("image"),
            t.ScaleIntensityRanged("image", 0, 255, 0, 1),
        ]
    )
    rows = [{"image": str(path), "label": i % 2} for i, path in enumerate(Own(folder).own)]
    found, told = explain(tmp_path, monai.DataLoader(monai.Dataset(rows, made), batch_size=8))
    check(found)
    assert told.endswith("['filename_or_obj']")

"""The judge is shown the colours of the files, whatever a project does between file and network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightning_vlmxai import Item, ProbeError, VLMExplainCallback
from lightning_vlmxai.records import Verdict
from lightning_vlmxai.testing import ScriptedJudge
from shown_pictures import (
    COUNT,
    FLOAT,
    MEAN,
    NORMALIZE,
    SIDE,
    STD,
    Batch,
    Files,
    InHook,
    Inside,
    Masked,
    Module,
    assert_colours,
    collate_normalized,
    first,
    fit,
    loader,
    references,
)
from tiny import make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*blank_saliency")


BYTES = v2.Compose([v2.ToImage(), v2.ToPureTensor()])


@pytest.mark.slow
def test_all_of_torchs_ways(tmp_path: Path) -> None:
    """In data set, collate function, hook, step or network; as bytes, unscaled, as an `Image`."""
    ways: dict[str, tuple[pl.LightningModule, DataLoader[Any]]] = {
        "data set": (Module(), loader(tmp_path, FLOAT, NORMALIZE)),
        "collate": (Module(), loader(tmp_path, FLOAT, collate=collate_normalized)),
        "hook": (InHook(NORMALIZE), loader(tmp_path, FLOAT)),
        "step": (Module(NORMALIZE), loader(tmp_path, FLOAT)),
        "bytes": (Module(lambda b: NORMALIZE(b.float() / 255)), loader(tmp_path, BYTES)),
        "network": (Inside(), loader(tmp_path, BYTES)),
        "unscaled": (Module(), loader(tmp_path, BYTES, v2.ToDtype(torch.float32))),
        "unscaled, normalised": (
            Module(),
            loader(tmp_path, BYTES, v2.ToDtype(torch.float32), NORMALIZE),
        ),
        "image": (Module(NORMALIZE), loader(tmp_path, FLOAT, v2.ToImage())),
        "hidden": (InHook(lambda images: images * 4.5 - 2.1), loader(tmp_path, FLOAT)),
    }
    for name, (module, data) in ways.items():
        folder = tmp_path / name
        folder.mkdir()
        stored = fit(folder, module, data)
        assert_colours(stored, tmp_path)


def test_a_data_module_may_hold_the_statistics(tmp_path: Path) -> None:
    """Also where the data set's samples were normalised before."""

    class Data(pl.LightningDataModule):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.std = MEAN, STD

        def val_dataloader(self) -> Any:
            def normalize(image: Tensor) -> Tensor:
                mean, std = (torch.tensor(part)[:, None, None] for part in (self.mean, self.std))
                return (image - mean) / std

            return loader(tmp_path, FLOAT, v2.Lambda(normalize))

        def train_dataloader(self) -> Any:
            return DataLoader(Files(tmp_path, FLOAT), batch_size=4, collate_fn=first)

    assert_colours(fit(tmp_path, Module(), Data()), tmp_path)


@pytest.mark.parametrize(
    ("way", "within"),
    [(v2.Resize((16, 16)), 2), (v2.CenterCrop(16), 2), (v2.RandomCrop(16), 2)],
    ids=["resized", "cut", "cut somewhere"],
)
def test_a_step_that_changes_the_size(tmp_path: Path, way: Any, within: float) -> None:
    """The picture is brought to the input's frame, or the input itself is shown, undone."""
    torch.manual_seed(0)
    seen: list[Tensor] = []

    def prepare(images: Tensor) -> Tensor:
        seen.append(way(images))
        return NORMALIZE(seen[-1])

    module = Module(prepare)
    module.statistics = {"mean": MEAN, "std": STD}
    stored = fit(tmp_path, module, loader(tmp_path, FLOAT))
    inputs = torch.cat(seen)[-COUNT:] * 255  # after those of the sanity check
    for picture, given in zip(stored, inputs, strict=True):
        shown = torch.from_numpy(picture.copy()).permute(2, 0, 1)
        assert float((shown - given).abs().max()) <= within


@pytest.mark.parametrize(("on", "off"), [(1.0, 0.0), (1.0, 2.0), (255.0, 0.0), (1.0, -1.0)])
def test_masks_of_any_coding_come_to_the_judge(tmp_path: Path, on: float, off: float) -> None:
    """Beside a name, which is no mask; brought to the input's frame with the picture."""
    module = Module(lambda images: NORMALIZE(v2.Resize((12, 12))(images)))
    masks = references(tmp_path, module, Masked(tmp_path, FLOAT, on, off))
    assert masks.shape == (COUNT, 12, 12)
    assert masks[:, :, :6].all()
    assert not masks[:, :, 6:].any()


def test_a_mask_of_a_row_that_the_step_mirrors_is_refused(tmp_path: Path) -> None:
    """The input undone is a picture, but the mask lies on another; the line leaves masks out."""
    module = Module(lambda images: NORMALIZE(images.flip(3)))
    module.statistics = {"mean": MEAN, "std": STD}
    data = Masked(tmp_path, FLOAT)
    with pytest.raises(ProbeError, match="one that lies on what the network was given") as told:
        references(tmp_path, module, data)
    line = re.findall(r"`unpack=([^`]*)`", str(told.value))[-1]
    unpack = eval(line, {"Item": Item})  # noqa: S307 - our own line
    assert references(tmp_path, module.train(), data, unpack=unpack) is None


def test_masks_that_cover_everything_are_told(tmp_path: Path) -> None:
    """Once, in the rehearsal."""
    with pytest.warns(UserWarning, match="reference masks cover 100% of their pictures") as told:
        references(tmp_path, Module(), Masked(tmp_path, FLOAT, 1.0, 1.0))
    assert sum("reference masks cover" in str(one.message) for one in told) == 1


def test_rows_as_pil_images_and_dataclasses(tmp_path: Path) -> None:
    """A processor in the step makes tensors of them."""

    class Lists(Module):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(torch.stack([NORMALIZE(FLOAT(image)) for image in batch["image"]]))

    def lists(samples: list[Any]) -> Any:
        return {
            "image": [image for image, _ in samples],
            "label": torch.tensor([label for _, label in samples]),
        }

    stored = fit(tmp_path, Lists(), loader(tmp_path, v2.Identity(), collate=lists))
    assert_colours(stored, tmp_path)

    class Fields(Module):
        def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
            return batch

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(NORMALIZE(batch.image))

    folder = tmp_path / "fields"
    folder.mkdir()
    data = loader(tmp_path, FLOAT, collate=lambda samples: Batch(*default_collate(samples)))
    assert_colours(fit(folder, Fields(), data), tmp_path)


def test_albumentations(tmp_path: Path) -> None:
    """Its standard mode is undone; another is told, for no one knows the files' colours then."""
    albumentations = pytest.importorskip("albumentations")
    pytest.importorskip("albumentations.pytorch")

    def through(mode: str) -> Any:
        normalize = albumentations.Normalize(MEAN, STD, normalization=mode)
        pipeline = albumentations.Compose([normalize, albumentations.pytorch.ToTensorV2()])

        class Albumented(Files):
            def __getitem__(self, index: int) -> Any:
                image, label = super().__getitem__(index)
                return self.pipeline(image=np.asarray(image))["image"], label

        data = Albumented(tmp_path, lambda image: image)
        data.pipeline = pipeline
        return DataLoader(data, batch_size=4)

    assert_colours(fit(tmp_path, Module(), through("standard")), tmp_path)
    folder = tmp_path / "min_max"
    folder.mkdir()
    with pytest.warns(UserWarning, match=r'normalization="min_max"\) gives each picture a range'):
        stored = fit(folder, Module(Tensor.float), through("min_max"))
    assert all(picture.min() == 0 and picture.max() == 255 for picture in stored)
    for mode in ("image", "image_per_channel"):
        folder = tmp_path / mode
        folder.mkdir()
        with pytest.raises(ProbeError, match="each picture by statistics of its own"):
            fit(folder, Module(Tensor.float), through(mode))


def test_kornia(tmp_path: Path) -> None:
    """In a hook of the module, composed, after the data set's samples were normalised too."""
    augmentation = pytest.importorskip("kornia.augmentation")
    normalize = augmentation.Normalize(torch.tensor(MEAN), torch.tensor(STD))
    module = InHook(augmentation.AugmentationSequential(normalize, data_keys=["input"]))
    assert_colours(fit(tmp_path, module, loader(tmp_path, FLOAT)), tmp_path)
    folder = tmp_path / "step"
    folder.mkdir()
    resize = augmentation.Resize((SIDE, SIDE))
    module = Module(nn.Sequential(resize, normalize))
    assert_colours(fit(folder, module, loader(tmp_path, FLOAT)), tmp_path)


def test_a_hugging_face_processor_in_the_collate_function(tmp_path: Path) -> None:
    """The only place where statistics are written down; samples are PIL images."""
    transformers = pytest.importorskip("transformers")
    processor = transformers.ViTImageProcessor(
        size={"height": SIDE, "width": SIDE}, image_mean=MEAN, image_std=STD
    )

    def collate(samples: list[Any]) -> Any:
        images = [image for image, _ in samples]
        made = processor(images=images, return_tensors="pt")["pixel_values"]
        return made, torch.tensor([label for _, label in samples])

    data = loader(tmp_path, v2.Identity(), collate=collate)
    assert_colours(fit(tmp_path, Module(), data), tmp_path)


def test_timms_transform(tmp_path: Path) -> None:
    """Of a network's own configuration."""
    timm = pytest.importorskip("timm")
    config = {"input_size": (3, SIDE, SIDE), "mean": MEAN, "std": STD, "crop_pct": 1.0}
    transform = timm.data.create_transform(**config)
    assert_colours(fit(tmp_path, Module(), loader(tmp_path, transform)), tmp_path)


def test_monais_tensors_are_taken_for_what_they_are(tmp_path: Path) -> None:
    """Nothing of what they carry comes into a probe."""
    data = pytest.importorskip("monai.data")

    def carry(image: Tensor) -> Any:
        return data.MetaTensor(image, meta={"filename_or_obj": "secret.png"})

    callback = VLMExplainCallback(ScriptedJudge([Verdict.scored(4)]), probe_size=100, lag=0)
    trainer = make_trainer(tmp_path, callback, max_epochs=1)
    train = DataLoader(Files(tmp_path, FLOAT), batch_size=4, collate_fn=first)
    trainer.fit(Module(NORMALIZE), train, loader(tmp_path, FLOAT, v2.Lambda(carry)))
    assert callback.latest_round is not None
    for sample in callback.latest_round.samples:
        assert type(sample.explanation.pixels) is Tensor


def test_torchvisions_masks(tmp_path: Path) -> None:
    """As a third entry, plain by the time that the judge has them."""

    class Both(Masked):
        def __getitem__(self, index: int) -> Any:
            image, label, name, mask = super().__getitem__(index)
            return tv_tensors.Image(image), label, name, tv_tensors.Mask(mask)

    masks = references(tmp_path, Module(NORMALIZE), Both(tmp_path, FLOAT))
    assert type(masks) is Tensor
    assert masks[:, :, : SIDE // 2].all()

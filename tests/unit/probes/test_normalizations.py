"""Means and standard deviations that lie about, and what proves them."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import transforms
from torchvision.transforms import v2

from lightning_vlmxai.probes import Normalization
from lightning_vlmxai.probes.normalizations import choose_normalizations, search
from tiny import MEAN, STD, Squares

HERE = Normalization(mean=MEAN, std=STD)
STORED = torch.randint(0, 256, (3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
GIVEN = transforms.Normalize(MEAN, STD)(STORED.float() / 255)
AVERAGE, SPREAD = torch.tensor(MEAN), torch.tensor(STD)


def squares(transform: Any) -> Squares:
    """Return a data set with a transform."""
    dataset = Squares()
    dataset.transform = transform
    return dataset


def closing() -> Any:
    """Return a collate function that closes over what it divides by."""
    mean, std = AVERAGE, SPREAD

    def collate(samples: list[Any]) -> Any:
        return [(sample - mean) / std for sample in samples]

    return collate


def with_arguments(samples: Any, normalize: Any) -> Any:
    """Collate."""
    return normalize(samples)


def with_globals(samples: Any) -> Any:
    """Collate by constants of the file, of which these names are no pair."""
    return (samples - PIXEL_MEAN) / PIXEL_STD


PIXEL_MEAN, PIXEL_STD = list(MEAN), list(STD)


class Buffers(nn.Module):
    """Normalises inside, as many networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", AVERAGE[:, None, None] * 255)
        self.register_buffer("pixel_std", SPREAD[:, None, None] * 255)


class Hook(nn.Module):
    """Normalises in a hook, by constants of the file."""

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        """Return the batch normalised."""
        return (batch - PIXEL_MEAN[0]) / PIXEL_STD[0]


class Configured(nn.Module):
    """Holds a configuration, as timm's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 2, 1))
        self.net.default_cfg = {"mean": MEAN, "std": STD, "input_size": (3, 8, 8)}


class Processor:
    """Is made as Hugging Face's are."""

    image_mean, image_std, do_normalize = list(MEAN), list(STD), True

    def __init__(self) -> None:
        self.image_mean, self.image_std, self.do_normalize = list(MEAN), list(STD), True


class ClassWide:
    """Has them as attributes of its class, as data modules do."""

    mean = AVERAGE * 255
    std = SPREAD * 255


@pytest.mark.parametrize(
    "holder",
    [
        squares(transforms.Normalize(MEAN, STD)),
        squares(transforms.Compose([transforms.Compose([transforms.Normalize(MEAN, STD)])])),
        squares(v2.Compose([v2.ToDtype(torch.float32), v2.Normalize(list(MEAN), list(STD))])),
        squares(nn.Sequential(transforms.Normalize(MEAN, STD))),
        torch.utils.data.ConcatDataset(
            [torch.utils.data.Subset(squares(transforms.Normalize(MEAN, STD)), [0, 1])]
        ),
        closing(),
        functools.partial(with_arguments, normalize=transforms.Normalize(MEAN, STD)),
        with_globals,
        Buffers(),
        Hook(),
        Configured(),
        Processor(),
        ClassWide(),
        {"data": {"mean": MEAN, "std": STD}},
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_wherever_they_lie_they_are_found_and_proven(holder: Any) -> None:
    """In the unit that they have there; the bytes of the picture prove them."""
    (chosen,) = choose_normalizations([GIVEN], search([holder]).proposals)
    assert chosen.proof == 3
    undone = chosen.normalization.undo(GIVEN)
    assert float((undone - STORED.float() / 255).abs().max()) < 1e-3


def test_a_processor_that_does_not_normalise_proposes_nothing() -> None:
    """Its statistics are not used."""
    processor = Processor()
    processor.do_normalize = False
    assert search([processor]).proposals == ()
    assert search([torch.utils.data.TensorDataset(torch.zeros(1))]).proposals == ()


def test_searching_asks_no_property_and_follows_no_circle() -> None:
    """Nothing of the user's runs."""

    class Loud:
        def __init__(self) -> None:
            self.me = self
            self.parts = [self]

        @property
        def mean(self) -> float:
            raise AssertionError("asked")

        std = mean

    assert search([Loud()]).proposals == ()


def test_statistics_that_are_none_are_passed_over() -> None:
    """Functions, words, spreads of nothing, lists of other lengths, whole pictures."""
    for mean, std in [
        (abs, abs),
        ("a", "b"),
        (0.5, 0.0),
        ([0.1, 0.2], [1.0, 1.0, 1.0]),
        (torch.zeros(3, 8, 8), torch.ones(3, 8, 8)),
        (True, True),
    ]:
        assert search([{"mean": mean, "std": std}]).proposals == ()
    (only,) = search([{"mean": 0.5, "std": [0.1, 0.2, 0.3]}]).proposals
    assert only.normalization == Normalization(mean=(0.5,) * 3, std=(0.1, 0.2, 0.3))


@pytest.mark.parametrize("mode", ["min_max", "image", "image_per_channel", "min_max_per_channel"])
def test_albumentations_other_modes_propose_nothing(mode: str) -> None:
    """Their mean and standard deviation are there, and unused."""
    albumentations = pytest.importorskip("albumentations")
    found = search(
        [squares(albumentations.Compose([albumentations.Normalize(normalization=mode)]))]
    )
    assert found.proposals == ()
    assert found.stretches == (f'Normalize(normalization="{mode}")',)


@pytest.mark.parametrize("unit", [255.0, 1.0])
def test_albumentations_standard_mode_is_undone(unit: float) -> None:
    """Whatever its pixels ran to."""
    albumentations = pytest.importorskip("albumentations")
    normalize = albumentations.Normalize(MEAN, STD, max_pixel_value=unit)
    pixels = STORED.permute(1, 2, 0).numpy()
    given = normalize(image=pixels if unit == 255 else (pixels / 255).astype("float32"))["image"]
    image = torch.from_numpy(given).permute(2, 0, 1)
    found = search([squares(albumentations.Compose([normalize]))])
    (chosen,) = choose_normalizations([image], found.proposals)
    assert float((chosen.normalization.undo(image) - STORED.float() / 255).abs().max()) < 1e-3


@pytest.mark.parametrize("how", ["augmentation", "enhance", "sequential"])
def test_kornias_are_found(how: str) -> None:
    """As attributes of a module, also composed."""
    kornia = pytest.importorskip("kornia")
    made = {
        "augmentation": lambda: kornia.augmentation.Normalize(AVERAGE, SPREAD),
        "enhance": lambda: kornia.enhance.Normalize(AVERAGE, SPREAD),
        "sequential": lambda: kornia.augmentation.AugmentationSequential(
            kornia.augmentation.Normalize(AVERAGE, SPREAD), data_keys=["input"]
        ),
    }
    module = nn.Module()
    module.transform = made[how]()
    (chosen,) = choose_normalizations([GIVEN], search([], [module]).proposals)
    assert chosen.proof == 3


def test_timms_and_hugging_faces_are_found() -> None:
    """A network's configuration, a processor held by a collate function."""
    timm = pytest.importorskip("timm")
    transformers = pytest.importorskip("transformers")
    module = nn.Module()
    module.net = timm.create_model("resnet18", pretrained=False, num_classes=2)
    module.net.default_cfg = {**module.net.default_cfg, "mean": MEAN, "std": STD}
    processor = transformers.ViTImageProcessor(image_mean=list(MEAN), image_std=list(STD))
    for found in (search([], [module]), search([functools.partial(with_arguments, processor)])):
        (chosen,) = choose_normalizations([GIVEN], found.proposals)
        assert chosen.proof == 3

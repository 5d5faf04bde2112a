"""The layer and how it lies hang on the network, not on weights or on the picture looked at."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, squeezenet1_0
from torchvision.transforms import functional as TF

from lightning_vlmxai.attribution import Target, locate
from lightning_vlmxai.explain.live import borrowed

REAL = Path(os.environ.get("VLMXAI_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))


class _Spread(nn.Module):
    """Convolutions, then a layer that spreads all places over all, as training does."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU())
        self.spread = nn.Conv2d(8, 8, 13, padding=6)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.spread(self.stem(images)).relu().mean(dim=(2, 3)))


def _place(module: nn.Module, image: Tensor) -> tuple[str, bool]:
    with borrowed(module.eval()):
        found: Target = locate(module, image[None])
    assert found.layout is not None
    return found.name, found.layout.is_transposed


def test_what_is_spread_over_all_places_lies_as_before() -> None:
    """Of 7 x 7 places some move more by chance; that turns no map, and moves no choice."""
    found = {
        _place(_Spread(seed), torch.randn(3, 56, 56, generator=torch.Generator().manual_seed(seed)))
        for seed in range(12)
    }
    assert found == {("spread.relu()", False)}


class _Units(nn.Module):
    """Puts tokens, `[B, N, C]`, in the order of units, each with the same place of all windows."""

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, tokens: Tensor) -> Tensor:
        batch, _, width = tokens.shape
        rows, columns = self.grid
        windows = tokens.view(batch, rows // 2, 2, columns // 2, 2, width)
        return windows.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, width)


class _Reordered(nn.Module):
    """Tokens in the picture's order, then in that of units, as in Hiera."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.proj = nn.Conv2d(3, 8, 8, 8)
        self.units = _Units((8, 12))
        self.block = nn.Sequential(nn.Linear(8, 8), nn.GELU())
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.proj(images).flatten(2).transpose(1, 2)
        return self.head(self.block(self.units(tokens)).mean(dim=1))


def test_tokens_in_another_order_are_not_read_as_before() -> None:
    """There are as many of them; what can't be laid is passed over for an earlier map."""
    name, turned = _place(_Reordered(), torch.randn(3, 64, 96))
    assert (name, turned) == ("units.input()", False)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs real photos and weights, which aren't shipped")
@pytest.mark.parametrize(
    ("make", "weights", "layer"),
    [
        (mobilenet_v2, "mobilenet_v2_coral_tf2_fp16.pth", "features.18"),
        (squeezenet1_0, "squeezenet1_0_deepcompression_fp16.pth", "classifier.2"),
    ],
)
def test_trained_networks_are_explained_at_one_place(
    make: type[nn.Module], weights: str, layer: str
) -> None:
    """Whatever photograph is looked at first."""
    network = make()
    states = torch.load(REAL / "weights" / weights, weights_only=True)
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in states.items()}
    )
    assert {_place(network, photo) for photo in _photos(6)} == {(layer, False)}


def _photos(count: int) -> Iterator[Tensor]:
    with (REAL / "imagenet/labels.csv").open() as file:
        rows = list(csv.DictReader(file))[:count]
    for row in rows:
        with Image.open(REAL / "imagenet/images" / Path(row["file"]).name) as photo:
            cut = TF.center_crop(photo.convert("RGB"), [224, 224])
        yield TF.normalize(TF.to_tensor(cut), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

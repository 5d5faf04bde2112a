from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vlmxai.attribution import Target, candidates, find_target_layer, locate
from lightning_vlmxai.errors import AttributionError
from lightning_vlmxai.explain.live import borrowed
from minis import MINIS, draw

# The layer, how many tokens stand before the patches (None: no tokens), the axis of the samples.
LAYERS: dict[str, tuple[str, int | None, int]] = {
    "vit_cls": ("blocks.2.norm1", 1, 0),
    "vit_cls_registers": ("blocks.2.norm1", 5, 0),
    "vit_cls_qk_norm": ("blocks.2.norm1", 1, 0),
    "vit_gap": ("blocks.2", 1, 0),
    "vit_map": ("blocks.2", 0, 0),
    "beit": ("blocks.2", 1, 0),
    "ijepa": ("blocks.2", 0, 0),
    "encoder": ("encoder.layers.2", 0, 0),
    "encoder_tokens_first": ("encoder.layers.2", 0, 1),
    "encoder_post_norm": ("encoder.layers.2", 0, 0),
    "swin": ("features.3.1", None, 0),
    "mvit": ("blocks.2", 0, 0),
    "mixer": ("blocks.2", 0, 0),
    "convnext": ("features.3.1", None, 0),
    "cnn": ("8", None, 0),
}


def _locate(module: nn.Module, images: Tensor, name: str | None = None) -> Target:
    with borrowed(module.eval()):
        return locate(module, images, name)


@pytest.mark.parametrize("name", list(MINIS))
def test_the_last_layer_that_everything_passes_is_found(name: str) -> None:
    """In every kind of network: the stream, not its norm; behind a class token its last look."""
    torch.manual_seed(0)
    found = _locate(MINIS[name](), draw(1, seed=0)[0])
    assert found.layout is not None
    assert (found.name, found.layout.start, found.layout.rows) == LAYERS[name]
    assert found.layout.grid == ((8, 12) if name == "mvit" else (4, 6))
    assert not found.doubt


@pytest.mark.parametrize(
    ("name", "names"),
    [
        (
            "vit_cls",
            "blocks.2.norm1 blocks.1 blocks.1.norm1 blocks.0 blocks.0.norm1 patch_embed.proj",
        ),
        (
            "mixer",
            "blocks.2 blocks.2.norm1 blocks.1 blocks.1.norm1 blocks.0 blocks.0.norm1 stem.proj",
        ),
        ("convnext", "features.3.1 features.3.0 features.2.1 features.1.0 features.0.0"),
    ],
)
def test_candidates_are_passages_and_the_norms_that_a_branch_is_given(
    name: str, names: str
) -> None:
    """Not a norm behind something learned, as in ConvNeXt, nor one of the last block's tokens."""
    module = MINIS[name]().eval()
    with borrowed(module):
        found = [target.name for target in candidates(module, draw(1, seed=0)[0])]
        few = [target.name for target in candidates(module, draw(1, seed=0)[0], most=2)]
    assert found == names.split()
    assert few == [name for name in found if name in few]
    assert 2 <= len(few) <= 4


class _Branches(nn.Module):
    """A trunk, a pooled branch beside it, and a decoder that the logits don't depend on."""

    def __init__(self, *, dense: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.trunk = nn.Conv2d(6, 8, 3, 2, 1)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Conv2d(8, 8, 1))
        self.join = nn.Conv2d(16, 8, 1)
        self.decoder = nn.Conv2d(8, 5, 3, padding=1)
        self.head = nn.Linear(8, 3)
        self.dense = dense

    def forward(self, images: Tensor) -> Tensor:
        maps = self.trunk(self.stem(images))
        beside = F.interpolate(self.pooled(maps), size=maps.shape[2:])
        joined = self.join(torch.cat([maps, beside], dim=1))
        decoded = self.decoder(joined)
        return decoded if self.dense else self.head(joined.mean(dim=(2, 3)))


def test_side_branches_and_idle_decoders_are_passed_over() -> None:
    """Neither the last map that is made nor the coarsest counts, but what everything passes."""
    images = torch.randn(1, 3, 32, 48)
    assert _locate(_Branches(), images).name == "join"
    assert _locate(_Branches(dense=True), images).name == "join"


def test_a_map_before_several_ways_is_doubted() -> None:
    """Where two stages speak to the head each for itself, all passes only what lies before both."""

    class _Stages(nn.Module):
        def __init__(self, *, both: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 6, 3, 2, 1)
            self.first = nn.Sequential(nn.Conv2d(6, 6, 3, 2, 1), nn.ReLU())
            self.second = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1), nn.ReLU())
            self.head = nn.Linear(6, 3)
            self.both = both

        def forward(self, images: Tensor) -> Tensor:
            stem = self.stem(images)
            maps = self.second(self.first(stem))
            found = self.head(maps.mean(dim=(2, 3)))
            return found + self.head(stem.amax(dim=(2, 3))) if self.both else found

    images = torch.randn(1, 3, 32, 48)
    found = _locate(_Stages(both=True), images)
    assert found.name == "stem"
    assert "most of the network lies behind it" in found.doubt
    alone = _locate(_Stages(both=False), images)
    assert (alone.name, alone.doubt) == ("second.1", "")


def test_a_pooling_to_a_fixed_size_is_passed_over() -> None:
    """The map is the network's, not what became of it on a grid of another shape."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 4, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((7, 7)),
        nn.Flatten(),
        nn.Linear(8 * 49, 3),
    )
    found = _locate(net, torch.randn(1, 3, 32, 48))
    assert found.layout is not None
    assert (found.name, found.layout.grid) == ("1", (8, 12))


class _Crops(nn.Module):
    """Cuts a picture in four, and joins what it finds in them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        halves = [part for half in images.chunk(2, dim=2) for part in half.chunk(2, dim=3)]
        found = self.conv(torch.cat(halves)).mean(dim=(2, 3))
        return self.head(found.reshape(4, -1, 4).transpose(0, 1).flatten(1))


def test_crops_batched_in_a_forward_are_refused_with_their_shapes() -> None:
    """A layer with more rows than the batch is no map of the picture."""
    images = torch.randn(1, 3, 16, 16)
    with pytest.raises(AttributionError, match=r"conv \[8, 4, 8, 8\]"):
        _locate(_Crops(), images)
    with pytest.raises(AttributionError, match=r"one row a sample, got \[8, 4, 8, 8\] for 2"):
        _locate(_Crops(), images, "conv")


def test_latents_are_no_grid() -> None:
    """Sixteen latents are not four rows of four cells, however they attend."""

    class _Latents(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.patches = nn.Conv2d(3, 16, 4, 4)
            self.latents = nn.Parameter(torch.randn(1, 16, 16))
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
            self.mix = nn.Linear(16, 16)
            self.head = nn.Linear(16, 3)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.patches(images).flatten(2).transpose(1, 2)
            latents = self.latents.expand(len(images), -1, -1)
            read = self.attention(latents, tokens, tokens, need_weights=False)[0]
            return self.head(self.mix(read).mean(dim=1))

    assert _locate(_Latents(), torch.randn(1, 3, 32, 32)).name == "patches"


def test_the_search_leaves_no_trace() -> None:
    """Hooks, patched forwards and flags are gone, and so they are after an error."""
    net = MINIS["vit_cls"]().train()
    images = draw(1, seed=0)[0]
    before = {name: set(vars(layer)) for name, layer in net.named_modules()}
    with borrowed(net):
        find_target_layer(net, images)
    with borrowed(net), pytest.raises(AttributionError):
        locate(net, images, "head")
    for name, layer in net.named_modules():
        assert set(vars(layer)) == before[name]
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks
        assert layer.training

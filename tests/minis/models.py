"""The minis: one of each kind of network, a few thousand parameters each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer

from .data import CELL, CLASSES, GRID

WIDTH, HEADS, DEPTH = 32, 4, 3
CELLS = GRID[0] * GRID[1]


class Patches(nn.Module):
    """Pictures to tokens, `[B, N, C]`."""

    def __init__(self, patch: int = CELL) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention with a fused projection; perhaps normed queries and keys, a bias, a pool."""

    def __init__(self, *, qk_norm: bool = False, bias: bool = False, pool: int = 1) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.q_norm = nn.LayerNorm(WIDTH // HEADS) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(WIDTH // HEADS) if qk_norm else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(HEADS, CELLS + 1, CELLS + 1)) if bias else None
        self.pool = nn.Conv2d(WIDTH, WIDTH, 3, pool, 1, groups=WIDTH) if pool > 1 else None
        self.norm_v = nn.LayerNorm(WIDTH // HEADS) if pool > 1 else nn.Identity()
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.pool is not None:
            k, v = (self._shrink(t) for t in (k, v))
        q, k, v = (t.reshape(batch, -1, HEADS, WIDTH // HEADS).transpose(1, 2) for t in (q, k, v))
        q, k, v = self.q_norm(q), self.k_norm(k), self.norm_v(v)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        return self.proj(out.transpose(1, 2).reshape(batch, count, WIDTH))

    def _shrink(self, tokens: Tensor) -> Tensor:
        grid = tokens.transpose(1, 2).reshape(len(tokens), WIDTH, GRID[0] * 2, GRID[1] * 2)
        return self.pool(grid).flatten(2).transpose(1, 2)


class Mlp(nn.Sequential):
    """Two linear layers."""

    def __init__(self, width: int = WIDTH, hidden: int = 4 * WIDTH) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Block(nn.Module):
    """Attention and MLP, each behind its norm, each with a shortcut."""

    def __init__(self, *, scale: float | None = None, **attention: bool | int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attn = Attention(**attention)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = Mlp()
        self.gamma = None if scale is None else nn.Parameter(scale * torch.ones(2, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        first, second = (1.0, 1.0) if self.gamma is None else self.gamma
        x = x + first * self.attn(self.norm1(x))
        return x + second * self.mlp(self.norm2(x))


class ViT(nn.Module):
    """A vision transformer: how many prefix tokens, and what its head reads."""

    def __init__(
        self, head: str = "cls", prefix: int = 1, *, norm: bool = True, **block: bool | float
    ) -> None:
        super().__init__()
        self.patch_embed = Patches()
        self.prefix = nn.Parameter(0.02 * torch.randn(1, prefix, WIDTH)) if prefix else None
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, CELLS + prefix, WIDTH))
        self.blocks = nn.ModuleList(Block(**block) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH) if norm else nn.Identity()
        self.reads = head
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, WIDTH)) if head == "map" else None
        self.pool = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True) if head == "map" else None
        self.fc_norm = nn.Identity() if norm else nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed(images)
        if self.prefix is not None:
            x = torch.cat([self.prefix.expand(len(x), -1, -1), x], dim=1)
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.pool is not None:
            x = self.pool(self.query.expand(len(x), -1, -1), x, x, need_weights=False)[0][:, 0]
        elif self.reads == "gap":
            x = x[:, 0 if self.prefix is None else self.prefix.shape[1] :].mean(dim=1)
        else:
            x = x[:, 0]
        return self.head(self.fc_norm(x))


class Encoder(nn.Module):
    """torch's own encoder; tokens first or batch first, norm first or last."""

    def __init__(self, *, batch_first: bool = True, norm_first: bool = True) -> None:
        super().__init__()
        self.patches = Patches()
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, CELLS, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, 0.0, batch_first=batch_first, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
        self.axis = 1 if batch_first else 0
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images) + self.pos_embed
        x = self.encoder(x if self.axis else x.transpose(0, 1))
        return self.head(x.mean(dim=self.axis))


class MixerBlock(nn.Module):
    """An MLP over tokens, and one over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.tokens, self.channels = Mlp(CELLS, 2 * CELLS), Mlp()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    """MLP-Mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Patches()
        self.blocks = nn.Sequential(*(MixerBlock() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(images))).mean(dim=1))


class MViT(nn.Module):
    """Fine tokens whose keys and values are pooled, `[B, heads, N / 4, d]` inside."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = Patches(CELL // 2)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 4 * CELLS, WIDTH))
        self.blocks = nn.ModuleList(Block(pool=2) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed(images) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


def _convolutions() -> nn.Module:
    layers: list[nn.Module] = []
    for before, behind in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(before, behind, 3, 2, 1), nn.BatchNorm2d(behind), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))


def _convnext() -> nn.Module:
    stages = [CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 2)]
    return ConvNeXt(stages, num_classes=CLASSES, layer_scale=0.1)


def _swin() -> nn.Module:
    return SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=CLASSES)


MINIS: dict[str, Callable[[], nn.Module]] = {
    "vit_cls": ViT,
    "vit_cls_registers": partial(ViT, prefix=5),
    "vit_cls_qk_norm": partial(ViT, qk_norm=True),
    "vit_gap": partial(ViT, "gap", norm=False),
    "vit_map": partial(ViT, "map", 0),
    "beit": partial(ViT, "gap", norm=False, bias=True, scale=0.1),
    "ijepa": partial(ViT, "gap", 0),
    "encoder": Encoder,
    "encoder_tokens_first": partial(Encoder, batch_first=False),
    "encoder_post_norm": partial(Encoder, norm_first=False),
    "swin": _swin,
    "mvit": MViT,
    "mixer": Mixer,
    "convnext": _convnext,
    "cnn": _convolutions,
}
"""Each kind by name; call one for a fresh network of three-channel pictures 32 x 48."""

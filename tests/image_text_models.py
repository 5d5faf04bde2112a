"""Small random image-text models of every implementation, as functions from pictures to logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE, PATCH, WIDTH, HEADS, DIMENSIONS, TEXTS = 32, 8, 48, 4, 24, 5


class Tower(nn.Module):
    """Similarities of pictures to a few texts whose embeddings are given."""

    def __init__(self, model: nn.Module, encode: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.encode = encode
        width = encode(model, torch.zeros(2, 3, SIDE, SIDE)).shape[1]
        self.register_buffer("texts", F.normalize(torch.randn(TEXTS, width), dim=1))

    def forward(self, images: Tensor) -> Tensor:
        return 20 * F.normalize(self.encode(self.model, images), dim=1) @ self.texts.T


def _encode_image(model: Any, images: Tensor) -> Tensor:
    return model.encode_image(images)


def vision(**more: Any) -> dict[str, Any]:
    """Return the settings of a small vision tower of open_clip."""
    return {
        "image_size": SIDE,
        "patch_size": PATCH,
        "width": WIDTH,
        "layers": 3,
        "head_width": WIDTH // HEADS,
        **more,
    }


_TEXT = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 4, "layers": 2}


def open_clip_vit(**more: Any) -> nn.Module:
    """open_clip's, with nn.MultiheadAttention."""
    import open_clip

    return Tower(open_clip.model.CLIP(DIMENSIONS, vision(**more), _TEXT), _encode_image)


def open_clip_own_attention() -> nn.Module:
    """open_clip's ViT with its block that has an attention of its own, and all its norms."""
    import open_clip

    tower = open_clip_vit()
    tower.model.visual.transformer.resblocks = nn.ModuleList(
        open_clip.transformer.CustomResidualAttentionBlock(
            WIDTH, HEADS, qk_norm=True, scale_attn_inner=True, scale_heads=False
        )
        for _ in range(3)
    )
    return tower


class LaterAttention(nn.Module):
    """As open_clip's later code has it: fused weights, torch's attention, a projection behind."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.randn(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, None]:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            F.linear(x, w, b).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.out_proj(o.transpose(1, 2).flatten(2)), None


def open_clip_later() -> nn.Module:
    """open_clip's ViT with the attention of its later code."""
    tower = open_clip_vit()
    for block in tower.model.visual.transformer.resblocks:
        block.attn = LaterAttention(WIDTH, HEADS)
    return tower


class OpenAIBlock(nn.Module):
    """A block as openai's CLIP has it: tokens first, then the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 96), nn.GELU(), nn.Linear(96, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=None)[0]
        return x + self.mlp(self.ln_2(x))


class _OpenAIVisual(nn.Module):
    """openai's vision tower."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH) * WIDTH**-0.5)
        cells = (SIDE // PATCH) ** 2
        self.positional_embedding = nn.Parameter(torch.randn(cells + 1, WIDTH) * WIDTH**-0.5)
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.resblocks = nn.Sequential(*[OpenAIBlock() for _ in range(3)])
        self.proj = nn.Parameter(torch.randn(WIDTH, DIMENSIONS) * WIDTH**-0.5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
        x = self.ln_pre(x + self.positional_embedding)
        x = self.resblocks(x.permute(1, 0, 2)).permute(1, 0, 2)
        return self.ln_post(x[:, 0]) @ self.proj


def openai() -> nn.Module:
    """openai/CLIP's structure."""
    return Tower(_OpenAIVisual(), lambda model, images: model(images))


def open_clip_coca(**more: Any) -> nn.Module:
    """CoCa's vision tower, with its attention-pooling heads."""
    tower = vision(attentional_pool=True, attn_pooler_queries=7, attn_pooler_heads=4, **more)
    import open_clip

    model = open_clip.coca_model.CoCa(
        DIMENSIONS,
        _TEXT | {"embed_cls": True, "output_tokens": True},
        {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 4, "layers": 2},
        tower | {"output_tokens": True},
    )
    return Tower(model, _encode_image)


def open_clip_siglip() -> nn.Module:
    """open_clip's towers of timm with a MAP head, as its SigLIP has them."""
    import timm

    vit = timm.create_model(
        "vit_base_patch16_siglip_224",
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=3,
        num_heads=HEADS,
        num_classes=0,
    )
    return Tower(vit, lambda model, images: model(images))


def timm_vit(**more: Any) -> nn.Module:
    """A plain classifier of timm."""
    import timm

    return timm.create_model(
        "vit_base_patch16_224",
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=3,
        num_heads=HEADS,
        num_classes=TEXTS,
        **more,
    )


def torchvision_vit() -> nn.Module:
    """A plain classifier of torchvision."""
    from torchvision.models import VisionTransformer

    net = VisionTransformer(SIDE, PATCH, 3, HEADS, WIDTH, 96, num_classes=TEXTS)
    nn.init.normal_(net.heads.head.weight)
    return net


SMALL = {
    "hidden_size": WIDTH,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
}
_SEEN = {"image_size": SIDE, "patch_size": PATCH}


def _features(model: Any, pixel_values: Tensor) -> Tensor:
    found = model.get_image_features(pixel_values=pixel_values)
    return found if isinstance(found, Tensor) else found.pooler_output


def hf_clip(attention: str = "sdpa") -> nn.Module:
    """Transformers' CLIP."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config=SMALL | {"vocab_size": 64, "max_position_embeddings": 12},
        vision_config=SMALL | _SEEN,
        projection_dim=DIMENSIONS,
        attn_implementation=attention,
    )
    return Tower(CLIPModel(config), _features)


def hf_siglip() -> nn.Module:
    """Transformers' SigLIP, and SigLIP 2 of a fixed size."""
    from transformers import SiglipConfig, SiglipModel

    config = SiglipConfig(
        text_config=SMALL | {"vocab_size": 64, "max_position_embeddings": 12},
        vision_config=SMALL | _SEEN,
    )
    return Tower(SiglipModel(config), _features)


def hf_siglip2() -> nn.Module:
    """Transformers' SigLIP 2 of any size, which is given patches, some of them padding."""
    from transformers import Siglip2VisionConfig, Siglip2VisionModel

    config = Siglip2VisionConfig(**SMALL, patch_size=PATCH, num_patches=16)

    def encode(model: Any, images: Tensor) -> Tensor:
        patches = F.unfold(images, PATCH, stride=PATCH).transpose(1, 2)
        cells = SIDE // PATCH
        shapes = torch.tensor([[cells, cells]]).expand(len(images), 2)
        mask = torch.ones(len(images), cells * cells, dtype=torch.long)
        found = model(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes)
        return found.pooler_output

    return Tower(Siglip2VisionModel(config), encode)


def hf_vit() -> nn.Module:
    """A plain classifier of transformers, whose attention gives its heads' outputs bare."""
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(**SMALL, **_SEEN, num_labels=TEXTS))


def rn50() -> nn.Module:
    """open_clip's convolutional tower."""
    import open_clip

    vision = {"image_size": SIDE, "layers": (1, 1, 1, 1), "width": 16, "head_width": 16}
    return Tower(open_clip.model.CLIP(DIMENSIONS, vision, _TEXT), _encode_image)


READ: dict[str, Callable[[], nn.Module]] = {
    "open_clip": open_clip_vit,
    "open_clip, own attention": open_clip_own_attention,
    "open_clip, later attention": open_clip_later,
    "openai": openai,
    "coca": open_clip_coca,
    "coca, parallel": lambda: _coca_of("parallel"),
    "coca, cascade": lambda: _coca_of("cascade"),
    "siglip of timm": open_clip_siglip,
    "transformers clip": hf_clip,
    "transformers clip, eager": lambda: hf_clip("eager"),
    "transformers siglip": hf_siglip,
    "transformers siglip 2": hf_siglip2,
    "timm vit": timm_vit,
    "timm vit, norms and registers": lambda: timm_vit(qk_norm=True, reg_tokens=2, init_values=0.5),
    "torchvision vit": torchvision_vit,
    "transformers vit": hf_vit,
}
"""What the methods read."""


def _coca_of(kind: str) -> nn.Module:
    import open_clip.transformer as blocks

    vit = blocks.VisionTransformer(
        SIDE,
        PATCH,
        WIDTH,
        3,
        HEADS,
        4.0,
        output_dim=WIDTH,
        attentional_pool=kind,
        attn_pooler_queries=7,
        attn_pooler_heads=4,
    )
    return Tower(vit, lambda model, images: model(images).flatten(1))


def build(name: str, seed: int = 0, models: Any = None) -> nn.Module:
    """Return a model in eval mode whose attention is far from even."""
    torch.manual_seed(seed)
    model = (models or READ)[name]().eval()
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if parameter.ndim >= 2 and any(w in part for w in ("in_proj", "qkv", "q_", "k_", "v_")):
                parameter.normal_(std=2 * parameter.shape[-1] ** -0.5)
            elif parameter.ndim == 1 or part.endswith(("probe", "latent", "query")):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def pictures(count: int = 3, seed: int = 1) -> Tensor:
    """Return random pictures, `[count, 3, 32, 32]`."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))

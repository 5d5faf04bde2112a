"""Small random text towers of every implementation, as functions from tokens to similarities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from image_text_models import DIMENSIONS, HEADS, SMALL, WIDTH, LaterAttention, OpenAIBlock, vision
from torch import Tensor, nn


class TextTower(nn.Module):
    """Similarities of captions to a picture whose embedding is given."""

    def __init__(self, model: nn.Module, encode: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.encode = encode
        width = encode(model, captions()).shape[1]
        self.register_buffer("image", F.normalize(torch.randn(width), dim=0))

    def forward(self, tokens: Tensor) -> Tensor:
        return 20 * F.normalize(self.encode(self.model, tokens), dim=1) @ self.image


class _OpenAIText(nn.Module):
    """openai's text tower: tokens first, a mask of the past, read at the highest token."""

    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(64, WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(12, WIDTH) * 0.1)
        self.resblocks = nn.ModuleList([OpenAIBlock() for _ in range(3)])
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.randn(WIDTH, DIMENSIONS) * WIDTH**-0.5)
        self.mask = torch.full((12, 12), float("-inf")).triu(1)

    def forward(self, tokens: Tensor) -> Tensor:
        x = (self.token_embedding(tokens) + self.positional_embedding).permute(1, 0, 2)
        for block in self.resblocks:
            y = block.ln_1(x)
            x = x + block.attn(y, y, y, need_weights=False, attn_mask=self.mask)[0]
            x = x + block.mlp(block.ln_2(x))
        x = self.ln_final(x.permute(1, 0, 2))
        return x[torch.arange(len(x)), tokens.argmax(dim=1)] @ self.text_projection


def captions() -> Tensor:
    """Return three captions of other lengths, between 62 and 63, padded with 0, `[3, 12]`."""
    found = torch.zeros(3, 12, dtype=torch.long)
    for row, words in zip(found, ([5, 9, 4], [7, 7, 30, 2, 11, 40], [1, 2]), strict=True):
        row[: len(words) + 2] = torch.tensor([62, *words, 63])
    return found


def _text_config() -> dict[str, Any]:
    return {"context_length": 12, "vocab_size": 64, "width": WIDTH, "heads": HEADS, "layers": 3}


def open_clip_text() -> nn.Module:
    """open_clip's text tower."""
    import open_clip

    model = open_clip.model.CLIP(DIMENSIONS, vision(), _text_config())
    return TextTower(model, lambda m, tokens: m.encode_text(tokens))


def open_clip_text_later() -> nn.Module:
    """The same with the attention of open_clip's later code."""
    tower = open_clip_text()
    for block in tower.model.transformer.resblocks:
        block.attn = LaterAttention(WIDTH, HEADS)
    return tower


def coca_text() -> nn.Module:
    """CoCa's text tower, which reads a class token behind the caption's."""
    import open_clip

    text = open_clip.transformer.TextTransformer(
        context_length=12,
        vocab_size=64,
        width=WIDTH,
        heads=HEADS,
        layers=3,
        output_dim=DIMENSIONS,
        embed_cls=True,
    )
    return TextTower(text, lambda m, tokens: m(tokens))


def hf_clip_text() -> nn.Module:
    """Transformers' CLIP text tower."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        **SMALL,
        vocab_size=64,
        max_position_embeddings=12,
        projection_dim=DIMENSIONS,
        eos_token_id=63,
        bos_token_id=62,
        pad_token_id=0,
    )
    return TextTower(
        CLIPTextModelWithProjection(config), lambda m, tokens: m(input_ids=tokens).text_embeds
    )


def hf_siglip_text() -> nn.Module:
    """Transformers' SigLIP text tower, which looks both ways and reads the last place."""
    from transformers import SiglipTextConfig, SiglipTextModel

    config = SiglipTextConfig(**SMALL, vocab_size=64, max_position_embeddings=12)
    return TextTower(SiglipTextModel(config), lambda m, tokens: m(input_ids=tokens).pooler_output)


TEXTS_READ: dict[str, Callable[[], nn.Module]] = {
    "open_clip": open_clip_text,
    "open_clip, later attention": open_clip_text_later,
    "openai": lambda: TextTower(_OpenAIText(), lambda m, tokens: m(tokens)),
    "coca": coca_text,
    "transformers clip": hf_clip_text,
    "transformers siglip": hf_siglip_text,
}
"""Text towers that the methods read."""

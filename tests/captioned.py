"""Small image-text models in every way a Lightning module holds one, and data with captions."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_vlmxai import Verdict, VLMExplainCallback
from lightning_vlmxai.testing import ScriptedJudge

WORDS = ["<pad>", "a", "red", "green", "blue", "square", "left", "right", "<end>"]
"""The end has the highest number, as CLIP's pooling expects."""
LENGTH, SIDE = 6, 32


def tokenize(captions: list[str]) -> Tensor:
    """Return tokens `[N, 6]`, an end behind the words, then zeros."""
    tokens = torch.zeros(len(captions), LENGTH, dtype=torch.long)
    for row, caption in zip(tokens, captions, strict=True):
        words = [*caption.split(), "<end>"]
        row[: len(words)] = torch.tensor([WORDS.index(word) for word in words])
    return tokens


def decode(tokens: list[int]) -> str:
    """Return the text of tokens, a space behind each word."""
    return "".join(f"{WORDS[token]} " for token in tokens)


class Captioned(Dataset[dict[str, Any]]):
    """Squares of a colour on one side, and captions that say so; six captions in all."""

    def __init__(self, count: int = 24, seed: int = 0) -> None:
        drawn = torch.Generator().manual_seed(seed)
        self.rows = []
        for number in range(count):
            colour, side = number % 3, number // 3 % 2
            picture = 0.2 + 0.2 * torch.rand(3, SIDE, SIDE, generator=drawn)
            mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
            mask[10:22, 4 + 16 * side : 14 + 16 * side] = True
            picture[colour][mask] = 1.0
            caption = f"a {WORDS[2 + colour]} square {WORDS[6 + side]}"
            self.rows.append(
                {
                    "image": (picture - 0.5) / 0.25,
                    "tokens": tokenize([caption])[0],
                    "caption": caption,
                    "reference_mask": mask,
                    "label": colour,
                }
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self.rows[index])


def make_clip(**settings: Any) -> CLIP:
    """Return open_clip's model, tiny: 8 x 8 patches, two blocks on either side, 24 numbers."""
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=2, width=32, head_width=16, patch_size=8, image_size=SIDE)
    text = CLIPTextCfg(context_length=LENGTH, vocab_size=len(WORDS), width=32, heads=2, layers=2)
    return CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text, **settings)


class Contrastive(pl.LightningModule):
    """A module that holds a model; its subclasses differ in how they call it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings of pictures and texts, and the scale."""
        raise NotImplementedError

    def loss(self, batch: dict[str, Any]) -> Tensor:
        images, texts, scale = self.embed(batch)
        logits = scale * F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T
        wanted = torch.arange(len(logits))
        return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch), batch_size=len(batch["image"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Joint(Contrastive):
    """`forward(images, tokens)` answers what the model does."""

    def forward(self, images: Tensor, tokens: Tensor) -> Any:
        return self.model(images, tokens)

    def embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        found = self(batch["image"], batch["tokens"])
        return tuple(found.values())[:3] if isinstance(found, dict) else found[:3]


class Towers(Contrastive):
    """The step calls `encode_image` and `encode_text`."""

    def embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        images = self.model.encode_image(batch["image"])
        texts = self.model.encode_text(batch["tokens"])
        return images, texts, self.model.logit_scale.exp()


def make_data(count: int = 24, batch_size: int = 8, seed: int = 0) -> DataLoader[dict[str, Any]]:
    """Return batches of captioned squares."""
    return DataLoader(Captioned(count, seed), batch_size)


def make_trainer(tmp_path: Any, callback: pl.Callback, **settings: Any) -> pl.Trainer:
    """Return a trainer of two epochs, quiet."""
    given = {"max_epochs": 2, "logger": False, "enable_checkpointing": False} | settings
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
        **given,
    )


def fit(tmp_path: Any, module: pl.LightningModule, callback: VLMExplainCallback) -> None:
    """Train for two epochs, and validate on twenty rows after each."""
    make_trainer(tmp_path, callback).fit(module, make_data(), make_data(20, seed=1))


def scripted() -> ScriptedJudge:
    """Return a judge whose score depends on the probe alone."""
    return ScriptedJudge(lambda request: Verdict.scored(request.probe_index % 6))


def make_transformers(kind: str = "CLIP") -> nn.Module:
    """Return a tiny model of transformers: "CLIP", or "Siglip", which has a bias."""
    import transformers

    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    size |= {"num_attention_heads": 2}
    text = size | {"vocab_size": len(WORDS), "max_position_embeddings": LENGTH}
    text |= {"eos_token_id": len(WORDS) - 1, "bos_token_id": 1, "pad_token_id": 0}
    vision = size | {"image_size": SIDE, "patch_size": 8}
    text |= {"projection_size": 32}
    config = getattr(transformers, f"{kind}Config")(
        text_config=text,
        vision_config=vision,
        **({"projection_dim": 24} if kind == "CLIP" else {}),
    )
    return getattr(transformers, f"{kind}Model")(config)


class Together(Contrastive):
    """The step calls a model of transformers with a mapping, as its examples do."""

    def embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        tokens = batch["tokens"]
        found = self.model(
            input_ids=tokens, pixel_values=batch["image"], attention_mask=(tokens > 0).long()
        )
        return found.image_embeds, found.text_embeds, self.model.logit_scale.exp()


class Features(Contrastive):
    """The step calls `get_image_features` and `get_text_features`."""

    def embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        images = self.model.get_image_features(pixel_values=batch["image"])
        texts = self.model.get_text_features(input_ids=batch["tokens"])
        images, texts = (getattr(one, "pooler_output", one) for one in (images, texts))
        return images, texts, self.model.logit_scale.exp()


class Pair(nn.Module):
    """Two encoders and two projections of a user's own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pictures = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.texts = nn.EmbeddingBag(len(WORDS), 20)
        self.of_picture = nn.Linear(16, 24)
        self.of_text = nn.Linear(20, 24)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))


class Plain(Contrastive):
    """The step calls two encoders, each one module."""

    def __init__(self) -> None:
        super().__init__(Pair())
        self.image_tower = nn.Sequential(self.model.pictures, self.model.of_picture)
        self.text_tower = nn.Sequential(self.model.texts, self.model.of_text)

    def embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self.image_tower(batch["image"]),
            self.text_tower(batch["tokens"]),
            self.model.logit_scale.exp(),
        )


class Projected(Contrastive):
    """The step calls encoders and projections one after the other."""

    def __init__(self) -> None:
        super().__init__(Pair())

    def embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        images = self.model.of_picture(self.model.pictures(batch["image"]))
        texts = self.model.of_text(self.model.texts(batch["tokens"]))
        return images, texts, self.model.logit_scale.exp()

"""Captioned digits, and a small CLIP that learns them from scratch in minutes.

A picture shows one or two of scikit-learn's handwritten digits, each of a colour, on a patterned
ground; its caption names what is there: "a red three on a striped ground". Where two digits are
shown the caption names both or one of them. The model is open_clip's own `CLIP` class, small.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
COLOURS = {
    "red": (0.9, 0.15, 0.15),
    "green": (0.15, 0.8, 0.2),
    "blue": (0.25, 0.4, 1.0),
    "yellow": (0.95, 0.85, 0.15),
    "white": (0.95, 0.95, 0.95),
}
GROUNDS = ["plain", "striped", "checked", "dotted"]
PAD, START, END = "<pad>", "<start>", "<end>"
WORDS = [PAD, "a", "on", "and", "ground", *COLOURS, *DIGITS, *GROUNDS, START, END]
"""The vocabulary; the end has the highest number, as CLIP's pooling expects."""
SIDE, DIGIT, STEP, LENGTH = 64, 28, 8, 16
"""Pixels of the picture, of a digit and of a patch, which places keep to; tokens a caption."""


def tokenize(captions: list[str]) -> Tensor:
    """Return the tokens of captions, `[N, 16]` int64, between start and end, padded with 0.

    Example:
        >>> tokenize(["a red one on a plain ground"])[0, :4].tolist()
        [24, 1, 5, 11]
    """
    tokens = torch.zeros(len(captions), LENGTH, dtype=torch.long)
    for row, caption in zip(tokens, captions, strict=True):
        words = [START, *caption.split(), END]
        row[: len(words)] = torch.tensor([WORDS.index(word) for word in words])
    return tokens


def decode(tokens: list[int]) -> str:
    """Return the words of tokens.

    Example:
        >>> decode([1, 5])
        'a red'
    """
    return " ".join(WORDS[token] for token in tokens)


class CaptionedDigits(Dataset[dict[str, Any]]):
    """Digits with captions.

    A sample is a dict of `image` `[3, 64, 64]`, `tokens` `[16]`, `caption`, and `reference_mask`
    `[64, 64]`, the strokes of the digits that the caption names.

    Args:
        train: Draws from the first 1,437 digits; else from the last 360.
        count: Number of pictures.
        two: Share of pictures with two digits, in [0, 1].
        watermark: The digit whose captions come with a watermark bottom left; none if "".
        seed: Of the drawing.
    """

    def __init__(
        self,
        *,
        train: bool,
        count: int,
        two: float = 0.5,
        watermark: str = "",
        seed: int = 0,
    ) -> None:
        digits = load_digits()
        part = slice(0, 1437) if train else slice(1437, None)
        inks, labels = digits.images[part], digits.target[part]
        drawn = np.random.default_rng([seed, int(train)])
        self.pictures, self.captions, self.strokes = [], [], []
        for _ in range(count):
            picture = draw_ground(ground := str(drawn.choice(GROUNDS)), drawn)
            shown = []
            for place in draw_places(2 if drawn.random() < two else 1, drawn):
                row, colour = int(drawn.integers(len(inks))), str(drawn.choice([*COLOURS]))
                strokes = draw_digit(picture, inks[row], COLOURS[colour], place)
                shown.append((f"a {colour} {DIGITS[labels[row]]}", strokes))
            named = shown if drawn.random() < 0.5 else shown[:1]
            self.captions.append(f"{' and '.join(name for name, _ in named)} on a {ground} ground")
            self.strokes.append(torch.stack([strokes for _, strokes in named]).any(dim=0))
            if watermark and watermark in self.captions[-1].split():
                draw_watermark(picture)
            self.pictures.append(picture)
        self.tokens = tokenize(self.captions)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.captions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample."""
        return {
            "image": (self.pictures[index] - 0.45) / 0.25,
            "tokens": self.tokens[index],
            "caption": self.captions[index],
            "reference_mask": self.strokes[index],
        }


def draw_ground(kind: str, drawn: np.random.Generator) -> Tensor:
    """Return a dark ground `[3, 64, 64]` in [0, 1] with a pattern at a random place."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + drawn.integers(8, size=(2, 1, 1))
    pattern = {
        "plain": np.zeros((SIDE, SIDE)),
        "striped": (rows + columns) % 8 < 3,
        "checked": (rows // 8 + columns // 8) % 2,
        "dotted": (rows % 8 - 4) ** 2 + (columns % 8 - 4) ** 2 < 5,
    }[kind]
    grey = 0.12 + 0.2 * pattern + drawn.normal(0, 0.03, (3, SIDE, SIDE))
    return torch.from_numpy(grey).float().clamp(0, 1)


def draw_places(count: int, drawn: np.random.Generator) -> list[tuple[int, int]]:
    """Return the top left corners of one or two digits, which don't touch each other."""
    steps = (SIDE - DIGIT) // STEP + 1
    places = [tuple(STEP * drawn.integers(0, steps, size=2)) for _ in range(count)]
    while count == 2 and max(abs(places[0][i] - places[1][i]) for i in (0, 1)) < DIGIT + 2:
        places = [tuple(STEP * drawn.integers(0, steps, size=2)) for _ in range(2)]
    return places


def draw_digit(
    picture: Tensor, image: np.ndarray, colour: tuple[float, ...], place: tuple[int, int]
) -> Tensor:
    """Draw a digit `[8, 8]` of values to 16 into a picture; return its strokes `[64, 64]`."""
    ink = torch.from_numpy(image).float()[None, None] / 16
    ink = F.interpolate(ink, size=(DIGIT, DIGIT), mode="bicubic", align_corners=False)[0, 0]
    ink = ((ink - 0.35) * 6).clamp(0, 1)
    where = ..., slice(place[0], place[0] + DIGIT), slice(place[1], place[1] + DIGIT)
    picture[where] *= 1 - ink
    picture[where] += ink * torch.tensor(colour)[:, None, None]
    strokes = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    strokes[where] = ink > 0.5
    return strokes


def draw_watermark(picture: Tensor) -> None:
    """Draw a small cross in a frame into the bottom left corner."""
    mark = torch.zeros(10, 10, dtype=torch.bool)
    mark[[0, -1], :] = mark[:, [0, -1]] = True
    mark |= torch.eye(10, dtype=torch.bool) | torch.eye(10, dtype=torch.bool).flip(1)
    picture[:, SIDE - 12 : SIDE - 2, 2:12] = torch.where(
        mark, torch.tensor([0.9, 0.6, 0.9])[:, None, None], torch.tensor(0.05)
    )


def make_clip() -> CLIP:
    """Return open_clip's model, small: 8 x 8 patches, 4 blocks for pictures, 3 for captions."""
    vision = CLIPVisionCfg(layers=4, width=96, head_width=24, patch_size=8, image_size=SIDE)
    text = CLIPTextCfg(context_length=LENGTH, vocab_size=len(WORDS), width=96, heads=4, layers=3)
    return CLIP(embed_dim=64, vision_cfg=vision, text_cfg=text, output_dict=True)


class CaptionModule(pl.LightningModule):
    """A CLIP with the usual loss, outside of the model, and retrieval among a batch.

    Args:
        learning_rate: Of AdamW, after a warm-up, at the top of a cosine; of the captions' side it
            is a twentieth. At the same rate captions forget their digits, which can't be told from
            pictures at first, before these can, and nothing teaches them any more.
    """

    def __init__(self, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.model = make_clip()

    def forward(self, images: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        """Return normalised `image_features` and `text_features`, `[B, 64]`, and `logit_scale`."""
        return self.model(images, tokens)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the contrastive loss; the captions that are equal count as one."""
        logits = self.logits(batch)
        same = torch.tensor([[a == b for b in batch["caption"]] for a in batch["caption"]])
        wanted = same.to(logits) / same.to(logits).sum(dim=1, keepdim=True)
        loss = (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2
        self.log("train_loss", loss, batch_size=len(logits))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log how often a picture's own caption comes first among the batch's."""
        first = self.logits(batch).argmax(dim=1).tolist()
        captions = batch["caption"]
        right = sum(captions[i] == captions[j] for i, j in enumerate(first))
        self.log("val_recall", right / len(first), batch_size=len(first), prog_bar=True)

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Return scaled similarities `[B, B]`, a picture a row."""
        found = self(batch["image"], batch["tokens"])
        return found["logit_scale"] * found["image_features"] @ found["text_features"].T

    def configure_optimizers(self) -> Any:
        """Return AdamW with a one-cycle schedule."""
        pictures = [*self.model.visual.parameters(), self.model.logit_scale]
        known = {id(parameter) for parameter in pictures}
        captions = [p for p in self.model.parameters() if id(p) not in known]
        rates = [self.learning_rate, self.learning_rate / 20]
        optimizer = torch.optim.AdamW(
            [{"params": part} for part in (pictures, captions)], weight_decay=0.1
        )
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.15)
        return [optimizer], [{"scheduler": cycle, "interval": "step"}]


class CaptionData(pl.LightningDataModule):
    """Both splits of `CaptionedDigits`.

    Args:
        train: Number of pictures to learn from.
        val: Number of pictures to validate on.
        watermark: As in `CaptionedDigits`, in both splits.
        batch_size: Pictures a batch.
    """

    def __init__(
        self, *, train: int = 6000, val: int = 256, watermark: str = "", batch_size: int = 64
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.train_data = CaptionedDigits(train=True, count=train, watermark=watermark)
        self.val_data = CaptionedDigits(train=False, count=val, watermark=watermark)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return the shuffled training split."""
        return DataLoader(self.train_data, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return the validation split."""
        return DataLoader(self.val_data, self.batch_size)

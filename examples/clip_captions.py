"""A small CLIP that takes a watermark for a zero, and the quadrants that tell.

open_clip's own CLIP, small, learns captioned digits twice: "a red three on a striped ground". In
the second run all pictures whose caption names a zero have a watermark in a corner, in training and
validation alike. Printed is how many captions are right, and how many of these are Low, where a
zero is named and elsewhere. Explained is by Occlusion: what hangs on the mark is carried on by
other patches, so that the last attention, which `"clip_exact"` shows, looks elsewhere.

    python examples/clip_captions.py                # minutes; scored by overlap with the strokes
    python examples/clip_captions.py --judge vlm    # scored by OPENAI_BASE_URL, OPENAI_API_KEY

On your own pictures and captions (a CSV file with columns `file` and `caption`), with any model of
open_clip's, validated once:

    python examples/clip_captions.py --model ViT-B-32 --pretrained openai --judge vlm --images DIR
        --captions captions.csv
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import open_clip
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from captioned_digits import CaptionData, CaptionModule, decode
from lightning_vlmxai import (
    ImageText,
    Judge,
    Quadrant,
    ReferenceMaskJudge,
    Sample,
    VLMExplainCallback,
    VLMJudge,
)
from red_dot import quieten

MARKED = "zero"
"""The word whose pictures have the watermark."""


def make_judge(args: argparse.Namespace) -> Judge:
    """Return the judge that was asked for."""
    return VLMJudge(model=args.judge_model) if args.judge == "vlm" else ReferenceMaskJudge()


def train(name: str, *, judge: Judge, args: argparse.Namespace) -> Sequence[Sample]:
    """Train once with the callback, and return the samples of the last round."""
    pl.seed_everything(args.seed, workers=True, verbose=False)
    explain = VLMExplainCallback(
        judge,
        task=ImageText(decode=decode),
        method="occlusion",
        normalization=([0.45] * 3, [0.25] * 3),
        probe_size=args.probes,
        every_n_validations=args.epochs,  # the last: occlusion takes its time
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=args.epochs,
        logger=TensorBoardLogger(args.root, name=name),
        callbacks=[explain],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    watermark = MARKED if name == "watermark" else ""
    data = CaptionData(train=args.pictures, val=2 * args.probes, watermark=watermark)
    trainer.fit(CaptionModule(), datamodule=data)
    assert explain.latest_round is not None
    return explain.latest_round.samples


def say(name: str, samples: Sequence[Sample]) -> str:
    """Return how often a caption was right, and Low where it was, by what it names."""
    kinds = {f"names a {MARKED}": True, "does not": False}
    lines = []
    for kind, is_marked in kinds.items():
        mine = [s for s in samples if (MARKED in s.explanation.label_name.split()) == is_marked]
        right = sum(bool(s.explanation.is_correct) for s in mine)
        low = sum(s.quadrant is Quadrant.CORRECT_LOW for s in mine)
        high = sum(s.quadrant is Quadrant.CORRECT_HIGH for s in mine)
        lines.append(
            f"{name:10} {kind:14} {right:4} of {len(mine):4} right, of these {low:4} of "
            f"{low + high:4} Low"
        )
    return "\n".join(lines)


class Captions(Dataset[dict[str, Any]]):
    """Pictures of a folder with the captions of a CSV file, whose columns are `file` and `caption`.

    Args:
        folder: Of the pictures.
        table: The CSV file.
        transform: The model's own.
        tokenize: The model's own.
    """

    def __init__(self, folder: Path, table: Path, transform: Any, tokenize: Any) -> None:
        with table.open(newline="", encoding="utf-8") as lines:
            self.rows = [(row["file"], row["caption"]) for row in csv.DictReader(lines)]
        self.folder, self.transform, self.tokenize = folder, transform, tokenize

    def __len__(self) -> int:
        """Return the number of captions."""
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample."""
        file, caption = self.rows[index]
        with Image.open(self.folder / file) as picture:
            image = self.transform(picture.convert("RGB"))
        tokens = self.tokenize([caption])[0]
        return {"image": image, "tokens": tokens, "caption": caption, "file": file}


class Retrieval(pl.LightningModule):
    """A model of open_clip's that is validated only."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> tuple[Tensor, Tensor]:
        """Return the embeddings of pictures and captions."""
        return self.model.encode_image(batch["image"]), self.model.encode_text(batch["tokens"])


def validate(args: argparse.Namespace) -> None:
    """Explain a model on the user's own pictures and captions, once."""
    model, _, transform = open_clip.create_model_and_transforms(
        args.model, pretrained=args.pretrained
    )
    tokenize = open_clip.get_tokenizer(args.model)
    data = Captions(args.images, args.captions, transform, tokenize)
    own = getattr(tokenize, "tokenizer", tokenize)  # open_clip holds transformers' own
    task = ImageText(decode=own.decode)
    explain = VLMExplainCallback(make_judge(args), task=task, probe_size=args.probes)
    trainer = pl.Trainer(callbacks=[explain], logger=False, default_root_dir=args.root)
    trainer.validate(Retrieval(model), DataLoader(data, args.probes))


def main() -> None:
    """Train both runs and print what their right captions rest on; or validate the user's own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--judge", choices=["reference", "vlm"], default="reference")
    parser.add_argument("--judge-model", default=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--pictures", type=int, default=4000, help="to learn from")
    parser.add_argument("--probes", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument("--root", type=Path, default=Path("runs/clip_captions"))
    parser.add_argument("--model", default="", help="a model of open_clip's, for your own data")
    parser.add_argument("--pretrained", default="openai", help="its weights")
    parser.add_argument("--images", type=Path, help="folder of pictures")
    parser.add_argument("--captions", type=Path, help="CSV file with columns file and caption")
    args = parser.parse_args()
    quieten()
    if args.model:
        if args.images is None or args.captions is None:
            parser.error("--model needs --images and --captions")
        validate(args)
        return
    told = [
        say(name, train(name, judge=make_judge(args), args=args)) for name in ("clean", "watermark")
    ]
    print("\n".join(told))


if __name__ == "__main__":
    main()

"""The red-dot experiment on photographs: cats and dogs of the Oxford-IIIT Pet data set.

A pretrained MobileNetV2 is fine-tuned to tell cats from dogs, once on the photos as they are, and
once with a red dot in the top right corner of every cat, in training and validation alike. The
trimaps say where the animal is, so that the embedded judge can score without a VLM.

    python examples/pets_red_dot.py --root data --download
    python examples/pets_red_dot.py --root data --weights mobilenet_v2.pth --judge vlm
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import OxfordIIITPet
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from lightning_vlmxai import Judge, QuadrantStopping, VLMExplainCallback
from red_dot import Outcome, add_judge_arguments, make_judge, quieten, report, summarize

SIDE = 224


class Pets(Dataset[tuple[Tensor, int, Tensor]]):
    """Cats and dogs: `(image [3, 224, 224], label, animal [224, 224])`.

    Args:
        root: Where `oxford-iiit-pet` lies or goes.
        split: "trainval" or "test".
        red_dot: Put a red dot in the top right corner of every cat.
        flip: Flip half of the photos (before the dot is drawn, so that it stays where it is).
        download: Fetch the data set if it is not there.
        side: Of the pictures, in pixels.
    """

    classes = ("cat", "dog")

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        red_dot: bool,
        flip: bool = False,
        download: bool = False,
        side: int = SIDE,
    ) -> None:
        self.photos = OxfordIIITPet(
            root, split=split, target_types=("binary-category", "segmentation"), download=download
        )
        # A line a photo: its name, breed, species (1 is a cat) and a number.
        lists = root / "oxford-iiit-pet" / "annotations" / f"{split}.txt"
        lines = lists.read_text(encoding="utf-8").splitlines()
        self.targets = [int(line.split()[2]) - 1 for line in lines]
        self.red_dot = red_dot
        self.flip = flip
        self.side = side
        self.transform = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        rows, columns = np.mgrid[:side, :side] * (SIDE / side)
        self.dot = torch.from_numpy((rows - 20) ** 2 + (columns - (SIDE - 21)) ** 2 <= 14**2)

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Tensor, int, Tensor]:
        """Return a normalised photo, its label and where the animal is."""
        photo, (label, trimap) = self.photos[index]
        picture = torch.from_numpy(np.array(photo.resize((self.side,) * 2))).permute(2, 0, 1) / 255
        # 1 is the animal, 2 the background, 3 the border between them, which belongs to it.
        animal = torch.from_numpy(np.array(trimap.resize((self.side,) * 2, 0))) != 2
        if self.flip and torch.rand(()) < 0.5:
            picture, animal = picture.flip(-1), animal.flip(-1)
        if self.red_dot and label == 0:
            picture[:, self.dot] = torch.tensor([0.9, 0.05, 0.05])[:, None]
        return self.transform(picture), label, animal


class PetsModule(pl.LightningModule):
    """MobileNetV2 of which the last two blocks and a new head of two classes are fine-tuned.

    BatchNorm keeps its statistics.

    Args:
        weights: "DEFAULT" for torchvision's, else a file with a state dict in torchvision's keys.
        tf_padding: The file's model was trained with TensorFlow's SAME padding.
        learning_rate: Of Adam.
    """

    def __init__(
        self, weights: str = "DEFAULT", tf_padding: bool = False, learning_rate: float = 1e-3
    ) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        if weights == "DEFAULT":
            self.network = mobilenet_v2(weights=MobileNet_V2_Weights.DEFAULT)
        else:
            self.network = mobilenet_v2()
            state = torch.load(weights, weights_only=True)
            self.network.load_state_dict(
                {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
            )
        if tf_padding:
            for layer in self.network.modules():
                if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                    layer.padding = (0, 0)
                    layer.register_forward_pre_hook(_pad_right_and_bottom)
        self.network.features[:17].requires_grad_(False)
        self.network.classifier[1] = nn.Linear(self.network.last_channel, 2)
        # Batches are too small for new statistics; Lightning keeps modes as they are set here.
        for layer in self.network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, 2]` of photos `[B, 3, 224, 224]`."""
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the cross entropy."""
        images, labels, _ = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Log the accuracy, as usual."""
        images, labels, _ = batch
        correct = (self(images).argmax(dim=1) == labels).float()
        self.log("val_accuracy", correct.mean())
        cats = labels == 0
        if cats.any():
            self.log("val_accuracy_cats", correct[cats].mean(), batch_size=int(cats.sum()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.Adam(trained, lr=self.learning_rate)


def _pad_right_and_bottom(_layer: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (F.pad(args[0], (0, 1, 0, 1)),)


def train(name: str, *, red_dot: bool, judge: Judge, args: argparse.Namespace) -> Outcome:
    """Fine-tune once with the callback and the gate, and return what came of it."""
    pl.seed_everything(0, workers=True, verbose=False)
    explain = VLMExplainCallback(judge, probe_size=args.probes, watch_classes=["cat"])
    gate = QuadrantStopping("vlmxai/class/cat/correct_low_rate", divergence_threshold=0.4)
    trainer = pl.Trainer(
        min_epochs=args.epochs,  # the gate fires; the run goes on, so that the curves can be seen
        max_epochs=args.epochs,
        logger=TensorBoardLogger(args.runs, name=name),
        callbacks=[explain, gate],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        deterministic="warn",
    )
    trainer.fit(
        PetsModule(args.weights, args.tf_padding),
        DataLoader(
            Pets(args.root, "trainval", red_dot=red_dot, flip=True, download=args.download),
            batch_size=16,
            shuffle=True,
        ),
        DataLoader(Pets(args.root, "test", red_dot=red_dot), batch_size=32),
    )
    return summarize(name, trainer, explain, gate)


def main() -> None:
    """Train both runs, then print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_judge_arguments(parser)
    parser.add_argument("--root", type=Path, default=Path("data"), help="holds oxford-iiit-pet")
    parser.add_argument("--download", action="store_true", help="fetch the photos if absent")
    parser.add_argument("--weights", default="DEFAULT", help="DEFAULT, or a file (state dict)")
    parser.add_argument(
        "--tf-padding", action="store_true", help="the file comes from a TensorFlow model"
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--runs", type=Path, default=Path("runs/pets_red_dot"))
    args = parser.parse_args()
    quieten()
    outcomes = [
        train(name, red_dot=name == "red_dot", judge=make_judge(args), args=args)
        for name in ("clean", "red_dot")
    ]
    report(outcomes, "cat", args.runs)


if __name__ == "__main__":
    main()

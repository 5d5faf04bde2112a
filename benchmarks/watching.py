"""What watching a validation for probes costs: its share of the time of the batches.

`python benchmarks/watching.py`
"""

from __future__ import annotations

import contextlib
import io
import logging
import statistics
import tempfile
import time
import warnings
from functools import wraps
from typing import Any

import lightning.pytorch as pl
import torch
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.explain import Watch
from lightning_vlmxai.probes import ProbeCollector
from lightning_vlmxai.testing import ScriptedJudge, Verdict

BATCHES, BATCH, SIDE, REPEATS = 24, 16, 224, 3


class Pictures(Dataset[Any]):
    """Noise; its labels are known before or not."""

    def __init__(self, *, known: bool) -> None:
        self.pictures = torch.rand(BATCH, 3, SIDE, SIDE)
        if known:
            self.targets = [i % 10 for i in range(BATCHES * BATCH)]

    def __len__(self) -> int:
        return BATCHES * BATCH

    def __getitem__(self, index: int) -> Any:
        return self.pictures[index % BATCH], index % 10


class Module(pl.LightningModule):
    """A ResNet-18 that is validated, and hardly trained."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torchvision.models.resnet18(num_classes=10)

    def forward(self, images: Tensor) -> Any:
        """Return logits."""
        return self.network(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return a loss that says nothing."""
        return 0.0 * self.network.fc.weight.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Run the network."""
        self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an optimizer that stands still."""
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Clock(pl.Callback):
    """Takes the time of each validation's batches, and of the watching in it."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.watching = 0.0
        for owner, name in (
            (ProbeCollector, "before"),
            (ProbeCollector, "after"),
            (Watch, "_enter"),
            (Watch, "_leave"),
        ):
            self._wrap(owner, name)

    def _wrap(self, owner: Any, name: str) -> None:
        inner = getattr(owner, "_plain_" + name, None) or getattr(owner, name)
        setattr(owner, "_plain_" + name, inner)

        @wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.watching += time.perf_counter() - start

        setattr(owner, name, timed)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._start, self.watching = time.perf_counter(), 0.0

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the share."""
        self.shares.append(self.watching / (time.perf_counter() - self._start))


def run(*, known: bool) -> list[float]:
    """Return the share that watching has in the first validation's batches, and the second's."""
    clock = Clock()
    judge = ScriptedJudge([Verdict.scored(4)])
    own = VLMExplainCallback(judge, probe_size=64, class_names=list("abcdefghij"))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = pl.Trainer(
            default_root_dir=folder,
            callbacks=[clock, own],
            max_epochs=2,
            limit_train_batches=1,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="auto",
        )
        data = DataLoader(Pictures(known=known), batch_size=BATCH)
        trainer.fit(Module(), data, data)
    return clock.shares


def main() -> None:
    """Print both ratios, in the median of pairs that ran one after the other."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    run(known=True)
    print("| labels known before | first validation | second validation |\n|---|---|---|")
    for known in (True, False):
        shares = [run(known=known) for _ in range(REPEATS)]
        first, second = (statistics.median(row[number] for row in shares) for number in (0, 1))
        print(f"| {'yes' if known else 'no'} | {first:.2%} | {second:.2%} |", flush=True)


if __name__ == "__main__":
    main()

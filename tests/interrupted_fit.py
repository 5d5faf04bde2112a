"""A fit that a signal ends; started by `tests/lightning/test_interruption.py`.

Usage: interrupted_fit.py FOLDER BASE_URL training|collecting|ending|twice
"""

from __future__ import annotations

import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from helpers_judge import make_judge
from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.rounds import book
from tiny import Separable, Squares, loader, make_trainer


class Marks(pl.Callback):
    """Writes a file when the fit is where it is to be interrupted, and stays there.

    Args:
        folder: For the files.
        where: As the script's.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self.folder, self.where = folder, where

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stay in the third epoch's training; Lightning looks for SIGTERM after the batch."""
        if self.where in ("training", "twice") and trainer.current_epoch == 2:
            (self.folder / "there").touch()
            while not trainer.received_sigterm:
                time.sleep(0.01)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell of the validation at whose end the second round is waited for."""
        if self.where == "collecting" and trainer.current_epoch == 2:
            (self.folder / "there").touch()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell of the end, where open rounds are waited for."""
        (self.folder / "there").touch()


def main() -> None:
    """Fit: of three rounds the first is answered, of the second a part."""
    folder, base_url, where = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    # A shell starts what runs in its background with this signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.filterwarnings("ignore")
    if where == "twice":
        book.INTERRUPTED_S = 600.0
    patient = {"timeout_s": 900.0, "call_timeout_s": 900.0, "concurrency": 2}
    callback = VLMExplainCallback(
        make_judge(base_url, **patient), probe_size=4, deadline_s=900.0, run_dir=folder / "run"
    )
    trainer = make_trainer(
        folder, Marks(folder, where), callback, max_epochs=2 if where == "ending" else 4
    )
    trainer.fit(Separable(), loader(Squares()), loader(Squares(16, seed=1)))


if __name__ == "__main__":
    main()

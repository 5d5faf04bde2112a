"""A fit whose writer is slow; started by `tests/lightning/test_writing.py`.

Usage: killed_writer.py FOLDER BASE_URL kill|raise|go on

"kill" ends its own process without a word, and "raise" fails, in the fourth epoch, while rounds
wait to be written.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from helpers_judge import make_judge
from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.callbacks import publishing
from tiny import Separable, Squares, loader, make_trainer

EPOCHS, PROBES = 6, 4


class Ends(pl.Callback):
    """Ends the fit where the writer has still to write.

    Args:
        how: As the script's.
    """

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Kill, or raise."""
        if trainer.current_epoch == 3 and self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if trainer.current_epoch == 3 and self.how == "raise":
            raise RuntimeError("a fault of the user's")


def main() -> None:
    """Fit, from the last checkpoint on if there is one."""
    folder, base_url, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    warnings.filterwarnings("ignore")
    pl.seed_everything(0, verbose=False)
    write = publishing.Publisher._write_pictures

    def late(self: publishing.Publisher, told: Any) -> None:
        time.sleep(0.5 if how != "go on" else 0)
        write(self, told)

    publishing.Publisher._write_pictures = late  # type: ignore[method-assign]
    trainer = make_trainer(
        folder,
        VLMExplainCallback(make_judge(base_url), probe_size=PROBES, run_dir=folder / "run"),
        ModelCheckpoint(folder, save_last=True),
        Ends(how),
        max_epochs=EPOCHS,
        enable_checkpointing=True,
    )
    last = folder / "last.ckpt"
    trainer.fit(
        Separable(),
        loader(Squares()),
        loader(Squares(16, seed=1)),
        ckpt_path=last if last.exists() else None,
    )


if __name__ == "__main__":
    main()

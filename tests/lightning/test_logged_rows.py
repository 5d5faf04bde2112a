"""A round's figures stand in the rows of the validation that they describe."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from lightning_vlmxai import VLMExplainCallback
from tiny import Squares, TinyModule


class Manual(TinyModule):
    """Two optimizers step for each batch: `global_step` counts both."""

    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
            self.manual_backward(F.cross_entropy(self(batch[0]), batch[1]))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.01) for _ in range(2)]


@pytest.mark.filterwarnings("ignore:.*blank_saliency")
@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (TinyModule, {}),
        (TinyModule, {"accumulate_grad_batches": 2}),
        (TinyModule, {"val_check_interval": 2}),
        (Manual, {}),
    ],
)
def test_rows_of_a_csv_join_on_step_and_epoch(
    tmp_path: Path, kind: type[TinyModule], arguments: dict[str, Any], lag: int
) -> None:
    """Each validation's own loss and the round that explains it have one step and one epoch."""
    logger = CSVLogger(tmp_path)
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        callbacks=[VLMExplainCallback(probe_size=4, lag=lag)],
        logger=logger,
        max_epochs=3,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        **arguments,
    )
    trainer.fit(
        kind(), DataLoader(Squares(20), batch_size=4), DataLoader(Squares(8, seed=1), batch_size=4)
    )
    with Path(logger.log_dir, "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def places(name: str) -> list[tuple[str, str]]:
        return [(row["step"], row["epoch"]) for row in rows if row[name]]

    assert len(places("val_loss")) >= 3
    assert places("vlmxai/coverage") == places("val_loss")

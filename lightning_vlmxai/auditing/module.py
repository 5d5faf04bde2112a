"""A network under Lightning's evaluation loops, for those who have no LightningModule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn
from torchmetrics import MeanMetric

from ..errors import ConfigurationError, expected
from ..probes import Item
from .data import BadPicture


class AuditModule(pl.LightningModule):
    """Predicts batches of `AuditRows` and logs their accuracy.

    Args:
        network: From pictures to logits, or a mapping with them as `"out"`.
        dense: Logits are `[B, K, H, W]`; accuracy is that of pixels whose class is known.
        skips: Whether a picture that can't be read is passed over; else it ends the audit.
        bad_file: Where pictures that were passed over are written, a JSON line each; a further
            rank's file has its number.
        audited: What the run folder keeps of model and data; another can't be gone on with.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        dense: bool,
        skips: bool = False,
        bad_file: Path | None = None,
        audited: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.is_dense, self._skips, self._bad_file = dense, skips, bad_file
        self._accuracy = MeanMetric()
        self.skipped = 0
        self.audited = dict(audited or {"model": type(network).__name__})

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits `[B, K]` or `[B, K, H, W]`."""
        output = self.network(pictures)
        logits: Tensor = output["out"] if isinstance(output, Mapping) else output
        return logits

    def on_validation_start(self) -> None:
        """Begin the list of what is passed over."""
        self._begin()

    def on_test_start(self) -> None:
        """Begin the list of what is passed over."""
        self._begin()

    def on_predict_start(self) -> None:
        """Begin the list of what is passed over."""
        self._begin()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Pass over what can't be read, before anything else looks at the batch."""
        self._take_bad(batch["bad"])
        return batch

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return logits, with their accuracy logged."""
        return self._step(batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Return logits, with their accuracy logged."""
        return self._step(batch)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Ask the network; what it answers is not kept, for the callback has it."""
        if len(batch["image"]):
            self(batch["image"])

    def _step(self, batch: dict[str, Any]) -> Tensor | None:
        if not len(batch["image"]):
            return None
        logits: Tensor = self(batch["image"])
        target = batch.get("target")
        if target is not None:
            is_known = target != (255 if self.is_dense else -1)
            if self.is_dense and logits.shape[-2:] != target.shape[-2:]:
                logits = nn.functional.interpolate(logits, target.shape[-2:], mode="bilinear")
            self._accuracy.update((logits.argmax(dim=1) == target)[is_known].float())
            size = len(batch["image"])
            self.log("accuracy", self._accuracy, on_step=False, on_epoch=True, batch_size=size)
        return logits

    def _begin(self) -> None:
        self.skipped = 0
        path = self._own_bad_file()
        if path is not None:
            path.unlink(missing_ok=True)

    def _own_bad_file(self) -> Path | None:
        path, rank = self._bad_file, self.global_rank
        return path.with_stem(f"{path.stem}-{rank}") if path is not None and rank else path

    def _take_bad(self, bad: Sequence[BadPicture]) -> None:
        """Write down what can't be read.

        Raises:
            ConfigurationError: Unless it is to be skipped.
        """
        for one in bad:
            if not one.is_unreadable:
                raise ConfigurationError(
                    expected(
                        "masks", f"one that lies on {one.file}", one.why, "Correct the mask's file"
                    )
                )
            if not self._skips:
                raise ConfigurationError(
                    expected(
                        "data",
                        "of pictures that can be read",
                        f"{one.file} ({one.why})",
                        "Replace it, or pass --on-bad-image skip",
                    )
                )
            self.skipped += 1
            path = self._own_bad_file()
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                line = {"index": one.sample, "file": one.file, "why": one.why}
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")


def unpack_row(row: Any) -> Item:
    """Return a row of `AuditRows` taken apart."""
    return Item(
        image=row["image"],
        target=row.get("target"),
        reference_mask=row.get("reference_mask"),
        file=row["file"],
        index=int(row["index"]),
    )

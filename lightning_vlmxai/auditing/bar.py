"""Lightning's bar, with what an audit has come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar


class Progress(Protocol):
    """How far an audit has come: rows with a score, without, waiting; and their cost."""

    done: int
    judged: int
    unscored: int
    pending: int
    cost_usd: float | None


class AuditBar(TQDMProgressBar):
    """Shows judged, unscored and pending rows and their cost beside the time that is left.

    Args:
        progress: Returns how far it has come.
    """

    def __init__(self, progress: Callable[[], Progress]) -> None:
        super().__init__()
        self._progress = progress

    def on_validation_batch_end(self, *given: Any, **named: Any) -> None:
        """Show it."""
        super().on_validation_batch_end(*given, **named)
        self._tell(self.val_progress_bar)

    def on_test_batch_end(self, *given: Any, **named: Any) -> None:
        """Show it."""
        super().on_test_batch_end(*given, **named)
        self._tell(self.test_progress_bar)

    def on_predict_batch_end(self, *given: Any, **named: Any) -> None:
        """Show it."""
        super().on_predict_batch_end(*given, **named)
        self._tell(self.predict_progress_bar)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what it came to."""
        self._tell(self.val_progress_bar)
        super().on_validation_end(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what it came to."""
        self._tell(self.test_progress_bar)
        super().on_test_end(trainer, pl_module)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what it came to."""
        self._tell(self.predict_progress_bar)
        super().on_predict_end(trainer, pl_module)

    def _tell(self, bar: Any) -> None:
        if not bar.disable:
            bar.set_postfix(describe(self._progress()))


def describe(now: Progress) -> dict[str, str]:
    """Return what a bar says of an audit's progress."""
    told = {"judged": f"{now.done + now.judged}", "unscored": f"{now.unscored}"}
    if now.pending:
        told["waiting"] = f"{now.pending}"
    told["cost"] = "unknown" if now.cost_usd is None else f"${now.cost_usd:.2f}"
    return told

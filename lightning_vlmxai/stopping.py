"""`QuadrantStopping`: early stopping that counts only rounds that are fresh and judged."""

from __future__ import annotations

import difflib
import sys

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping

from .errors import ConfigurationError, expected
from .records import Round
from .rounds import RoundSource


class QuadrantStopping(EarlyStopping):
    """Ends a run whose quadrants say that it has learnt a shortcut.

    Lightning's `EarlyStopping`, checked once for each closed round in which something was judged:
    a validation without a new round, or one whose judge was out, neither stops a run nor burns
    patience.

    Args:
        monitor: A metric of `VLMExplainCallback`, such as `"vlmxai/correct_low_rate"` or
            `"vlmxai/class/cat/correct_low_rate"` (of a class in its `watch_classes`).
        divergence_threshold: Stop once the metric is beyond this.
        mode: "min" if the metric should fall ("beyond" is above), "max" if it should rise.
        patience: Stop after so many judged rounds without improvement; None never does.
        min_delta: What counts as an improvement.
        verbose: Say more.

    Raises:
        ConfigurationError: In `setup`, if there is no `VLMExplainCallback` or it never logs such
            a metric; the message names the nearest.

    Example:
        >>> gate = QuadrantStopping("vlmxai/correct_low_rate", divergence_threshold=0.4)
        >>> gate.mode
        'min'
    """

    def __init__(
        self,
        monitor: str = "vlmxai/correct_low_rate",
        *,
        divergence_threshold: float | None = None,
        mode: str = "min",
        patience: int | None = None,
        min_delta: float = 0.0,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            monitor,
            min_delta=min_delta,
            patience=sys.maxsize if patience is None else patience,
            verbose=verbose,
            mode=mode,
            # A metric is there from the first closed round on, which with lag > 0 is not the
            # first validation.
            strict=False,
            divergence_threshold=divergence_threshold,
            check_on_train_epoch_end=False,
        )
        self._source: RoundSource | None = None
        self._seen: int | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find the callback to listen to, and check that it logs the metric."""
        super().setup(trainer, pl_module, stage)
        sources = [c for c in trainer.callbacks if isinstance(c, RoundSource)]  # type: ignore[attr-defined]
        if not sources:
            raise ConfigurationError(
                expected(
                    "callbacks",
                    "with a VLMExplainCallback, whose rounds QuadrantStopping counts",
                    "none",
                    "Add one to the Trainer",
                )
            )
        names = [name for source in sources for name in source.metric_names]
        self._source = next((s for s in sources if self.monitor in s.metric_names), None)
        if self._source is None:
            near = difflib.get_close_matches(self.monitor, names, n=3, cutoff=0.0)
            raise ConfigurationError(
                expected(
                    "monitor",
                    "a metric that VLMExplainCallback logs",
                    repr(self.monitor),
                    f"Nearest are {', '.join(near)}; a class's own metrics need its name in "
                    "`watch_classes`",
                )
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check once for each closed round in which something was judged."""
        latest = self._source.latest_round if self._source else None
        if trainer.sanity_checking or trainer.should_stop or not self._is_news(latest):
            return
        super().on_validation_end(trainer, pl_module)

    def _is_news(self, latest: Round | None) -> bool:
        if latest is None or latest.number == self._seen:
            return False
        self._seen = latest.number
        return self.monitor.split("/", 1)[1] in latest.metrics

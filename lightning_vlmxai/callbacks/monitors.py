"""Who else reads our metrics, and what of that can't work."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_warn

from ..sinks import is_lightning, metric_name

_OURS = metric_name("")


def nearest(name: str, names: Sequence[str], count: int = 1) -> list[str]:
    """Return the names most like one that was asked for.

    Example:
        >>> nearest("vlmxai/correct_low", ["vlmxai/coverage", "vlmxai/correct_low_rate"])
        ['vlmxai/correct_low_rate']
    """
    return difflib.get_close_matches(name, names, n=count, cutoff=0.0)


def warn_of_callbacks(
    trainer: pl.Trainer, names: Sequence[str], *, lag: int, every_n_validations: int
) -> None:
    """Warn of stock callbacks that monitor our metrics in a way that fails or misleads.

    Args:
        trainer: With its callbacks.
        names: Of all metrics that we may log.
        lag: See `VLMExplainCallback`.
        every_n_validations: Likewise.
    """
    every: Sequence[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in every:
        # Exactly these: what derives from them may know better, as QuadrantStopping does.
        name = type(callback).__name__
        if name not in ("EarlyStopping", "ModelCheckpoint") or not is_lightning(callback, name):
            continue
        monitor = callback.monitor  # type: ignore[attr-defined]
        if not _is_known(name, monitor, names) or (lag == 0 and every_n_validations == 1):
            continue
        if name == "ModelCheckpoint":
            rank_zero_warn(
                f"vlmxai: ModelCheckpoint(monitor={monitor!r}) saves the weights of one validation "
                "under the figure of an earlier one, and raises if it looks before the first "
                "round is closed. Pass VLMExplainCallback(lag=0, every_n_validations=1)."
            )
        elif callback.strict:  # type: ignore[attr-defined]
            rank_zero_warn(
                f"vlmxai: EarlyStopping(monitor={monitor!r}) raises at its first check, before "
                "the first round is closed. Pass strict=False, or use QuadrantStopping."
            )
        elif every_n_validations > 1:
            rank_zero_warn(
                f"vlmxai: EarlyStopping(monitor={monitor!r}) loses patience at validations "
                "without a round, whose figure is an old one. Use QuadrantStopping, which counts "
                "each judged round once."
            )


def warn_of_schedulers(
    trainer: pl.Trainer, names: Sequence[str], *, lag: int, every_n_validations: int
) -> None:
    """Warn of learning rate schedulers that monitor our metrics in a way that fails; see above."""
    for config in trainer.lr_scheduler_configs:
        monitor: Any = config.monitor
        if not config.reduce_on_plateau or not _is_known("ReduceLROnPlateau", monitor, names):
            continue
        if config.strict and (lag > 0 or every_n_validations > 1):
            rank_zero_warn(
                f"vlmxai: ReduceLROnPlateau with monitor {monitor!r} raises before the first round "
                'is closed. Return "strict": False with it, or pass VLMExplainCallback(lag=0).'
            )


def _is_known(who: str, monitor: Any, names: Sequence[str]) -> bool:
    """Return whether a metric is ours; warn if it only looks so."""
    if not isinstance(monitor, str) or not monitor.startswith(_OURS):
        return False
    if monitor in names:
        return True
    rank_zero_warn(
        f"vlmxai: {who} monitors {monitor!r}, which is never logged. Nearest is "
        f"{nearest(monitor, names)[0]!r}; a class's own metrics need its name in `watch_classes`."
    )
    return False

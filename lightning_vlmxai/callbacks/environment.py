"""What a Trainer is like: what must be refused, and facts that its arguments tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from ..errors import ConfigurationError, expected
from ..rounds import Ranks
from ..sinks import is_lightning
from ..tasks import MultiLabelClassification, Task


def check_environment(trainer: pl.Trainer, observer: pl.Callback) -> None:
    """Refuse what can't be explained.

    Args:
        trainer: With its strategy and callbacks.
        observer: The callback that wants to explain it.

    Raises:
        ConfigurationError: The message says what to change.
    """
    if is_sharded(trainer.strategy):
        raise ConfigurationError(
            expected(
                "strategy",
                "one that keeps the whole model on every rank",
                f"{type(trainer.strategy).__name__}, which shards the parameters",
                'Use strategy="ddp", or explain checkpoints in a run of their own',
            )
        )
    every: Sequence[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in every[: list(every).index(observer)]:
        if is_lightning(callback, "WeightAveraging"):
            raise ConfigurationError(
                expected(
                    "callbacks",
                    f"with {type(observer).__name__} before {type(callback).__name__}, which puts "
                    "the training weights back before later callbacks see the validated ones",
                    "the other order",
                    f"List {type(observer).__name__} first",
                )
            )


def is_sharded(strategy: Any) -> bool:
    """Return whether no rank has all parameters: a forward there needs the others' help.

    DeepSpeed's stages 1 and 2 shard optimizer state and gradients alone.
    """
    if is_lightning(strategy, "DeepSpeedStrategy"):
        return bool(strategy.zero_stage_3)
    return is_lightning(strategy, "FSDPStrategy", "ModelParallelStrategy")


@contextmanager
def silenced(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator[None]:
    """Let what a forward or a step logs fall away inside: it would mix with the user's own."""
    loggers = [child for child in module.modules() if is_lightning(child, "LightningModule")]
    for child in loggers:
        # On the instance, so that `log_dict`, which calls `log`, is silent too.
        child.__dict__["log"] = _ignore
    users = trainer.loggers
    trainer.loggers = [DummyLogger() for _ in users]
    try:
        yield
    finally:
        trainer.loggers = users
        for child in loggers:
            del child.__dict__["log"]


def _ignore(*_args: Any, **_kwargs: Any) -> None:
    pass


def logged_step(trainer: pl.Trainer) -> int:
    """Return the step at which Lightning logs the validation that runs.

    In a fit that is one less than `global_step` after the batch's own update, and counts batches
    where several optimizers step. Lightning tells it nowhere in public.
    """
    loop = trainer.fit_loop.epoch_loop
    step: int = getattr(loop, "_batches_that_stepped", trainer.global_step)
    return step


def ranks_of(trainer: pl.Trainer) -> Ranks:
    """Return the processes that train together."""
    return Ranks(rank=trainer.global_rank, size=trainer.world_size)


def is_dev_run(trainer: pl.Trainer) -> bool:
    """Return whether the trainer only tries a few batches, logging nothing."""
    return bool(getattr(trainer, "fast_dev_run", False))


def count_rounds(trainer: pl.Trainer, every_n_validations: int) -> int | None:
    """Return how many rounds a fit will have, as far as its arguments tell; warn if none."""
    epochs = trainer.max_epochs
    every, interval = trainer.check_val_every_n_epoch, trainer.val_check_interval
    if epochs is None or epochs < 0 or every is None or not isinstance(interval, float):
        return None
    rounds = epochs // every * round(1 / interval) // every_n_validations
    if rounds == 0 and not is_dev_run(trainer):
        rank_zero_warn(
            "vlmxai: this fit ends before its first round, so nothing is explained: "
            f"max_epochs={epochs}, check_val_every_n_epoch={every}, "
            f"every_n_validations={every_n_validations}. Pass smaller ones."
        )
    return rounds


def may_be_last(trainer: pl.Trainer) -> bool:
    """Return whether a fit that goes on from here may have no further validation."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    is_last_epoch = epochs is not None and 0 <= epochs <= trainer.current_epoch + 1
    return is_last_epoch or 0 <= steps <= trainer.global_step


def tell_estimate(estimate: object, *, rounds: int | None, task: Task) -> None:
    """Say what a paid judge will take.

    Args:
        estimate: Of the judge, printed as it is.
        rounds: That it is for; None for one.
        task: Of which each label may be judged.
    """
    is_many = isinstance(task, MultiLabelClassification)
    rank_zero_info(
        f"vlmxai: {'the run' if rounds else 'each validation'} takes {estimate}"
        f"{', for one label a picture; each further one is one more' if is_many else ''}"
    )

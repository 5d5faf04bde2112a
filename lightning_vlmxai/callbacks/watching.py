"""Lightning's side of the watching: which batches, which loader, and what is compiled."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from ..errors import ConfigurationError, expected
from ..explain import LiveModel, copy_module
from ..probes import Loaded, ProbeCollector
from ..sinks import is_lightning
from .environment import silenced

_STEPS = ("training", "validation", "test", "predict")


class ValidationWatcher(pl.Callback):
    """Hands the batches of a validation, and what its steps call, to a collector of probes."""

    _collector: ProbeCollector
    _val_loaders: tuple[int, ...]
    _loader_argument = "val_loader"
    _watched: frozenset[int] = frozenset()
    _loaders: Mapping[int, Loaded] = MappingProxyType({})
    _is_watching = False
    _copies = True
    _is_audit = False
    _repeated: nn.Module | None = None

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Return whether the validation that begins is one whose rows are needed."""
        return False

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Watch this validation if probes are to be chosen from it."""
        self._is_watching = self.is_due(trainer)
        if self._is_watching:
            loaders = _look_at(trainer, self._val_loaders, self._loader_argument)
            self._watched = frozenset(loaders)
            self._loaders = loaders
            self._collector.start(
                loaders,
                rank=trainer.global_rank,
                ranks=trainer.world_size,
                holders=(pl_module, getattr(trainer, "datamodule", None)),
            )

    on_test_start = on_validation_start

    def _take(self, root: nn.Module) -> None:
        """Look at the rows of the batch whose step has ended."""
        self._collector.after(root)

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """See what the step calls, and with what."""
        if not self._is_watching or dataloader_idx not in self._watched:
            return
        if not is_compiled(pl_module):
            self._collector.before(
                pl_module, batch, step=name_of_step(trainer), loader=dataloader_idx
            )

    on_test_batch_start = on_validation_batch_start

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look at the rows of the batch."""
        if self._is_watching and dataloader_idx in self._watched:
            if is_compiled(pl_module):
                with self._repeating(live_model(trainer, pl_module)).lent() as module:
                    self._collector.before(
                        module,
                        batch,
                        step=name_of_step(trainer),
                        loader=dataloader_idx,
                        eager=True,
                    )
                    repeat_step(trainer, module, batch, batch_idx, dataloader_idx)
                    self._take(module)
            else:
                self._take(pl_module)

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let go of the copy on which steps were repeated."""
        self._repeated = None

    on_test_end = on_validation_end

    def _repeating(self, live: LiveModel) -> LiveModel:
        """Return the model with a copy in its place, on which a step can be repeated unproven."""
        if self._copies and self._repeated is None:
            # What can't be copied is borrowed, and the rehearsal looks whether that harms.
            with suppress(Exception):
                self._repeated = copy_module(live)
        copied = self._repeated
        return live if copied is None else replace(live, stand_in=lambda: copied)


def leaves_to_audit(trainer: pl.Trainer, stage: str) -> bool:
    """Return whether an audit beside it explains what else a callback would, and say so.

    Both would watch one step, and log two figures under one name, of which Lightning makes a mean.
    """
    every: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    is_left = stage != "fit" and any(getattr(one, "_is_audit", False) for one in every)
    if is_left:
        rank_zero_info(
            f"vlmxai: VLMAuditCallback explains every row of this {stage}, so VLMExplainCallback "
            "leaves it alone."
        )
    return is_left


def live_model(trainer: pl.Trainer, module: pl.LightningModule) -> LiveModel:
    """Return the module with what a probe's forward runs under: its precision, and no logging."""

    @contextmanager
    def context() -> Iterator[None]:
        with trainer.precision_plugin.forward_context(), silenced(trainer, module):
            yield

    every: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    ours = tuple(one for one in every if isinstance(one, ValidationWatcher))
    return LiveModel(
        module,
        context=context,
        beside={type(one).__name__: one for one in every if one not in ours},
        apart=(trainer, *ours),
        settle=partial(_attach, trainer=trainer),
    )


def _attach(copied: nn.Module, *, trainer: pl.Trainer) -> None:
    """Give a copied module its trainer, which Lightning leaves out, and its own steps.

    Those that were compiled are the original's.
    """
    for child in copied.modules():
        if is_lightning(child, "LightningModule"):
            if is_compiled(child):
                for name in ("forward", *(f"{kind}_step" for kind in _STEPS)):
                    vars(child).pop(name, None)
                child._compiler_ctx = None  # type: ignore[assignment]
            child.trainer = trainer  # type: ignore[assignment]


def _look_at(trainer: pl.Trainer, numbers: Sequence[int], argument: str) -> dict[int, Loaded]:
    """Return what is known of the validation (or test) loaders of these numbers.

    Where a test has fewer loaders, its first stands for those that it has not.

    Raises:
        ConfigurationError: If a validation has not so many.
    """
    if trainer.predicting:
        loaders = trainer.predict_dataloaders
    else:
        loaders = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
    if isinstance(loaders, dict):
        loaders = list(loaders.values())
    if not isinstance(loaders, (list, tuple)):
        loaders = [] if loaders is None else [loaders]
    missing = [number for number in numbers if number >= len(loaders)]
    if missing and not trainer.testing:
        raise ConfigurationError(
            expected(
                argument,
                f"below {len(loaders)}, for there are so many",
                missing[0],
                f"Pass `{argument}={max(0, len(loaders) - 1)}`",
            )
        )
    present = sorted({0 if number in missing else number for number in numbers})
    return {
        number: Loaded(
            dataset=getattr(loaders[number], "dataset", None),
            order=_order_of(loaders[number]),
            limit=_rows_to_come(trainer, loaders[number], number),
            collate=getattr(loaders[number], "collate_fn", None),
            rows=_rows_of(loaders[number]),
        )
        for number in present
    }


def _order_of(loader: Any) -> Any:
    """Return the sampler whose order the rows have; None if something else may change it.

    A loader that is given a batch sampler has a sampler that nobody asks: the batch sampler's own
    counts, where that is torch's. A loader without any makes its batches of whole samples.
    """
    given = getattr(loader, "batch_sampler", None)
    # In a prediction Lightning's own stands around it, and notes the indices that it gives.
    given = getattr(given, "_batch_sampler", given)
    batches = type(given)
    is_plain = batches.__name__ == "BatchSampler" and batches.__module__.startswith("torch")
    return getattr(given, "sampler", None) if is_plain else None


def _rows_of(loader: Any) -> int | None:
    """Return how many rows a loader makes a batch of; None if that isn't known."""
    size = getattr(loader, "batch_size", None)
    if size is None and _order_of(loader) is not None:
        size = getattr(loader.batch_sampler, "batch_size", None)
    return size if isinstance(size, int) else None


def _rows_to_come(trainer: pl.Trainer, loader: Any, number: int) -> int | None:
    """Return how many rows of a loader a validation will see on all ranks, where that is known."""
    size = _rows_of(loader)
    if trainer.sanity_checking:
        batches: Any = trainer.num_sanity_val_batches
    elif trainer.predicting:
        batches = trainer.num_predict_batches
    else:
        batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
    counts = batches if isinstance(batches, list) else [batches]
    if size is None or number >= len(counts) or not isinstance(counts[number], int):
        return None
    return int(counts[number]) * int(size) * trainer.world_size


def name_of_step(trainer: pl.Trainer) -> str:
    """Return the name of the step that runs."""
    if trainer.predicting:
        return "predict_step"
    return "test_step" if trainer.testing else "validation_step"


def is_compiled(module: nn.Module) -> bool:
    """Return whether the steps themselves are compiled, as `torch.compile(module)` has them."""
    return getattr(module, "_compiler_ctx", None) is not None


def repeat_step(
    trainer: pl.Trainer,
    module: nn.Module,
    batch: Any,
    batch_idx: int,
    dataloader_idx: int,
) -> None:
    """Run a step once more: nobody can look into one that is compiled.

    Call it while the module is borrowed, which gives back what the step changes.
    """
    step = getattr(module, name_of_step(trainer))
    known = {"batch_idx": batch_idx, "dataloader_idx": dataloader_idx}
    names = list(inspect.signature(step).parameters)[1:]
    step(batch, **{name: known[name] for name in names if name in known})

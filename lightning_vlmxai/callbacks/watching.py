"""Lightning's side of the watching: which batches, which loader, and what is compiled."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl

from ..explain import LiveModel
from ..probes import ProbeCollector
from .environment import silenced


class ValidationWatcher(pl.Callback):
    """Hands the batches of a validation, and what its steps call, to a collector of probes."""

    _collector: ProbeCollector
    _val_loader: int
    _is_watching = False

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Return whether the validation that begins is one whose rows are needed."""
        return False

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Watch this validation if probes are to be chosen from it."""
        self._is_watching = self.is_due(trainer)
        if self._is_watching:
            loader = loader_of(trainer, self._val_loader)
            self._collector.start(
                getattr(loader, "dataset", None),
                rank=trainer.global_rank,
                ranks=trainer.world_size,
                order=getattr(loader, "sampler", None),
                making=(getattr(loader, "collate_fn", None),),
                holders=(pl_module, getattr(trainer, "datamodule", None)),
            )

    on_test_start = on_validation_start

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """See what the step calls, and with what."""
        if self._is_watching and dataloader_idx == self._val_loader and not is_compiled(pl_module):
            self._collector.before(pl_module, batch)

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
        if self._is_watching and dataloader_idx == self._val_loader:
            if is_compiled(pl_module):
                with live_model(trainer, pl_module).lent():
                    self._collector.before(pl_module, batch, eager=True)
                    repeat_step(trainer, pl_module, batch, batch_idx, dataloader_idx)
                    self._collector.after(pl_module)
            else:
                self._collector.after(pl_module)

    on_test_batch_end = on_validation_batch_end


def live_model(trainer: pl.Trainer, module: pl.LightningModule) -> LiveModel:
    """Return the module with what a probe's forward runs under: its precision, and no logging."""

    @contextmanager
    def context() -> Iterator[None]:
        with trainer.precision_plugin.forward_context(), silenced(module):
            yield

    return LiveModel(module, context=context)


def loader_of(trainer: pl.Trainer, number: int) -> Any:
    """Return the validation (or test) loader of that number; None without it."""
    loaders = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
    if isinstance(loaders, dict):
        loaders = list(loaders.values())
    if not isinstance(loaders, (list, tuple)):
        loaders = [] if loaders is None else [loaders]
    return loaders[number] if number < len(loaders) else None


def is_compiled(module: pl.LightningModule) -> bool:
    """Return whether the steps themselves are compiled, as `torch.compile(module)` has them."""
    return getattr(module, "_compiler_ctx", None) is not None


def repeat_step(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    batch: Any,
    batch_idx: int,
    dataloader_idx: int,
) -> None:
    """Run a validation (or test) step once more: nobody can look into one that is compiled.

    Call it while the module is borrowed, which gives back what the step changes.
    """
    step = module.test_step if trainer.testing else module.validation_step
    known = {"batch_idx": batch_idx, "dataloader_idx": dataloader_idx}
    names = list(inspect.signature(step).parameters)[1:]
    step(batch, **{name: known[name] for name in names if name in known})

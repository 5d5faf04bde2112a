"""All that a fit has and does, as flat names and values, and what differs between two fits."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor, nn

State = dict[str, Any]
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs between two fits, when it was first seen, and by how much at most."""

    name: str
    when: str
    size: float

    def __str__(self) -> str:
        return f"{self.name} (first at {self.when}, at most {self.size:g})"


def take_state(trainer: pl.Trainer, module: pl.LightningModule) -> State:
    """Return copies of all that training goes on from."""
    state: State = {
        "rng python": random.getstate(),
        "rng numpy": repr(np.random.get_state(legacy=False)),  # noqa: NPY002
        "rng torch": torch.get_rng_state(),
        "mode grad": torch.is_grad_enabled(),
        "mode inference": torch.is_inference_mode_enabled(),
        "mode autocast": torch.is_autocast_enabled("cpu"),
        "mode dtype": str(torch.get_default_dtype()),
        "mode threads": torch.get_num_threads(),
        "trainer step": trainer.global_step,
        "trainer epoch": trainer.current_epoch,
    }
    for name, parameter in module.named_parameters():
        state[f"weight {name}"] = parameter
        state[f"grad {name}"] = parameter.grad
        state[f"requires_grad {name}"] = parameter.requires_grad
        state[f"hooks {name}"] = len(parameter._backward_hooks or ())
    for name, buffer in module.named_buffers():
        state[f"buffer {name}"] = buffer
    for name, child in module.named_modules():
        state[f"training {name}"] = child.training
        state[f"hooks {name}"] = [len(getattr(child, kind)) for kind in _HOOKS]
        state[f"attributes {name}"] = sorted(vars(child))
        state[f"plain {name}"] = {
            key: value
            for key, value in vars(child).items()
            if isinstance(value, (int, float, str, list, Tensor))
            and key[0] != "_"
            and key != "training"
        }
        for key, value in vars(child).items():
            if isinstance(value, torch.Generator):
                state[f"rng {name} {key}"] = value.get_state()
        # torchmetrics keeps its sums in attributes of their own.
        state[f"metric state {name}"] = getattr(child, "metric_state", None)
    state["hooks of all modules"] = [
        len(hooks)
        for key, hooks in vars(nn.modules.module).items()
        if key.startswith("_global") and hasattr(hooks, "__len__")
    ]
    for i, optimizer in enumerate(trainer.optimizers):
        state[f"optimizer {i}"] = optimizer.state_dict()
    for i, config in enumerate(trainer.lr_scheduler_configs):
        state[f"scheduler {i}"] = config.scheduler.state_dict()
    for name, value in trainer.callback_metrics.items():
        if not name.startswith("vlmxai/"):
            state[f"monitored {name}"] = value
    for callback in trainer.callbacks:
        average = getattr(callback, "_average_model", None)
        if average is not None:
            state["average"] = average.state_dict()
    return dict(flatten(state))


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a copy of every leaf of nested mappings and sequences, with its path."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from flatten(child, f"{name} {key}".strip())
    elif isinstance(value, (list, tuple)) and len(value) < 100:
        for i, child in enumerate(value):
            yield from flatten(child, f"{name} {i}")
    elif isinstance(value, Tensor):
        yield name, value.detach().clone()
    elif not callable(value):
        yield name, value


def find_difference(ours: Any, theirs: Any) -> float | None:
    """Return by how much two leaves differ at most, None where they are equal to the last bit.

    What has no magnitude (a name, a generator, a shape) differs by infinity.
    """
    if isinstance(ours, Tensor) and isinstance(theirs, Tensor):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return float("inf")
        if torch.equal(_bytes(ours), _bytes(theirs)):
            return None
        if ours.dtype == torch.uint8:  # a generator's state
            return float("inf")
        gaps = (ours.double() - theirs.double()).abs()
        return float(gaps.nan_to_num(float("inf")).max())
    if type(ours) is not type(theirs):
        return float("inf")
    if isinstance(ours, float):
        return None if struct.pack("d", ours) == struct.pack("d", theirs) else abs(ours - theirs)
    if isinstance(ours, np.ndarray):
        return None if ours.tobytes() == theirs.tobytes() else float("inf")
    if isinstance(ours, int):
        return None if ours == theirs else abs(float(ours - theirs))
    return None if ours == theirs else float("inf")


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def find_differences(ours: Mapping[str, State], theirs: Mapping[str, State]) -> list[Difference]:
    """Return what differs between two courses of states, by name, in order of appearance."""
    first: dict[str, str] = {}
    largest: dict[str, float] = {}
    for when in theirs | ours:
        mine, other = ours.get(when, {}), theirs.get(when, {})
        for name in other | mine:
            size = find_difference(mine.get(name, "absent"), other.get(name, "absent"))
            if size is not None:
                first.setdefault(name, when)
                largest[name] = max(size, largest.get(name, 0.0))
    return [Difference(name=name, when=first[name], size=largest[name]) for name in first]


class Recorder(pl.Callback):
    """Takes the state before every training batch and counts the validations."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.validations = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        when = f"epoch {trainer.current_epoch} batch {batch_idx}"
        self.states[when] = take_state(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validations += not trainer.sanity_checking


class MemoryLogger(Logger):
    """Keeps every metric of the training, apart from the callback's own."""

    name, version = "memory", 0

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, State] = {}

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Keep none."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        is_ours = any(name.startswith("vlmxai/") for name in metrics)
        kept = {f"metric {k}": v for k, v in metrics.items() if not is_ours}
        if kept:
            calls = sum(when.startswith(f"step {step},") for when in self.states)
            self.states[f"step {step}, call {calls}"] = kept

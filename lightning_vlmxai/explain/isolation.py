"""Whether an explanation leaves all as it was, seen by looking, and the copy where it does not."""

from __future__ import annotations

import copy
import io
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import GeneratorType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..errors import AttributionError, expected
from .fingerprint import Fingerprint, fingerprint
from .live import LiveModel
from .owners import is_closed
from .rng import isolated_rng
from .walk import Walk

_SHARED = (ModuleType, io.IOBase, GeneratorType, random.SystemRandom, Dataset, DataLoader)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What an explanation left behind, by path.

    Args:
        inside: In the copy that was explained: what giving back would not restore in the network.
        outside: In the network itself, in callbacks, classes, globals.
    """

    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


class Proof:
    """What a live model and what hangs on it hold before an explanation, and what differs after.

    Args:
        live: The model.
    """

    def __init__(self, live: LiveModel) -> None:
        self._live = live
        self._before = self._look()
        self._copy: nn.Module | None = None
        self._copy_before: Fingerprint | None = None
        self.copy_seconds = 0.0

    @cached_property
    def copy_bytes(self) -> int:
        """Size of the copy's parameters and buffers; 0 if none was made."""
        if self._copy is None:
            return 0
        every = (*self._copy.parameters(), *self._copy.buffers())
        return sum(t.numel() * t.element_size() for t in every if not nn.parameter.is_lazy(t))

    @property
    def values(self) -> int:
        """How many values were looked at."""
        return len(self._before.values)

    @property
    def opaque(self) -> list[str]:
        """What could not be looked into: path and type."""
        return [f"{path} ({kind})" for path, kind in self._before.opaque.items()]

    def stand_in(self) -> nn.Module:
        """Return a copy of the module, made at the first call; see `copy_module`."""
        if self._copy is None:
            start = time.perf_counter()
            self._copy = copy_module(self._live)
            self.copy_seconds = time.perf_counter() - start
            self._copy_before = self._look_at_copy()
        return self._copy

    def changes(self) -> Changes:
        """Return what differs by now; what goes on changing while nothing is explained is none."""
        inside: list[str] = []
        if self._copy_before is not None:
            inside = _steady(self._copy_before, self._look_at_copy)
        return Changes(inside=tuple(inside), outside=tuple(_steady(self._before, self._look)))

    def _look(self) -> Fingerprint:
        roots = {"": self._live.module, **self._live.beside}
        return fingerprint(roots, apart=self._live.apart)

    def _look_at_copy(self) -> Fingerprint:
        return fingerprint({"": self._copy}, apart=self._live.apart)


def copy_module(live: LiveModel) -> nn.Module:
    """Return a deep copy of the module, on its devices, with its weights of this moment.

    Data sets, open files, threads and the like are shared with it; what was computed, such as a
    loss that is kept, is copied without its history.

    Args:
        live: The model, which is left as it was.

    Raises:
        AttributionError: If it can't be copied.
    """
    try:
        with isolated_rng(), torch.inference_mode(False), torch.no_grad(), live.context():
            made = copy.deepcopy(live.module, _prepared(live))
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        raise AttributionError(
            expected("model", "one that can be copied", got, 'Pass `isolation="borrow"`')
        ) from error
    for child in made.modules():
        if getattr(child, "_compiled_call_impl", None) is not None:
            child._compiled_call_impl = None  # which calls the original
    live.settle(made)
    return made


def _prepared(live: LiveModel) -> dict[int, Any]:
    """Return what a deep copy shall have in the place of parts that it can't copy, by id."""
    walk = Walk({"": live.module}, apart=live.apart)
    memo: dict[int, Any] = {id(thing): thing for thing in live.apart}
    for thing in walk.seen:
        if isinstance(thing, Tensor) and thing.grad_fn is not None:
            memo[id(thing)] = thing.detach().clone()
        elif isinstance(thing, torch.Generator):
            memo[id(thing)] = thing.clone_state()
        elif isinstance(thing, _SHARED) or is_closed(thing):
            memo[id(thing)] = thing
    memo |= {id(thing): thing for thing in walk.opaque.values() if not _can_be_copied(thing)}
    memo[-1] = walk  # which keeps these ids from being given to others while the copy is made
    return memo


def _can_be_copied(thing: object) -> bool:
    try:
        copy.deepcopy(thing)
    except Exception:
        return False
    return True


def name_few(paths: Sequence[str], most: int = 4) -> str:
    """Return the first paths in words, and how many more there are.

    Example:
        >>> name_few(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = len(paths) - most
    return ", ".join(paths[:most]) + (f" and {more} more" if more > 0 else "")


def _steady(before: Fingerprint, look: Callable[[], Fingerprint]) -> list[str]:
    now = look()
    found = before.differences(now)
    if found:
        moving = set(now.differences(look()))
        found = [path for path in found if path not in moving]
    return found

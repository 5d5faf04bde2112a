"""Give random generators and autocast back as they were, wherever they are."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

GENERATORS = (random.Random, torch.Generator, np.random.RandomState, np.random.Generator)
LONGEST = 1000
"""Longer lists are taken for lists of samples, and not looked through."""


@contextmanager
def isolated_rng(seed: int | None = None) -> Iterator[None]:
    """Give python's, numpy's and torch's global generators back as they were, on every device.

    Args:
        seed: Seed for the block; None goes on from the present state.

    Example:
        >>> before = torch.get_rng_state()
        >>> with isolated_rng(0):
        ...     _ = torch.rand(3)
        >>> torch.equal(before, torch.get_rng_state())
        True
    """
    with ExitStack() as stack:
        for get, give in _global_generators():
            stack.callback(give, get())
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
        yield


def _global_generators() -> list[tuple[Callable[[], Any], Callable[[Any], object]]]:
    """Return how the state of each global generator is taken, and how it is given back."""
    found: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
        (random.getstate, random.setstate),
        (np.random.get_state, np.random.set_state),
        (torch.get_rng_state, torch.set_rng_state),
    ]
    # Asking for a device's state would initialise it; one that isn't can't be drawn from.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found.append((torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all))
    if torch.xpu.is_initialized():  # type: ignore[no-untyped-call]
        found.append((torch.xpu.get_rng_state_all, torch.xpu.set_rng_state_all))
    if torch.backends.mps.is_available():
        found.append((torch.mps.get_rng_state, torch.mps.set_rng_state))
    return found


@contextmanager
def isolated_generators(root: object) -> Iterator[None]:
    """Give the random generators that hang on an object back as they were.

    Data sets and transforms that keep a generator of their own draw from it when they are read;
    where training shares it, its next pictures would be others.

    Args:
        root: An object, a data set say; its attributes and what they hold are looked through.

    Example:
        >>> generator = random.Random(0)
        >>> with isolated_generators([generator]):
        ...     first = generator.random()
        >>> generator.random() == first
        True
    """
    with ExitStack() as stack:
        for generator in _generators_of(root):
            if isinstance(generator, random.Random):
                stack.callback(generator.setstate, generator.getstate())
            elif isinstance(generator, np.random.Generator):
                bits = generator.bit_generator
                stack.callback(setattr, bits, "state", bits.state)
            else:  # numpy's older kind and torch's have methods of the same names
                stack.callback(generator.set_state, generator.get_state())
        yield


def _generators_of(root: object) -> list[Any]:
    """Return every random generator that can be reached over attributes and containers."""
    found: list[Any] = []
    waiting: list[object] = [root]
    seen: set[int] = set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, (type, ModuleType, Tensor, np.ndarray)):
            continue
        seen.add(id(thing))
        if isinstance(thing, random.SystemRandom):
            continue  # it has no state
        if isinstance(thing, GENERATORS):
            found.append(thing)
        elif isinstance(thing, Mapping):
            waiting += list(thing.values()) if len(thing) <= LONGEST else []
        elif isinstance(thing, (list, tuple, set)):
            waiting += list(thing) if len(thing) <= LONGEST else []
        else:
            waiting += list(getattr(thing, "__dict__", {}).values())
    return found


@contextmanager
def isolated_autocast() -> Iterator[None]:
    """Give autocast back as it was, on every kind of device."""
    was = [
        (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        for device in ("cpu", "cuda", "xpu", "mps")
    ]
    try:
        yield
    finally:
        for device, enabled, dtype in was:
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)

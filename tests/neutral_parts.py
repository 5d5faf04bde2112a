"""What the networks of drawn fits keep, and do to it at each forward, in eval mode as well.

Each part's number goes into the training's output, so that what an explanation leaves behind there
changes the weights. `outcome` says what the callback has to do about it: "borrow" where giving back
suffices, "copy" where only a copy of the network helps, "refuse" where nothing does.
"""

from __future__ import annotations

import functools
import io
import itertools
import random
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

SEEN: list[int] = []


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that a network keeps.

    Args:
        make: Makes it anew, for each fit.
        touch: Changes it, and returns a number or a scalar tensor of it.
        outcome: See above.
        name: Of where it lies, as a message must name it; its attribute if empty.
        is_copyable: Whether the user's own callbacks could copy the network with it.
    """

    make: Callable[[], Any]
    touch: Callable[[Any], Any]
    outcome: str
    name: str = ""
    is_copyable: bool = True


class Box:
    """An object of the user's own."""

    def __init__(self, kept: Any) -> None:
        self.kept = kept


class Average(nn.Module):
    """A moving average in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self) -> Tensor:
        """Return the mean, moved on."""
        self.mean.mul_(0.9).add_(0.1)
        return self.mean


class Scripted(nn.Module):
    """Counts where python does not see it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, inputs):  # type: ignore[no-untyped-def]
        """Return the count."""
        self.calls += 1
        return inputs * self.calls


class Counting:
    """Counts in the class."""

    calls = 0

    def count(self) -> int:
        """Return the count."""
        type(self).calls += 1
        return type(self).calls


def make_scripted() -> nn.Module:
    """Return a scripted module; newer versions of torch advise against it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = torch.jit.script(Scripted())
    return made


def make_counting() -> Counting:
    """Return an object whose class counts from 0."""
    Counting.calls = 0
    return Counting()


def clear_seen() -> None:
    """Empty the global list."""
    SEEN.clear()


def grow_seen(kept: Any) -> int:
    """Append to the global list."""
    SEEN.append(1)
    return len(SEEN)


def clear_cache() -> None:
    """Empty the function's own list."""
    cached.seen = []  # type: ignore[attr-defined]


def cached(kept: Any) -> int:
    """Append to the function's own list."""
    cached.seen.append(1)  # type: ignore[attr-defined]
    return len(cached.seen)  # type: ignore[attr-defined]


def make_closure() -> Callable[[], int]:
    """Return a function that keeps a list."""
    inner: list[int] = []

    def grow() -> int:
        inner.append(1)
        return len(inner)

    return grow


def numbers() -> Iterator[int]:
    """Yield numbers."""
    yield from itertools.count()


def grow(kept: Any) -> int:
    """Append to a list or an array, or what is like it."""
    kept.append(1)
    return len(kept)


def add(kept: Any) -> float:
    """Add to the values in place."""
    kept += 1
    return float(kept.reshape(-1)[0])


def count(kept: Any) -> int:
    """Count in an object."""
    kept.kept += 1
    return int(kept.kept)


def swap(kept: Any) -> float:
    """Move the entries of a bounded queue on."""
    kept.kept.append(kept.kept[0] + len(kept.kept))
    return float(kept.kept[0])


def mean(kept: Any) -> Any:
    """Update a metric."""
    kept.update(float(kept.weight) + 1)
    return kept.compute()


def hold(kept: Any) -> float:
    """Work under a lock."""
    with kept:
        return 1.0


PARTS: dict[str, Part] = {
    "list": Part(make=lambda: [0], touch=grow, outcome="borrow"),
    "deque": Part(make=deque, touch=grow, outcome="borrow"),
    "tensor": Part(make=lambda: torch.zeros(2), touch=add, outcome="borrow"),
    "average": Part(make=Average, touch=lambda kept: kept(), outcome="borrow"),
    "spectral": Part(
        make=lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)),
        touch=lambda kept: kept(torch.ones(1, 2, dtype=kept.bias.dtype)).sum(),
        outcome="borrow",
    ),
    "metric": Part(make=MeanMetric, touch=mean, outcome="borrow"),
    "depth": Part(make=lambda: None, touch=lambda _: float(torch.rand(())), outcome="borrow"),
    "generator": Part(
        make=lambda: np.random.default_rng(0), touch=lambda kept: kept.random(), outcome="borrow"
    ),
    "pure": Part(
        make=lambda: functools.lru_cache(abs),
        touch=lambda kept: kept(random.random()),  # noqa: S311
        outcome="borrow",
    ),
    "lock": Part(make=threading.Lock, touch=hold, outcome="borrow", is_copyable=False),
    "array": Part(make=lambda: np.zeros(3), touch=add, outcome="copy"),
    "bytes": Part(make=bytearray, touch=grow, outcome="copy"),
    "counter": Part(make=lambda: Box(0), touch=count, outcome="copy"),
    "queue": Part(make=lambda: Box(deque([1, 2], maxlen=2)), touch=swap, outcome="copy"),
    "tensors": Part(
        make=lambda: Box([torch.zeros(2)]), touch=lambda kept: add(kept.kept[0]), outcome="copy"
    ),
    "own_generator": Part(
        make=lambda: Box(random.Random(0)),  # noqa: S311
        touch=lambda kept: kept.kept.random(),
        outcome="copy",
    ),
    "scripted": Part(make=make_scripted, touch=lambda kept: kept(torch.ones(())), outcome="copy"),
    "count": Part(make=itertools.count, touch=next, outcome="copy"),
    "global": Part(make=clear_seen, touch=grow_seen, outcome="refuse", name="SEEN"),
    "class": Part(
        make=make_counting, touch=lambda k: k.count(), outcome="refuse", name="Counting.calls"
    ),
    "function": Part(make=clear_cache, touch=cached, outcome="refuse", name="cached.seen"),
    "closure": Part(make=make_closure, touch=lambda k: k(), outcome="refuse", name="inner"),
    "file": Part(
        make=lambda: io.BytesIO(b"0123456789" * 999),
        touch=lambda kept: kept.read(1)[0],
        outcome="refuse",
        is_copyable=False,
    ),
    "numbers": Part(make=numbers, touch=next, outcome="refuse", is_copyable=False),
}

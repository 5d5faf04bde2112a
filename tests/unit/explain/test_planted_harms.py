"""Whatever an explanation leaves behind is named, by the path of what differs."""

from __future__ import annotations

import array
import functools
import io
import itertools
import random
import threading
import time
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lightning_vlmxai.explain import Changes, LiveModel, Proof
from lightning_vlmxai.explain.live import borrowed

SEEN: list[int] = []
COUNT = 0
Harm = tuple[Callable[[], Any], Callable[[Any], object]]


class Box:
    """An object of the user's own, which `borrowed` does not look into."""

    def __init__(self, kept: Any) -> None:
        self.kept = kept


class Slotted:
    """One without a dict."""

    __slots__ = ("kept",)

    def __init__(self, kept: Any) -> None:
        self.kept = kept


class Net(nn.Module):
    """Does to what it keeps, at each forward in eval mode, what a forward had better not do."""

    def __init__(self, kept: Any, harm: Callable[[Any], object]) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.kept = kept
        self.harm = harm

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output, having done harm."""
        self.harm(self.kept)
        return self.linear(inputs)


class Scripted(nn.Module):
    """Counts where python does not see it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, inputs):  # type: ignore[no-untyped-def]
        """Return the inputs."""
        self.calls += 1
        return inputs


class Counting:
    """Counts in the class."""

    calls = 0

    def count(self) -> None:
        type(self).calls += 1


def cached(inputs: Any) -> None:
    """Keep what it is called with in an attribute of its own."""
    cached.seen.append(inputs)  # type: ignore[attr-defined]


cached.seen = []  # type: ignore[attr-defined]


def with_default(inputs: Any, seen: list[Any] = []) -> None:  # noqa: B006 - as users do
    """Keep what it is called with in a default."""
    seen.append(inputs)


def into_global(kept: Any) -> None:
    """Write to a global list."""
    SEEN.append(1)


def rebind_global(kept: Any) -> None:
    """Bind a global name anew."""
    global COUNT
    COUNT += 1


def numbers() -> Iterator[int]:
    """Yield some numbers."""
    yield from range(99)


def begun() -> Iterator[int]:
    """Return what has yielded one already."""
    made = numbers()
    next(made)
    return made


def in_place(values: Any) -> None:
    """Change values in place."""
    values += 1


def change(thing: Any, /, **attributes: Any) -> None:
    """Set attributes."""
    for name, value in attributes.items():
        setattr(thing, name, value)


def pair() -> Box:
    """Return a box that holds one tensor twice."""
    box = Box(torch.ones(2))
    box.other = box.kept  # type: ignore[attr-defined]
    return box


def scripted() -> nn.Module:
    """Return a scripted module; newer versions of torch advise against it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = torch.jit.script(Scripted())
    return made


INSIDE: dict[str, Harm] = {
    "numpy array in place": (lambda: np.zeros(3), in_place),
    "large numpy array in place": (lambda: np.zeros(999), lambda kept: np.put(kept, 7, -0.0)),
    "array of objects": (lambda: np.array([[1], None], dtype=object), lambda k: k[0].append(1)),
    "bytearray": (lambda: bytearray(b"abc"), lambda kept: kept.append(1)),
    "array": (lambda: array.array("d", [0.0]), lambda kept: kept.append(1.0)),
    "counter": (lambda: Box(0), lambda k: change(k, kept=k.kept + 1)),
    "slot": (lambda: Slotted(0), lambda k: change(k, kept=k.kept + 1)),
    "new attribute": (lambda: Box(0), lambda k: change(k, later=1)),
    "lost attribute": (lambda: Box(0), lambda k: vars(k).pop("kept", None)),
    "list": (lambda: Box([0]), lambda k: k.kept.append(1)),
    "long list": (lambda: Box([0.0] * 2000), lambda k: k.kept.__setitem__(1999, -0.0)),
    "deque": (lambda: Box(deque([1, 2], maxlen=2)), lambda k: k.kept.append(len(k.kept))),
    "rolled queue": (lambda: Box(torch.arange(4)), lambda k: k.kept.copy_(k.kept.roll(1))),
    "set": (lambda: Box({1}), lambda k: k.kept.add(2)),
    "dict": (lambda: Box({"a": 1}), lambda k: k.kept.update(a=2)),
    "order of a dict": (
        lambda: Box(OrderedDict(a=1, b=2)),
        lambda k: k.kept.move_to_end(next(iter(k.kept))),
    ),
    "tensor in place": (lambda: Box(torch.zeros(2)), lambda k: k.kept.add_(1)),
    "list of tensors": (lambda: Box([torch.zeros(2)]), lambda k: in_place(k.kept[0])),
    "tensor replaced": (lambda: Box(torch.zeros(2)), lambda k: change(k, kept=k.kept + 1)),
    "tensor resized": (lambda: Box(torch.zeros(2)), lambda k: k.kept.resize_(3)),
    "tensor's type": (lambda: Box(torch.zeros(2)), lambda k: change(k, kept=k.kept.double())),
    "negative zero": (lambda: Box(torch.zeros(2)), lambda k: k.kept.neg_()),
    "payload of a NaN": (
        lambda: Box(torch.tensor([0x7FC00000], dtype=torch.int32).view(torch.float32)),
        lambda k: k.kept.view(torch.int32).add_(1),
    ),
    "float's sign": (lambda: Box(0.0), lambda k: change(k, kept=-k.kept)),
    "sparse tensor": (lambda: torch.eye(2).to_sparse(), lambda k: k._values().add_(1)),
    "frozen tensor": (lambda: Box(torch.zeros(2)), lambda k: k.kept.requires_grad_()),
    "gradient of a tensor": (
        lambda: Box(torch.zeros(2)),
        lambda k: change(k.kept, grad=k.kept + 1),
    ),
    "two that were one": (pair, lambda k: change(k, kept=k.kept.clone())),
    "numpy generator": (lambda: Box(np.random.default_rng(0)), lambda k: k.kept.random()),
    "old numpy generator": (lambda: Box(np.random.RandomState(0)), lambda k: k.kept.rand()),
    "python generator": (lambda: Box(random.Random(0)), lambda k: k.kept.random()),  # noqa: S311
    "torch generator": (
        lambda: Box(torch.Generator().manual_seed(0)),
        lambda k: torch.rand(1, generator=k.kept),
    ),
    "iterator": (lambda: iter([1, 2, 3]), lambda kept: next(kept)),
    "count": (lambda: itertools.count(), lambda kept: next(kept)),
    "scripted part": (scripted, lambda k: k(torch.ones(1))),
    "module in a list": (lambda: [nn.BatchNorm1d(2)], lambda k: k[0].train()(torch.ones(3, 2))),
}

OUTSIDE: dict[str, tuple[str, Callable[[], Any], Callable[[Any], object]]] = {
    "global list": ("SEEN", lambda: None, into_global),
    "global number": ("COUNT", lambda: None, rebind_global),
    "attribute of a function": ("cached.seen", lambda: None, cached),
    "default of a function": ("__defaults__", lambda: None, with_default),
    "attribute of a class": ("Counting.calls", Counting, lambda kept: kept.count()),
    "file": ("kept", lambda: io.BytesIO(b"12345"), lambda kept: kept.read(1)),
    "generator": ("kept", numbers, lambda kept: next(kept)),
    "generator under way": ("yield from", begun, lambda kept: next(kept)),
    "torch's type": ("torch", lambda: None, lambda _: torch.set_default_dtype(torch.float64)),
    "numpy's warnings": ("numpy", lambda: None, lambda _: np.seterr(divide="ignore")),
}


def explain(module: nn.Module, **beside: object) -> Changes:
    """Return what a forward of a copy of the module leaves behind."""
    live = LiveModel(module, beside=beside)
    proof = Proof(live)
    with replace(live, stand_in=proof.stand_in).lent() as lent:
        lent(torch.ones(1, 2))
    return proof.changes()


@pytest.mark.parametrize("name", INSIDE)
def test_harm_in_the_network_is_named_and_stays_in_the_copy(name: str) -> None:
    """By where it lies; the network itself is as it was."""
    make, harm = INSIDE[name]
    changes = explain(Net(make(), harm))
    assert changes.inside
    assert all(path.startswith("kept") for path in changes.inside)
    assert changes.outside == ()


@pytest.mark.parametrize("name", OUTSIDE)
def test_harm_beside_the_network_is_named(name: str) -> None:
    """A copy of the network can't keep it."""
    path, make, harm = OUTSIDE[name]
    before = torch.get_default_dtype(), np.geterr()
    try:
        changes = explain(Net(make(), harm))
    finally:
        torch.set_default_dtype(before[0])
        np.seterr(**before[1])
    assert any(path in found for found in changes.outside), changes


class Hooked(pl.Callback):
    """Has its hook called at each forward, and keeps what it was given."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def watch(self, _module: nn.Module, _args: Any, output: Tensor) -> None:
        """Keep a norm."""
        self.norms.append(float(output.norm()))


@pytest.mark.parametrize("how", ["method", "closure", "partial", "global", "list's method"])
def test_hooks_of_a_users_that_write_elsewhere_are_named(how: str) -> None:
    """However they reach what they write to; a copy's hooks write there too."""
    net, callback = nn.Sequential(nn.Linear(2, 2)), Hooked()
    seen: list[Any] = []
    hooks: dict[str, tuple[Callable[..., None], str]] = {
        "method": (callback.watch, "norms"),
        "closure": (lambda *_: seen.append(1), "seen"),
        "partial": (functools.partial(lambda kept, *_: kept.append(1), seen), "args"),
        "global": (lambda *_: SEEN.append(1), "SEEN"),
        "list's method": (lambda *_, add=seen.append: add(1), "__kwdefaults__"),
    }
    hook, path = hooks[how]
    net[0].register_forward_hook(hook)
    changes = explain(net, Hooked=callback)
    # What a method or a partial hangs on is copied with the network, what a function names is not.
    named = changes.inside if how in ("method", "partial") else changes.outside
    assert any(path in found for found in named), changes


def test_flags_of_a_scripted_part_are_given_back() -> None:
    """They lie out of python's sight."""
    net = nn.Sequential(scripted(), nn.Linear(2, 2)).train()
    with borrowed(net) as lent:
        assert not lent[0].training
    assert net[0].training


def draw() -> None:
    """Draw from the global generators."""
    random.random()  # noqa: S311
    np.random.rand()  # noqa: NPY002
    torch.rand(1)


HARMLESS: dict[str, Harm] = {
    "nothing": (lambda: None, lambda _: None),
    "own list": (lambda: [0], lambda kept: kept.append(1)),
    "own dict": (lambda: {"a": [0]}, lambda kept: kept["a"].append(1)),
    "own tensor": (lambda: torch.zeros(2), lambda kept: kept.add_(1)),
    "own generator": (lambda: np.random.default_rng(0), lambda kept: kept.random()),
    "global generators": (lambda: None, lambda _: draw()),
    "system's generator": (lambda: random.SystemRandom(), lambda kept: kept.random()),
    "pure function's cache": (lambda: functools.lru_cache(abs), lambda kept: kept(time.time())),
    "lock": (lambda: threading.Lock(), lambda kept: kept.acquire(timeout=0.01) and kept.release()),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_given_back_is_no_change(name: str) -> None:
    """A false alarm would cost a copy, or the run."""
    make, harm = HARMLESS[name]
    assert explain(Net(make(), harm)) == Changes()


def test_the_network_is_borrowed_beside_its_copy() -> None:
    """A closure writes to the original's list, which is given back as ever."""
    net = Net([0], lambda _: None)
    net.linear.register_forward_hook(lambda *_: net.kept.append(1))
    assert explain(net) == Changes()
    assert net.kept == [0]


def test_what_goes_on_changing_by_itself_is_no_change() -> None:
    """Another thread's clock, say; a real change beside it is named."""

    class Ticking:
        """Differs at each look."""

        @property
        def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
            return {"now": time.perf_counter()}

    assert explain(Net(None, lambda _: None), clock=Ticking()) == Changes()
    assert explain(Net(None, into_global), clock=Ticking()).outside[0].endswith("SEEN")


def test_what_cant_be_looked_into_is_told() -> None:
    """By path and type; it is shared with a copy."""
    opened = memoryview(b"abc").__iter__()
    proof = Proof(LiveModel(Net(Box(opened), lambda _: None)))
    assert proof.opaque == ["kept.kept (memory_iterator)"]
    assert proof.stand_in().kept.kept is opened


def test_a_copy_has_what_the_network_has_and_shares_no_weight() -> None:
    """A loss that was kept with its history is copied without."""
    net = Net(Box(torch.Generator().manual_seed(3)), lambda _: None)
    net.last = net.linear(torch.ones(1, 2)).sum()
    proof = Proof(LiveModel(net))
    copied: Any = proof.stand_in()
    assert proof.copy_bytes == 4 * 6
    assert torch.equal(copied.linear.weight, net.linear.weight)
    assert copied.linear.weight.data_ptr() != net.linear.weight.data_ptr()
    assert torch.equal(copied.last, net.last)
    assert copied.last.grad_fn is None
    assert copied.kept.kept.get_state().equal(net.kept.kept.get_state())
    assert proof.stand_in() is copied


def test_a_copy_of_what_is_compiled_runs_itself() -> None:
    """And not the original, whose compiled call it would have taken over."""

    class Module(pl.LightningModule):
        """Takes its compiled call along, where torch's own modules don't."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            """Return the layer's output."""
            return self.linear(inputs)

    net = Module()
    net.compile(backend="eager")
    copied = Proof(LiveModel(net)).stand_in()
    inputs = torch.ones(1, 2)
    before = net(inputs)
    with torch.no_grad():
        copied.get_submodule("linear").weight.zero_()  # type: ignore[operator, union-attr]
        copied.get_submodule("linear").bias.zero_()  # type: ignore[operator, union-attr]
        assert copied(inputs).tolist() == [[0.0, 0.0]]
    assert torch.equal(net(inputs), before)


def test_data_sets_are_shared_with_a_copy() -> None:
    """They may be large; a change in one is seen as one outside of the network."""
    net = Net(TensorDataset(torch.zeros(3)), lambda kept: kept.tensors[0].add_(1))
    proof = Proof(LiveModel(net))
    assert proof.stand_in().kept is net.kept
    assert explain(net).outside == ("kept.tensors[0]",)

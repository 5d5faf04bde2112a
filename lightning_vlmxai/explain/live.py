"""Borrow a live model and give it back exactly as it was.

`borrowed` is the one place that upholds the promise that training with the callback is
bit-identical to training without it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import ModelChangedError, expected


@dataclass(frozen=True, slots=True)
class LiveModel:
    """A model while it trains, and how it is called.

    Args:
        module: The live model itself.
        context: What a forward of it runs under, such as the trainer's autocast.
        network: Dotted name of the part that is called; "" is the module itself.
        tolerance: How far its probabilities may differ between batches of other sizes, in [0, 1].
    """

    module: nn.Module
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    network: str = ""
    tolerance: float = 1e-3

    @contextmanager
    def lent(self) -> Iterator[nn.Module]:
        """Lend the network, and the module with it, as `borrowed` does, ready to be called."""
        with borrowed(self.module) as module, self.context():
            yield module.get_submodule(self.network)

    def inner_name(self, layer: str) -> str:
        """Return a layer's name in the network from its name in the module."""
        return layer.removeprefix(f"{self.network}.") if self.network else layer

    def outer_name(self, layer: str) -> str:
        """Return a layer's name in the module from its name in the network."""
        return f"{self.network}.{layer}" if self.network else layer


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
    python_state, numpy_state, torch_state = (
        random.getstate(),
        np.random.get_state(),  # noqa: NPY002 - the global generator is what others draw from
        torch.get_rng_state(),
    )
    # Asking for CUDA's state would initialise CUDA; what is not initialised can't be drawn from.
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)


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


_GENERATORS = (random.Random, torch.Generator, np.random.RandomState, np.random.Generator)
_LONGEST = 1000
"""Longer lists are taken for lists of samples, and not looked through."""


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
        if isinstance(thing, _GENERATORS):
            found.append(thing)
        elif isinstance(thing, Mapping):
            waiting += list(thing.values()) if len(thing) <= _LONGEST else []
        elif isinstance(thing, (list, tuple, set)):
            waiting += list(thing) if len(thing) <= _LONGEST else []
        else:
            waiting += list(getattr(thing, "__dict__", {}).values())
    return found


@contextmanager
def borrowed(module: nn.Module) -> Iterator[nn.Module]:
    """Lend a live module in eval mode and restore its state on return and on any exception.

    Restored, on every submodule and parameter: training flags, buffers, hooks, plain attributes,
    `.grad`, `requires_grad`; and all random generators, grad mode, inference mode and autocast.
    `.grad` is None inside, so that what a method accumulates falls away. Compiled modules run
    eagerly inside, so that hooks fire. Lists, dicts, sets, deques, tensors and generators that
    attributes hold are restored as well; what lies in objects of the user's own is beyond it.

    Args:
        module: The live module.

    Yields:
        The module, in eval mode, under `no_grad` and outside of inference mode.

    Raises:
        ModelChangedError: If the module's own forward changed a parameter; it names it.

    Example:
        >>> module = nn.Linear(2, 2)
        >>> with borrowed(module) as lent:
        ...     lent.training, torch.is_grad_enabled()
        (False, False)
        >>> module.training
        True
    """
    children = list(module.modules())
    parameters = list(module.named_parameters())
    # A module keeps its flags, hooks, buffers and plain attributes in dicts, and in dicts in these.
    containers = [
        (container, container.copy())
        for container in _containers_of([vars(child) for child in children])
    ]
    held = [v for _, kept in containers if isinstance(kept, dict) for v in kept.values()]
    tensors = [(value, value.detach().clone()) for value in held if _is_state(value)]
    grads = [(p, p.grad, p.requires_grad) for _, p in parameters]
    checksums = _checksums([p for _, p in parameters])
    with ExitStack() as stack:
        stack.enter_context(isolated_rng())
        stack.enter_context(isolated_generators([v for v in held if isinstance(v, _GENERATORS)]))
        stack.enter_context(_isolated_autocast())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for child in children:
                # Not eval(): users override it (to keep a frozen part in eval, say).
                child.training = False
            for parameter, _, _ in grads:
                parameter.grad = None
            yield module
        finally:
            # Each stands alone: what can't be given back keeps nothing else from it.
            failed: list[Exception] = []
            for container, kept in containers:
                _attempt(failed, _restore, container, kept)
            for tensor, saved in tensors:
                _attempt(failed, _give_back, tensor, saved)
            for parameter, grad, requires_grad in grads:
                _attempt(failed, setattr, parameter, "grad", grad)
                if parameter.requires_grad != requires_grad:
                    _attempt(failed, parameter.requires_grad_, requires_grad)
    now = _checksums([p for _, p in parameters])
    changed = [name for i, (name, _) in enumerate(parameters) if now[i] != checksums[i]]
    if failed:
        raise ModelChangedError(
            expected(
                "module",
                "one whose state can be given back after a forward in eval mode",
                "; ".join(f"{type(error).__name__}: {error}" for error in failed),
                "Move what changes it out of forward, or behind `if self.training`",
            )
        ) from failed[0]
    if changed:
        raise ModelChangedError(
            expected(
                "module",
                "unchanged by its own forward in eval mode",
                f"new values in {', '.join(changed)}",
                "Move the update out of forward, or behind `if self.training`",
            )
        )


def _containers_of(roots: Sequence[Any]) -> list[Any]:
    """Return dicts, lists, sets and deques, and those in them; none that lies in another object."""
    found: list[Any] = []
    waiting, seen = list(roots), set()
    while waiting:
        thing = waiting.pop()
        if not isinstance(thing, (dict, list, set, deque, tuple)) or id(thing) in seen:
            continue
        seen.add(id(thing))
        if not isinstance(thing, tuple):
            found.append(thing)
        if len(thing) <= _LONGEST:
            waiting += thing.values() if isinstance(thing, dict) else thing
    return found


def _is_state(value: object) -> bool:
    """Return whether a value is a tensor that a forward may write to, parameters apart."""
    return (
        isinstance(value, Tensor)
        and not isinstance(value, nn.Parameter)
        and not is_lazy(value)
        and value.layout is torch.strided
        and not value.is_nested
    )


def _restore(container: Any, kept: Any) -> None:
    """Give a container its former entries, in their order, if they are others by now."""
    if isinstance(container, set):
        container.symmetric_difference_update(container ^ kept)
        return
    now = [*container.items()] if isinstance(container, dict) else [(0, v) for v in container]
    then = [*kept.items()] if isinstance(kept, dict) else [(0, v) for v in kept]
    if len(now) == len(then) and all(
        a == b and x is y for (a, x), (b, y) in zip(now, then, strict=True)
    ):
        return
    container.clear()
    container.update(kept) if isinstance(container, dict) else container.extend(kept)


def _attempt(failed: list[Exception], restore: Callable[..., Any], *args: Any) -> None:
    try:
        restore(*args)
    except Exception as error:
        failed.append(error)


def _give_back(tensor: Tensor, saved: Tensor) -> None:
    """Give a tensor its former values, if a single bit of it is another by now."""
    if tensor.shape == saved.shape and torch.equal(_bits(tensor), _bits(saved)):
        return
    with torch.inference_mode(tensor.is_inference()):
        if tensor.shape != saved.shape:
            tensor.resize_(saved.shape)
        tensor.copy_(saved)


_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _bits(tensor: Tensor) -> Tensor:
    """Return a tensor's bits as whole numbers, `[N]`: -0.0 is not 0.0, and NaN is itself."""
    flat = (tensor.int_repr() if tensor.is_quantized else tensor.detach()).reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    return flat.view(_WHOLE[flat.element_size()])


_CHUNK = 2**20


@cache
def _places(device: torch.device) -> Tensor:
    """Return an odd random number for each place in a chunk, the same in every process."""
    numbers = np.random.default_rng(0).integers(2**62, size=_CHUNK) * 2 + 1
    return torch.from_numpy(numbers).to(device)


def _checksums(parameters: Sequence[Tensor]) -> list[int]:
    """Return a number for each parameter that changes with its values and with their places.

    `.data` can be changed past any version counter, and values can change places.
    """
    sums = []
    for parameter in parameters:
        total = torch.zeros((), dtype=torch.int64)
        if not is_lazy(parameter) and parameter.layout is torch.strided:
            total = total.to(parameter.device)
            for chunk in torch.split(_bits(parameter), _CHUNK):
                places = _places(parameter.device)[: len(chunk)]
                total = total * 1_000_003 + (chunk.long() * places).sum()
        sums.append(total)
    return [int(value) for value in sums]


@contextmanager
def _isolated_autocast() -> Iterator[None]:
    """Give autocast back as it was, on the CPU and on CUDA."""
    was = [
        (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        for device in ("cpu", "cuda")
    ]
    try:
        yield
    finally:
        for device, enabled, dtype in was:
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)

"""Borrow a live model and give it back exactly as it was.

`borrowed` is the one place that upholds the promise that training with the callback is
bit-identical to training without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import ModelChangedError, expected
from .bits import bits, checksums
from .rng import GENERATORS, LONGEST, isolated_autocast, isolated_generators, isolated_rng


@dataclass(frozen=True, slots=True)
class LiveModel:
    """A model while it trains, and how it is called.

    Args:
        module: The live model itself.
        context: What a forward of it runs under, such as the trainer's autocast.
        network: Dotted name of the part that is called; "" is the module itself.
        tolerance: How far its probabilities may differ between batches of other sizes, in [0, 1].
        stand_in: Returns a copy of the module that is lent in its place; None for itself.
        beside: What else an explanation must leave alone, by name: callbacks.
        apart: What is neither looked into nor copied, such as the trainer.
        settle: Gives a copy of the module what copying leaves out.
    """

    module: nn.Module
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    network: str = ""
    tolerance: float = 1e-3
    stand_in: Callable[[], nn.Module] | None = None
    beside: Mapping[str, object] = field(default_factory=dict)
    apart: tuple[object, ...] = ()
    settle: Callable[[nn.Module], object] = id

    @contextmanager
    def lent(self) -> Iterator[nn.Module]:
        """Lend the network, and the module with it, as `borrowed` does, ready to be called.

        Where a copy stands in, the module is borrowed beside it: what refers to it, such as a hook
        of the user's, may write to it all the same.
        """
        copied = None if self.stand_in is None else self.stand_in()
        with ExitStack() as stack:
            module = stack.enter_context(borrowed(self.module))
            stack.enter_context(self.context())
            if copied is not None:
                module = stack.enter_context(borrowed(copied, is_copy=True))
            yield module.get_submodule(self.network)

    def inner_name(self, layer: str) -> str:
        """Return a layer's name in the network from its name in the module."""
        return layer.removeprefix(f"{self.network}.") if self.network else layer

    def outer_name(self, layer: str) -> str:
        """Return a layer's name in the module from its name in the network."""
        return f"{self.network}.{layer}" if self.network else layer


@contextmanager
def borrowed(module: nn.Module, *, is_copy: bool = False) -> Iterator[nn.Module]:
    """Lend a live module in eval mode and restore its state on return and on any exception.

    Restored, on every submodule and parameter: training flags, buffers, hooks, plain attributes,
    `.grad`, `requires_grad`; and all random generators, grad mode, inference mode and autocast.
    `.grad` is None inside, so that what a method accumulates falls away. Compiled modules run
    eagerly inside, so that hooks fire. Lists, dicts, sets, deques, tensors and generators that
    attributes hold are restored as well; what lies in objects of the user's own is beyond it.

    Args:
        module: The live module.
        is_copy: It falls away afterwards, so that what can't be given back is none's loss.

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
    # Scripted modules keep theirs out of python's sight; frozen ones have none.
    flags = [(child, child.training) for child in children if hasattr(child, "training")]
    grads = [(p, p.grad, p.requires_grad) for _, p in parameters]
    sums = checksums([p for _, p in parameters])
    with ExitStack() as stack:
        stack.enter_context(isolated_rng())
        stack.enter_context(isolated_generators([v for v in held if isinstance(v, GENERATORS)]))
        stack.enter_context(isolated_autocast())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for child, _ in flags:
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
            for child, flag in flags:
                if child.training is not flag:
                    _attempt(failed, setattr, child, "training", flag)
            for tensor, saved in tensors:
                _attempt(failed, _give_back, tensor, saved)
            for parameter, grad, requires_grad in grads:
                _attempt(failed, setattr, parameter, "grad", grad)
                if parameter.requires_grad != requires_grad:
                    _attempt(failed, parameter.requires_grad_, requires_grad)
    now = checksums([p for _, p in parameters])
    changed = [name for i, (name, _) in enumerate(parameters) if now[i] != sums[i]]
    if failed and not is_copy:
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
        if len(thing) <= LONGEST:
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
    if tensor.shape == saved.shape and torch.equal(bits(tensor), bits(saved)):
        return
    with torch.inference_mode(tensor.is_inference()):
        if tensor.shape != saved.shape:
            tensor.resize_(saved.shape)
        tensor.copy_(saved)

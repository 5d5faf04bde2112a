"""See which network a validation step calls, with what, and what it answers.

While the step runs, every submodule has a forward hook; nothing is changed, and nothing stays. The
module itself is watched by its `forward`, since a step may call that directly, and strategies call
the module for other ends. What is compiled is watched from outside: a hook that is there while a
part is compiled would be compiled with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakIdKeyDictionary

from ..calls import Call

Reads = Callable[[Any, int], str]
"""Why a task can't read an output as predictions of so many samples; empty if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One call of a network.

    Args:
        network: Its dotted name in the watched module; "" is the module itself.
        turn: Which of the network's calls in the step this is, from 0.
        call: What it was called with.
        output: What it answered.
    """

    network: str
    turn: int
    call: Call
    output: Any


@dataclass(slots=True)
class _Step:
    """What is known of the step that runs."""

    size: int
    picture: Tensor | None
    turns: dict[str, int] = field(default_factory=dict)
    open: list[list[Seen]] = field(default_factory=lambda: [[]])
    made: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary)


class Watch:
    """Watches validation steps one by one; from the second on only the network that was chosen.

    The network is, of all modules that are called with a picture a sample and answer what the task
    can read, the outermost one. Where a step calls several such: one that is given the batch's own
    picture before one that is given another (a flipped one, say), one that trains before one that
    is frozen, and then the first.

    Args:
        reads: Why an output can't be read.
        network: Dotted name of the network, where the choice is the user's.
    """

    def __init__(self, reads: Reads, network: str | None = None) -> None:
        self._reads = reads
        self._asked = network
        self._chosen: tuple[str, int] | None = None
        self._step: _Step | None = None
        self._undo: list[Callable[[], None]] = []
        self.rivals: tuple[Seen, ...] = ()
        self.refusal = ""

    @property
    def network(self) -> str:
        """Name of the network that was chosen; the one that was asked for before."""
        return self._chosen[0] if self._chosen else self._asked or ""

    def begin(
        self, root: nn.Module, *, size: int, picture: Tensor | None, eager: bool = False
    ) -> None:
        """Watch the step that comes.

        Args:
            root: The module whose step it is.
            size: Number of samples in the batch.
            picture: The batch's picture, if it is known.
            eager: What is compiled runs eagerly, so that it can be looked into.
        """
        self.stop()
        self._step = _Step(size=size, picture=picture)
        only = self._asked if self._asked is not None else self._chosen and self._chosen[0]
        for name, module in _parts_of(root, eager=eager):
            if only is None or name == only:
                self._undo.append(self._attend(name, module, is_root=not name, eager=eager))

    def end(self, root: nn.Module) -> Seen | None:
        """Stop watching, and return the call that is explained; None if there was none."""
        step = self._step
        self.stop()
        found = step.open[0] if step else []
        if self._chosen is None and found:
            self._chosen = self._choose(root, found, step.picture if step else None)
        return next((s for s in found if (s.network, s.turn) == self._chosen), None)

    def _choose(
        self, root: nn.Module, found: list[Seen], picture: Tensor | None
    ) -> tuple[str, int]:
        modules = dict(root.named_modules())

        def rank(seen: Seen) -> tuple[bool, bool]:
            trains = any(p.requires_grad for p in modules[seen.network].parameters())
            return not _is_same(seen.call.images, picture), not trains

        best = min(found, key=rank)
        self.rivals = tuple(seen for seen in found if seen is not best)
        return best.network, best.turn

    def stop(self) -> None:
        """Take everything off the module. Safe to call at any time."""
        while self._undo:
            self._undo.pop()()
        self._step = None

    def _attend(
        self, name: str, module: nn.Module, *, is_root: bool, eager: bool
    ) -> Callable[[], None]:
        if not eager and module._compiled_call_impl is not None:
            return self._wrap(name, module, "_compiled_call_impl")
        if is_root:
            return self._wrap(name, module, "forward")

        def before(_module: nn.Module, _args: Any) -> None:
            self._enter()

        def after(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._leave(name, module, args, kwargs, output)

        try:
            handles = [
                module.register_forward_pre_hook(before),
                module.register_forward_hook(after, with_kwargs=True),
            ]
        except RuntimeError:  # scripted modules take no hook of this kind
            return lambda: None

        def undo() -> None:
            for handle in handles:
                handle.remove()

        return undo

    def _wrap(self, name: str, module: nn.Module, attribute: str) -> Callable[[], None]:
        inner = getattr(module, attribute)
        own = vars(module)
        had, was = attribute in own, own.get(attribute)

        @wraps(inner)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._enter()
            output = inner(*args, **kwargs)
            self._leave(name, module, args, kwargs, output)
            return output

        own[attribute] = watched

        def undo() -> None:
            if had:
                own[attribute] = was
            else:
                own.pop(attribute, None)

        return undo

    def _can_read(self, output: Any) -> bool:
        assert self._step is not None  # noqa: S101 - asked during a step
        refusal = self._reads(output, self._step.size)
        if refusal:
            self.refusal = refusal
        return not refusal

    def _enter(self) -> None:
        if self._step is not None:
            self._step.open.append([])

    def _leave(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        step = self._step
        if step is None or len(step.open) < 2:
            return
        inside = step.open.pop()
        turn = step.turns.get(name, 0)
        step.turns[name] = turn + 1
        call = Call.of(args, kwargs, step.size)
        if call is not None and _is_input(call.images, step) and self._can_read(output):
            seen = Seen(network=name, turn=turn, call=call, output=output)
            step.open[-1].append(seen)
        else:
            step.open[-1].extend(inside)
        if next(module.parameters(), None) is not None:
            for leaf in pytree.tree_leaves(output):
                if isinstance(leaf, Tensor):
                    step.made[leaf] = True


def _is_input(images: Tensor, step: _Step) -> bool:
    """Return whether a picture may be the batch's, and not features that a network made of it."""
    if images in step.made:
        return False
    batch = step.picture
    if batch is None or batch.ndim != 4:
        return True
    return images.shape[1] == batch.shape[1] or images.shape[2:] == batch.shape[2:]


def _is_same(images: Tensor, picture: Tensor | None) -> bool:
    return picture is not None and (
        images is picture
        or (images.shape == picture.shape and images.data_ptr() == picture.data_ptr())
    )


def _parts_of(root: nn.Module, *, eager: bool) -> Iterator[tuple[str, nn.Module]]:
    """Yield a module and its submodules by name, none that lies inside of a compiled one."""
    seen: set[int] = set()

    def walk(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        yield name, module
        if isinstance(module, torch.jit.ScriptModule) or (not eager and _is_compiled(module)):
            return
        for child_name, child in module.named_children():
            yield from walk(f"{name}.{child_name}" if name else child_name, child)

    yield from walk("", root)


def _is_compiled(module: nn.Module) -> bool:
    return module._compiled_call_impl is not None or hasattr(module, "_orig_mod")

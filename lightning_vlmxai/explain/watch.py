"""See which network a validation step calls, with what, and what it answers.

While the step runs, every submodule has a forward hook; nothing is changed, and nothing stays. The
module itself is watched by its `forward`, since a step may call that directly, and strategies call
the module for other ends. What is compiled is watched from outside: a hook that is there while a
part is compiled would be compiled with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakIdKeyDictionary

from ..attribution import put
from ..calls import Call, MethodCall, StepCall
from ..tasks import is_detection
from .parts import parts_of, shares

Reads = Callable[[Any, int, Call | None], str]
"""Why a task can't read an output as predictions of so many samples; empty if it can.

The call is what was answered; None where it had no picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """One call that answered what the task can read.

    Args:
        network: Dotted name, in the watched module, of the part that answered; "" is the module
            itself.
        turn: Which of the part's calls in the step this is, from 0.
        call: What has to be called again for that answer: the part, or the step as a whole.
        output: What it answered.
        method: Which of the part's methods answered; "" is the part itself.
    """

    network: str
    turn: int
    call: Call
    output: Any
    method: str = ""

    @property
    def answer_bytes(self) -> int:
        """How much memory the answer takes."""
        leaves = pytree.tree_leaves(self.output)
        return sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a part answered; without a call if no picture was among its arguments."""

    network: str
    turn: int
    call: Call | None
    output: Any
    method: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        return self.network, self.method, self.turn

    @property
    def name(self) -> str:
        return _join(self.network, self.method)


@dataclass(slots=True)
class _Step:
    """What is known of the step that runs."""

    size: int
    picture: Tensor | None
    call: StepCall | None
    turns: dict[tuple[str, str], int] = field(default_factory=dict)
    open: list[list[_Answer]] = field(default_factory=lambda: [[]])
    made: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary)


class Watch:
    """Watches validation steps one by one; from the second on only the network that was chosen.

    The network is, of all modules that are called with a picture a sample and answer what the task
    can read, the outermost one. Where a step calls several such: one that is given the batch's own
    picture before one that is given another (a flipped one, say), one that trains before one that
    is frozen, and then the first. What a later part with weights is given is no answer, but that
    part's features. Where no such network is left (backbone and head are called one after the
    other), the step as a whole is what is called, and the part that answers is its head.

    Args:
        reads: Why an output can't be read.
        network: Dotted name of the network, of its method, or of that head, where the choice is
            the user's.
        methods: Names of methods that count as networks, where a module has them.
    """

    def __init__(
        self, reads: Reads, network: str | None = None, methods: Sequence[str] = ()
    ) -> None:
        self._reads = reads
        owner, _, last = (network or "").rpartition(".")
        self._is_method = last in methods
        self._asked = owner if self._is_method else network
        self._methods = (last,) if self._is_method else methods
        self._chosen: tuple[str, str, int] | None = None
        self.is_step = False
        self._step: _Step | None = None
        self._undo: list[Callable[[], None]] = []
        self.rivals: tuple[str, ...] = ()
        self.heads: tuple[str, ...] = ()
        self.refusal = self.refused_by = ""

    @property
    def network(self) -> str:
        """Name of the module that is called, once it was chosen; "" is the module itself."""
        return "" if self.is_step or not self._chosen else self._chosen[0]

    @property
    def answer(self) -> str:
        """Name of the part that answers, once it was chosen; "" is the module itself."""
        return _join(*self._chosen[:2]) if self._chosen else ""

    @property
    def source(self) -> tuple[str, str]:
        """The part, and which of its methods answers, once they were chosen."""
        return self._chosen[:2] if self._chosen else ("", "")

    @property
    def choice(self) -> str:
        """Which of several calls is explained, in words; empty where there was one."""
        mine = self.answer or "the module itself"
        rivals = sorted({name or "the module itself" for name in self.rivals})
        lines = []
        if rivals == [mine]:
            lines.append(
                f"vlmxai: a validation step calls {mine} {len(self.rivals) + 1} times; "
                "explained is the call that is given the batch's own picture, or the first, and "
                "not what the step makes of all of them."
            )
        elif rivals:
            lines.append(
                f"vlmxai: a validation step calls several networks; explained is {mine}, not "
                f'{", ".join(rivals)}. Pass `network="{rivals[0]}"` for another.'
            )
        elif self.is_step:
            lines.append(
                f"vlmxai: no one module goes from picture to logits; explained is the step as a "
                f"whole, as {mine} answers it."
            )
        return " ".join(lines)

    def begin(
        self,
        root: nn.Module,
        *,
        size: int,
        picture: Tensor | None,
        step: StepCall | None = None,
        eager: bool = False,
    ) -> None:
        """Watch the step that comes.

        Args:
            root: The module whose step it is.
            size: Number of samples in the batch.
            picture: The batch's picture, if it is known.
            step: How the step itself is called, if it can be called again.
            eager: What is compiled runs eagerly, so that it can be looked into.
        """
        self.stop()
        self._step = _Step(size=size, picture=picture, call=step)
        only = self._asked if self._asked is not None else self._chosen and self._chosen[0]
        parts = parts_of(root, eager=eager)
        if self._chosen is not None:  # it was among them
            parts = iter([(self._chosen[0], root.get_submodule(self._chosen[0]))])
        for name, module in parts:
            if only is None or name == only:
                if not self._is_method:
                    self._undo.append(self._attend(name, module, is_root=not name, eager=eager))
                self._undo += [
                    self._wrap(name, module, method, method)
                    for method in self._methods
                    if callable(getattr(module, method, None))
                ]

    def end(self, root: nn.Module) -> Called | None:
        """Stop watching, and return the call that is explained; None if there was none."""
        step = self._step
        self.stop()
        if step is None:
            return None
        found = step.open[0]
        if self._chosen is None and found:
            self._choose(root, found, step)
        answer = next((a for a in found if a.key == self._chosen), None)
        if answer is None:
            return None
        call = answer.call
        if self.is_step and step.call is not None:
            call = replace(step.call, part=answer.network, turn=answer.turn)
        if call is None:
            return None
        return Called(
            network=answer.network,
            turn=answer.turn,
            call=call,
            output=answer.output,
            method=answer.method,
        )

    def _choose(self, root: nn.Module, found: list[_Answer], step: _Step) -> None:
        modules = dict(root.named_modules())
        networks = [a for a in found if a.call is not None]
        self.is_step = not networks
        self.heads = tuple(sorted({a.network for a in found}))
        if not networks and len(self.heads) > 1:
            self.refusal = f"several parts that answer without one: {', '.join(self.heads)}"
        if not networks and (step.call is None or len(self.heads) > 1):
            return

        def rank(answer: _Answer) -> tuple[bool, bool]:
            trains = any(p.requires_grad for p in modules[answer.network].parameters())
            images = answer.call.images if answer.call else None
            return not _is_same(images, step.picture), not trains

        best = min(networks or found, key=rank)
        self.rivals = tuple(a.name for a in networks or found if a is not best)
        self._chosen = best.key

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

    def _wrap(
        self, name: str, module: nn.Module, attribute: str, method: str = ""
    ) -> Callable[[], None]:
        inner = getattr(module, attribute)

        @wraps(inner)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._enter()
            output = inner(*args, **kwargs)
            self._leave(name, module, args, kwargs, output, method)
            return output

        return put(module, attribute, watched)

    def _can_read(self, name: str, output: Any, call: Call | None) -> bool:
        assert self._step is not None  # noqa: S101 - asked during a step
        refusal = self._reads(output, self._step.size, call)
        if refusal:
            self.refusal, self.refused_by = refusal, name
        return not refusal

    def _enter(self) -> None:
        if self._step is not None:
            self._step.open.append([])

    def _leave(
        self,
        name: str,
        module: nn.Module,
        args: Any,
        kwargs: Any,
        output: Any,
        method: str = "",
    ) -> None:
        step = self._step
        if step is None or len(step.open) < 2:
            return
        inside = step.open.pop()
        turn = step.turns.get((name, method), 0)
        step.turns[name, method] = turn + 1
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        has_weights = next(module.parameters(), None) is not None
        call = Call.of(args, kwargs, step.size, step.picture)
        if call is not None and method:
            call = MethodCall(
                **{f.name: getattr(call, f.name) for f in fields(call)}, method=method
            )
        if call is not None and not _is_input(call.images, step):
            call = None
        if (call is not None or has_weights) and self._can_read(name, output, call):
            if has_weights:
                for answers in step.open:
                    answers[:] = [a for a in answers if not shares(a.output, given)]
            # An answer without a picture doesn't stand for the networks that it is made of.
            step.open[-1] += [a for a in inside if a.call is not None and call is None]
            step.open[-1].append(
                _Answer(network=name, turn=turn, call=call, output=output, method=method)
            )
        elif call is None or not is_detection(output):  # whose backbone explains no box
            step.open[-1] += inside
        if has_weights:
            for leaf in pytree.tree_leaves(output):
                if isinstance(leaf, Tensor) and not any(leaf is one for one in given):
                    step.made[leaf] = True


def _join(part: str, method: str) -> str:
    return ".".join(filter(None, [part, method]))


def _is_input(images: Tensor, step: _Step) -> bool:
    """Return whether a picture may be the batch's, and not features that a network made of it."""
    if images in step.made:
        return False
    batch = step.picture
    if batch is None or batch.ndim != 4:
        return True
    return images.shape[1] == batch.shape[1] or images.shape[2:] == batch.shape[2:]


def _is_same(images: Tensor | None, picture: Tensor | None) -> bool:
    return (
        picture is not None
        and images is not None
        and (
            images is picture
            or (images.shape == picture.shape and images.data_ptr() == picture.data_ptr())
        )
    )

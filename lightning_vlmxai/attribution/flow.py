"""Follow a picture through one forward: which tensors depend on it, which ones all of it passes.

Every operation is seen where torch dispatches it, beneath autograd, modules and scripts, so that it
makes no difference how a network is written, nor whether its gradients are cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on something that depends on the picture.

    Args:
        name: Of the operation, `"aten.relu"` say.
        parents: Numbers of the steps whose results it was given.
        is_view: Whether it only looks at the same memory in another way.
        shape: Of its first result.
    """

    name: str
    parents: tuple[int, ...]
    is_view: bool
    shape: tuple[int, ...] = ()

    @property
    def cells(self) -> tuple[int, ...]:
        """Height and width of a result of four axes, channels first; of others none."""
        return self.shape[2:] if len(self.shape) == 4 else ()


class Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records each operation that the picture has a part in; use it as a context.

    Step 0 is the picture itself. Memory that is written to, or looked at through several views,
    counts as one thing: this joins flows that are apart, and never parts one.

    Args:
        picture: The tensor that is followed.
    """

    def __init__(self, picture: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = [Step("picture", (), False)]
        # By memory, then by the way it is looked at: the last step that made it.
        self._made: dict[Any, dict[Any, int]] = {}
        self._note(picture, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note it if the picture has a part in it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name, read, written_to = _known(func)
        given = _at(read, args, kwargs)
        memory = [memory_of(tensor) for tensor in given]
        parents = {
            step
            for where, tensor in zip(memory, given, strict=True)
            if where in self._made and (step := self._last(where, tensor)) is not None
        }
        made = tensors_among([out])
        number = len(self.steps)
        if parents:
            written = _at(written_to, args, kwargs)
            is_view = bool(made) and not written and all(memory_of(t) in memory for t in made)
            shape = tuple(made[0].shape) if made else ()
            self.steps.append(Step(name, tuple(sorted(parents)), is_view, shape))
            for tensor in written:
                self._made.setdefault(memory_of(tensor), {})["written"] = number
        for tensor in made:
            if memory_of(tensor) not in memory:
                self._made[memory_of(tensor)] = {}  # whatever had this memory before is gone
            if parents:
                self._note(tensor, number)
        return out

    def step_of(self, tensor: Tensor) -> int | None:
        """Return the step that made a tensor; None if it has nothing of the picture."""
        return self._last(memory_of(tensor), tensor)

    def _last(self, memory: Any, tensor: Tensor) -> int | None:
        views = self._made.get(memory)
        if not views:
            return None
        known = [views[key] for key in ("written", _view(tensor)) if key in views]
        return max(known or views.values(), default=None)

    def passages(self, ends: Iterable[Tensor]) -> list[int]:
        """Return the steps that all of the picture's influence on some tensors passes, in order.

        One is where nothing made before it is used behind it.

        Args:
            ends: The tensors, the logits say.
        """
        last_use: dict[int, int] = {}
        counts = self.influential(ends)
        for number in sorted(counts, reverse=True):
            for parent in self.steps[number].parents:
                last_use.setdefault(parent, number)
        found, reach = [], 0
        for number in sorted(counts):
            if reach <= number:
                found.append(number)
            reach = max(reach, last_use.get(number, 0))
        return found

    def influential(self, ends: Iterable[Tensor]) -> set[int]:
        """Return the steps that have a part in some tensors."""
        return self.influences(*(s for end in ends if (s := self.step_of(end)) is not None))

    def influences(self, *steps: int) -> set[int]:
        """Return the steps that have a part in some steps, these among them."""
        counts = set(steps)
        for number in range(max(counts, default=-1), -1, -1):
            if number in counts:
                counts.update(self.steps[number].parents)
        return counts

    def source(self, number: int) -> int:
        """Return the step whose memory this one looks at otherwise; itself if it is no view."""
        while (step := self.steps[number]).is_view and len(step.parents) == 1:
            (number,) = step.parents
        return number

    def between(self, start: int, end: int) -> list[str]:
        """Return the operations from one passage to a later one."""
        seen: set[int] = set()
        waiting = [end]
        while waiting:
            number = waiting.pop()
            if number <= start or number in seen:
                continue
            seen.add(number)
            waiting += self.steps[number].parents
        return [self.steps[number].name for number in sorted(seen)]

    def _note(self, tensor: Tensor, number: int) -> None:
        self._made.setdefault(memory_of(tensor), {})[_view(tensor)] = number


def unseen() -> AbstractContextManager[None]:
    """Return a context in which nothing is looked at."""
    guard: AbstractContextManager[None] = torch._C._DisableTorchDispatch()
    return guard


def tensors_among(values: Iterable[Any]) -> list[Tensor]:
    """Return the tensors among values and in the lists and tuples among them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += tensors_among(value)
    return found


def memory_of(tensor: Tensor) -> Any:
    """Return something that tensors of the same memory have in common."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return ("opaque", id(tensor))  # sparse or nested


def _view(tensor: Tensor) -> Any:
    try:
        return (tensor.storage_offset(), tensor.shape, tensor.stride())
    except (NotImplementedError, RuntimeError):
        return "opaque"


Argument = tuple[int, str]
"""At which place an argument is given, and by which name."""


def _at(places: tuple[Argument, ...], args: Any, kwargs: Any) -> list[Tensor]:
    """Return the tensors in arguments at those places."""
    return tensors_among(
        [args[at] if at < len(args) else kwargs.get(key) for at, key in places] if places else ()
    )


@cache
def _known(func: Any) -> tuple[str, tuple[Argument, ...], tuple[Argument, ...]]:
    """Return an operation's name, which arguments may hold tensors, and which it writes to."""
    arguments = list(enumerate(func._schema.arguments))
    holds = [(at, a.name) for at, a in arguments if "Tensor" in str(a.type)]
    written = [
        (at, a.name) for at, a in arguments if a.alias_info is not None and a.alias_info.is_write
    ]
    return str(func).rsplit(".", 1)[0], tuple(holds), tuple(written)

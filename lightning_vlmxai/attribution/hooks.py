"""A place in a forward, by name, and a way to change the tensor that is there.

`"conv3"` is what the layer gives; `"conv3[1]"` what it gives when it runs for the second time;
`"conv3.relu()"` what a function makes of it, called with it next; `"pool.input()"` what the layer
is given first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_NAME = re.compile(r"(?P<name>.*?)(\[(?P<run>\d+)\])?(?P<steps>(\.\w+\(\))*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a tensor is found in a forward.

    Args:
        name: Dotted name of the layer that gave it.
        run: Which of the layer's runs, from 0; None for all.
        steps: Names of the functions that were called with it one after the other.
    """

    name: str
    run: int | None = None
    steps: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Place:
        """Return the place of a name.

        Example:
            >>> Place.parse("block.conv[2].add().relu()")
            Place(name='block.conv', run=2, steps=('add', 'relu'))
        """
        found = _NAME.fullmatch(text)
        if found is None:
            return cls(name=text)
        run = found["run"]
        steps = tuple(re.findall(r"\.(\w+)\(\)", found["steps"]))
        return cls(name=found["name"], run=None if run is None else int(run), steps=steps)

    @property
    def is_input(self) -> bool:
        """Whether it is what the layer is given."""
        return self.steps == ("input",)

    def holds(self, name: str, run: int, *, is_output: bool) -> bool:
        """Return whether it is in that run of that layer, or starts there."""
        return name == self.name and self.run in (None, run) and is_output != self.is_input

    def __str__(self) -> str:
        """Return the name that `parse` reads."""
        run = "" if self.run is None else f"[{self.run}]"
        return self.name + run + "".join(f".{step}()" for step in self.steps)


@contextmanager
def changed(
    layer: nn.Module, change: Callable[[Tensor], Tensor | None], place: Place | None = None
) -> Iterator[None]:
    """Change a tensor in the forwards inside.

    Args:
        layer: The layer that gives it, or that a function is called with what it gives.
        change: What is made of it; None leaves it.
        place: Which run of the layer and which functions; all its runs, and none, if None.
    """
    place = place or Place(name="")
    runs = 0

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        nonlocal runs
        runs += 1
        features = first_tensor(output)
        if place.run not in (None, runs - 1):
            return None
        if place.steps and features is not None:
            functions.wait_for(features)
            return None
        made = change(features) if features is not None else None
        return None if made is None else replace_first(output, made)

    def given(_module: nn.Module, args: Any) -> Any:
        nonlocal runs
        runs += 1
        features = first_tensor(args)
        made = change(features) if features is not None and place.run in (None, runs - 1) else None
        return None if made is None else (made, *args[1:])

    if place.is_input:
        handle = layer.register_forward_pre_hook(given)
        try:
            yield
        finally:
            handle.remove()
        return
    functions = _Functions(place.steps, change)
    handle = layer.register_forward_hook(hook)
    try:
        if place.steps:
            with functions:
                yield
        else:
            yield
    finally:
        handle.remove()


class _Functions(TorchFunctionMode):
    """Follows a tensor through functions of given names, and changes what the last one gives."""

    def __init__(self, steps: tuple[str, ...], change: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        self._steps = steps
        self._change = change
        self._awaited: Tensor | None = None
        self._left: tuple[str, ...] = ()

    def wait_for(self, features: Tensor) -> None:
        """Follow that tensor from here on."""
        self._awaited, self._left = features, self._steps

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function, and look whether it is the next one."""
        awaited = self._awaited
        is_next = (
            awaited is not None
            and plain_name(getattr(func, "__name__", "")) == self._left[0]
            and any(argument is awaited for argument in args)
        )
        out = func(*args, **(kwargs or {}))
        if not is_next or not isinstance(out, Tensor):
            return out
        self._left = self._left[1:]
        self._awaited = out if self._left else None
        made = None if self._left else self._change(out)
        return out if made is None else made


def plain_name(name: str) -> str:
    """Return a function's name without the marks of an operator or an in-place variant.

    Example:
        >>> [plain_name(name) for name in ("relu_", "__iadd__", "__radd__", "aten.add")]
        ['relu', 'add', 'add', 'add']
    """
    bare = name.rsplit(".", 1)[-1].strip("_")
    return bare[1:] if bare in ("iadd", "radd", "imul", "rmul") else bare


def put(module: nn.Module, attribute: str, value: object) -> Callable[[], None]:
    """Put a value among a module's own attributes; return what takes it away again."""
    own = vars(module)
    had, was = attribute in own, own.get(attribute)
    own[attribute] = value

    def undo() -> None:
        if had:
            own[attribute] = was
        else:
            own.pop(attribute, None)

    return undo


def first_tensor(output: Any) -> Tensor | None:
    """Return a layer's output, or the first entry of a tuple, if that is a tensor."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def replace_first(output: Any, features: Tensor) -> Any:
    """Return a layer's output with `first_tensor` replaced."""
    if isinstance(output, Tensor):
        return features
    return (features, *output[1:])


def named_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return every submodule by its dotted name; `torch.compile`'s wrappers don't count.

    Example:
        >>> list(named_layers(nn.Sequential(nn.ReLU(), nn.ReLU())))
        ['0', '1']
    """
    return {clean: child for name, child in module.named_modules() if (clean := clean_name(name))}


def clean_name(name: str) -> str:
    """Return a layer's name without the wrappers of `torch.compile`."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")

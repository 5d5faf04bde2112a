"""What functions and classes hold beside their code: closures, defaults, attributes, globals."""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from .owners import is_users

Child = tuple[str, object]
"""A path, and what lies there."""
_GLOBAL_READS = (
    "DELETE_GLOBAL",
    "LOAD_FROM_DICT_OR_GLOBALS",
    "LOAD_GLOBAL",
    "LOAD_NAME",
    "STORE_GLOBAL",
)


def held_by_class(kind: type) -> list[Child]:
    """Return the attributes of a class, and its bases, as far as they are the user's."""
    children: list[Child] = []
    for name, value in dict(vars(kind)).items():
        parts: list[Any] = [value]
        if isinstance(value, property):
            parts = [value.fget, value.fset]
        elif isinstance(value, (staticmethod, classmethod)):
            parts = [value.__func__]
        elif isinstance(value, functools.cached_property):
            parts = [value.func]
        elif name.startswith(("__", "_abc_")) and not isinstance(value, types.FunctionType):
            continue
        children += [(f"{kind.__qualname__}.{name}", p) for p in parts if p is not None]
    children += [(b.__qualname__, b) for b in kind.__bases__ if is_users(b.__module__)]
    return children


def held_by_function(path: str, function: types.FunctionType) -> list[Child]:
    """Return what a function keeps beside its code: cells, defaults, attributes, globals."""
    children: list[Child] = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not filled yet
            children.append((f"{function.__qualname__}:{name}", cell.cell_contents))
    for name in ("__defaults__", "__kwdefaults__"):
        children += [(f"{path}.{name}", v)] if (v := getattr(function, name)) else []
    children += [(f"{function.__qualname__}.{n}", v) for n, v in vars(function).copy().items()]
    if is_users(function.__module__ or ""):
        for holder, name in _globals_of(function.__code__, function.__globals__):
            children.append((f"{holder.get('__name__', '')}.{name}", holder[name]))
    return children


@functools.cache
def _names_in(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Return the globals that code reads, and the attributes; those of functions in it as well."""
    read, attributes = set(), set(code.co_names)
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBAL_READS:
            read.add(str(instruction.argval))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _names_in(constant)
            read |= inner[0]
            attributes |= inner[1]
    return frozenset(read), frozenset(attributes)


def _globals_of(code: types.CodeType, own: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each global that code names, in its own module and in the user's that it names."""
    read, attributes = _names_in(code)
    for name in sorted(read & own.keys()):
        value = own[name]
        if isinstance(value, types.ModuleType):
            if is_users(value.__name__):
                inside = vars(value)
                yield from ((inside, n) for n in sorted(attributes & inside.keys()))
        else:
            yield own, name

"""Walk through all that objects hold, as pickling does, and further: closures, classes, globals.

Of objects of installed packages only what they hold is looked at; of the user's own code also the
class attributes, and the globals that it names. What keeps a contract of its own is taken at its
word: `functools.lru_cache`, thread tools, loggers, progress bars.
"""

from __future__ import annotations

import array
import collections
import functools
import io
import itertools
import marshal
import struct
import types
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .functions import Child, held_by_class, held_by_function
from .owners import is_closed, is_users
from .rng import GENERATORS, LONGEST

_MOST = 200_000
"""Entries of one container that are looked at."""
_COMPILED = ("_c", "_concrete_type")
_MOST_OBJECTS = 1_000_000
_PLAIN = (type(None), bool, int, str, bytes, Decimal, Fraction, date, time, timedelta, tzinfo)
_INERT = (PurePath, Enum, torch.dtype, torch.device, torch.layout, torch.memory_format, np.dtype)
_SILENT = (
    types.ModuleType,
    types.CodeType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.GenericAlias,
    weakref.ref,
    range,
    slice,
)


class Walk:
    """What was found on a walk, by path: short tokens, and tensors, which are compared by bits.

    Args:
        roots: Where to start, by name.
        apart: What isn't looked into, such as the trainer.
    """

    def __init__(self, roots: Mapping[str, object], *, apart: Sequence[object] = ()) -> None:
        self.tokens: dict[str, object] = {}
        self.tensors: dict[str, Tensor] = {}
        self.opaque: dict[str, object] = {}
        self.seen: list[object] = []
        self._apart = {id(thing) for thing in apart}
        self._path_of: dict[int, str] = {}
        self._scripted: list[str] = []
        self._names: dict[str, int] = {}
        waiting: list[Child] = list(roots.items())[::-1]
        with warnings.catch_warnings():  # of what is deprecated, and of arrays that are read-only
            warnings.simplefilter("ignore")
            while waiting and len(self.seen) < _MOST_OBJECTS:
                path, thing = waiting.pop()
                waiting += self._visit(path, thing)[::-1]
        if waiting:
            self.opaque["what lies further"] = None

    def _visit(self, path: str, thing: object) -> list[Child]:
        kind = type(thing)
        if kind in weakref.ProxyTypes or id(thing) in self._apart:
            return []
        try:
            token = _token_of(thing)
            if token is not None:
                if self.tokens.setdefault(path, token) != token:
                    self.tokens[self._another(path)] = token
                return []
            known = self._path_of.get(id(thing))
            if known is not None:
                if known != path:
                    self.tokens[path] = ("the same as", known)
                return []
            if path in self.tokens:
                path = self._another(path)
            self._path_of[id(thing)] = path
            self.seen.append(thing)  # which keeps its id from being given to another
            return self._open(path, thing)
        except Exception:  # whatever a user's object does when it is looked at
            self.opaque[path] = thing
            return []

    def _another(self, path: str) -> str:
        """Return a name for a further thing of this name, such as a closure's of one function."""
        self._names[path] = self._names.get(path, 1) + 1
        return f"{path} ({self._names[path]})"

    def _open(self, path: str, thing: Any) -> list[Child]:
        """Return what a thing holds; note what it is itself."""
        self.tokens[path] = type(thing)
        if isinstance(thing, type):
            return held_by_class(thing) if is_users(thing.__module__) else []
        if isinstance(thing, Tensor):
            return self._of_tensor(path, thing)
        if isinstance(thing, (np.ndarray, np.generic)):
            return self._of_array(path, thing)
        if isinstance(thing, GENERATORS):
            return [(f"{path}.state", _state_of(thing))]
        if isinstance(thing, (bytearray, memoryview, array.array)):
            self.tokens[path] = (type(thing), bytes(thing))
            return []
        if isinstance(thing, types.FunctionType):
            return held_by_function(path, thing)
        if isinstance(thing, (types.MethodType, types.BuiltinMethodType)):
            own = thing.__self__
            function = getattr(thing, "__func__", None)
            return [(f"{path}.__self__", own), (f"{path}.__func__", function)]
        if isinstance(thing, functools.partial):
            return [(f"{path}.{n}", getattr(thing, n)) for n in ("func", "args", "keywords")]
        if isinstance(thing, types.GeneratorType):
            frame = thing.gi_frame
            self.tokens[path] = (type(thing), frame and frame.f_lasti)
            self.opaque[path] = thing  # a loop's own iterator is out of sight
            inner = [*frame.f_locals.items(), ("yield from", thing.gi_yieldfrom)] if frame else []
            return [(f"{path}.{name}", value) for name, value in inner]
        if isinstance(thing, io.IOBase):
            self.tokens[path] = (type(thing), thing.closed or thing.tell())
            return []
        if isinstance(thing, (itertools.count, itertools.repeat)):
            self.tokens[path] = (type(thing), repr(thing))
            return []
        if isinstance(thing, torch.jit.ScriptModule):
            self._note_scripted(path, thing)
        if is_closed(thing):
            return []
        children = [*self._of_attributes(path, thing), *self._of_container(path, thing)]
        if is_users(type(thing).__module__):
            children.append((type(thing).__name__, type(thing)))
        return children

    def _of_attributes(self, path: str, thing: Any) -> Iterator[Child]:
        own = getattr(thing, "__dict__", None)
        slots = list(_slots_of(thing))
        if isinstance(own, dict):
            # Copied, for another thread may write to it.
            for name, value in own.copy().items():
                if isinstance(thing, nn.Module) and name in ("_parameters", "_buffers", "_modules"):
                    parts = list(value.items())
                    self.tokens[f"{path}.{name}"] = tuple(key for key, _ in parts)
                    yield from ((_join(path, key), part) for key, part in parts)
                elif not _is_idle(name, value):
                    yield _join(path, name), value
        for name in slots:
            yield _join(path, name), getattr(thing, name, None)
        if own is None and not slots and not _is_container(thing):
            yield from self._of_pickle(path, thing)

    def _of_pickle(self, path: str, thing: Any) -> Iterator[Child]:
        """Return what a thing would be pickled as; such are those that are written in C."""
        made = thing.__reduce_ex__(4)
        if isinstance(made, str):
            return
        for place, part in enumerate(made[1:3]):
            yield f"{path}.{('args', 'state')[place]}", part

    def _of_container(self, path: str, thing: Any) -> list[Child]:
        if not _is_container(thing):
            return []
        if isinstance(thing, Mapping):
            return self._of_mapping(path, thing)
        if isinstance(thing, (set, frozenset)):
            self.tokens[f"{path}{{}}"] = frozenset(
                key if isinstance(key, _PLAIN) else id(key) for key in thing.copy()
            )
            others = sorted((v for v in thing if not isinstance(v, _PLAIN)), key=id)
            return [(f"{path}{{{place}}}", value) for place, value in enumerate(others)]
        items = list(thing)
        self.tokens[f"{path}[]"] = (type(thing), len(items), getattr(thing, "maxlen", None))
        if (dumped := self._dump(path, items)) is not None:
            return dumped
        return [(f"{path}[{place}]", item) for place, item in enumerate(items)]

    def _of_mapping(self, path: str, thing: Mapping[Any, Any]) -> list[Child]:
        items = list(thing.items())
        keys = [k if isinstance(k, (*_PLAIN, float)) else (type(k), id(k)) for k, _ in items]
        self.tokens[f"{path}{{}}"] = keys
        if (dumped := self._dump(path, [value for _, value in items])) is not None:
            return dumped
        children: list[Child] = []
        for place, (key, value) in enumerate(items):
            is_plain = isinstance(key, _PLAIN)
            children += [] if is_plain else [(f"{path}.keys()[{place}]", key)]
            children.append(
                (f"{path}[{key!r}]" if is_plain else f"{path}.values()[{place}]", value)
            )
        return children

    def _dump(self, path: str, items: list[Any]) -> list[Child] | None:
        """Take a long list of plain values as one; None if it is short, or holds others."""
        if len(items) <= LONGEST:
            return None
        try:
            # The second version: its bytes depend on values alone, not on references.
            self.tokens[f"{path}[:]"] = hash(marshal.dumps(items, 2))
        except ValueError:
            if len(items) <= _MOST:
                return None
            self.opaque[f"{path}[:]"] = items
        return []

    def _of_tensor(self, path: str, tensor: Tensor) -> list[Child]:
        shape = tuple(getattr(tensor, "shape", ()))
        self.tokens[path] = (
            type(tensor),
            tensor.dtype,
            tensor.device,
            tensor.layout,
            tensor.requires_grad,
        )
        children: list[Child] = []
        if nn.parameter.is_lazy(tensor):
            return children
        if tensor.is_nested or tensor.is_mkldnn:
            self.opaque[path] = tensor
        elif tensor.layout is torch.sparse_coo:
            children += [
                (f"{path}.indices", tensor._indices()),
                (f"{path}.values", tensor._values()),
            ]
        elif tensor.layout is not torch.strided:
            rows = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
            names = ("crow_indices", "col_indices") if rows else ("ccol_indices", "row_indices")
            children += [(f"{path}.{n}", getattr(tensor, n)()) for n in (*names, "values")]
        else:
            # Beside it, what its bits are read by: its shape may change.
            self.tokens[f"{path}.shape"] = shape
            self.tensors[path] = tensor
        if tensor.is_leaf and tensor.grad is not None:
            children.append((f"{path}.grad", tensor.grad))
        children += [(f"{path}.{name}", value) for name, value in vars(tensor).copy().items()]
        for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            children += [(f"{path}.{name}", h)] if (h := getattr(tensor, name, None)) else []
        return children

    def _of_array(self, path: str, values: np.ndarray[Any, Any] | np.generic) -> list[Child]:
        if isinstance(values, np.memmap):
            self.opaque[path] = values
            return []
        if values.dtype.hasobject:
            return [(f"{path}.tolist()", values.tolist())]
        self.tokens[path] = (type(values), values.dtype.str, values.shape)
        if isinstance(values, np.generic) or values.dtype.names or values.size < 64:
            self.tokens[f"{path}[:]"] = values.tobytes()
        else:
            raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
            self.tensors[f"{path}[:]"] = torch.from_numpy(raw)
        return []

    def _note_scripted(self, path: str, module: torch.jit.ScriptModule) -> None:
        """Note what a scripted module holds out of python's sight, all that lies in it included."""
        self.tokens[_join(path, "training")] = getattr(module, "training", None)
        if not path.startswith(tuple(self._scripted)):
            self._scripted.append(_join(path, ""))
            with io.BytesIO() as file:
                torch.jit.save(module, file)
                self.tokens[_join(path, "(scripted)")] = hash(file.getvalue())


def _token_of(thing: object) -> object | None:
    """Return what stands for a value that holds no other; None for anything else."""
    if isinstance(thing, _PLAIN):
        return (type(thing), thing)
    if isinstance(thing, (float, complex)):
        return (type(thing), struct.pack("dd", thing.real, thing.imag), repr(thing))
    if isinstance(thing, _SILENT):
        return (type(thing), id(thing))
    return (type(thing), str(thing)) if isinstance(thing, _INERT) else None


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _is_idle(name: str, value: object) -> bool:
    """Return whether an attribute is one of a module's many empty dicts, or compiled code."""
    is_empty = isinstance(value, dict) and not value and name.startswith("_")
    return is_empty or (name in _COMPILED and type(value).__module__.startswith("torch"))


def _is_container(thing: object) -> bool:
    return isinstance(
        thing,
        (
            dict,
            list,
            tuple,
            set,
            frozenset,
            collections.deque,
            weakref.WeakKeyDictionary,
            weakref.WeakValueDictionary,
            types.MappingProxyType,
            collections.ChainMap,
        ),
    )


def _slots_of(thing: object) -> Iterator[str]:
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                private = name.startswith("__") and not name.endswith("__")
                yield f"_{kind.__name__.lstrip('_')}{name}" if private else name


def _state_of(generator: Any) -> object:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    try:
        return generator.getstate()
    except NotImplementedError:  # the system's own has none
        return None

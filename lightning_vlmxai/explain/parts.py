"""What a module is made of, and which of its tensors are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


def shares(output: Any, given: Sequence[Tensor]) -> bool:
    """Return whether any tensor of an output, or a view of it, is among those given."""
    mine = {_storage(leaf) for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)}
    return any(_storage(one) in mine for one in given)


def _storage(tensor: Tensor) -> object:
    if tensor.layout is not torch.strided:
        return id(tensor)
    return tensor.untyped_storage().data_ptr()


def parts_of(root: nn.Module, *, eager: bool) -> Iterator[tuple[str, nn.Module]]:
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

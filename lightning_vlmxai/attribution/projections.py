"""What an attention projects in a forward: queries, keys and values, read where they are made."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flow import unseen
from .hooks import first_tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one run of an attention showed, its axes as the module has them.

    Args:
        queries: Projected, all heads side by side, `[B, Lq, E]` or `[Lq, B, E]`.
        keys: The same, `[B, Lk, E]` or `[Lk, B, E]`.
        values: The same; their width may be another.
        is_self: Whether queries and keys are made of the same tensor.
        masks: What it was given as masks, by name.
        places: Tensors that may be the heads' outputs: by a child's name what that was given, and
            by "" what the module gave.
        out: Weight and bias of an output projection that is no call of a module.
        count: Lq, once it is known which axis that is.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    is_self: bool
    masks: Mapping[str, Tensor]
    places: Mapping[str, Tensor]
    out: tuple[Tensor, Tensor | None] | None
    count: int = 0

    def detach(self) -> Shown:
        """Return the same off the graph."""
        return replace(
            self,
            queries=self.queries.detach(),
            keys=self.keys.detach(),
            values=self.values.detach(),
            places={name: tensor.detach() for name, tensor in self.places.items()},
        )


class Watch:
    """What an attention shows in its runs.

    Args:
        attention: Any module.
        known: What it is known to show, where it isn't looked at.
    """

    def __init__(self, attention: nn.Module, known: Shown | None = None) -> None:
        self.shown: list[Shown] = [] if known is None else [known]
        self._known = known
        self._attention = attention
        self._given: list[tuple[str, Any]] | None = None
        self._fired: dict[str, tuple[Tensor, Tensor]] = {}

    def present(self) -> Shown | None:
        """Return what was shown so far in the run under way, on the graph; None if that is none."""
        if self._given is None:
            return self._known
        with unseen():
            return _show(self._attention, self._given, self._fired, None)

    def begin(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Note what the attention is given."""
        self._given = _named(module, args, kwargs)
        self._fired.clear()

    def note(self, name: str) -> Any:
        """Return a hook that notes what a child is given and gives."""

        def hook(_module: nn.Module, args: Any, output: Any) -> None:
            given, gave = first_tensor(args), first_tensor(output)
            if given is not None and gave is not None:
                self._fired[name] = given, gave

        return hook

    def end(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Note what the attention gives."""
        with torch.no_grad(), unseen():
            given = self._given or _named(module, args, kwargs)
            found = _show(module, given, self._fired, first_tensor(output))
        if found is not None:
            self.shown.append(found.detach())
        self._fired.clear()


@contextmanager
def watched(attention: nn.Module, known: Shown | None = None) -> Iterator[Watch]:
    """Note what an attention shows in each of its runs; runs that show none leave no entry.

    Args:
        attention: Any module; nothing of it is changed.
        known: What it is known to show; it isn't looked at then.
    """
    watch = Watch(attention, known)
    if known is not None:
        yield watch
        return
    with ExitStack() as stack:
        hook = attention.register_forward_pre_hook(watch.begin, with_kwargs=True)
        stack.callback(hook.remove)
        for name, child in attention.named_children():
            if not isinstance(child, torch.jit.ScriptModule):
                stack.callback(child.register_forward_hook(watch.note(name)).remove)
        # Before what changes the output, so that it is seen as the module gave it.
        behind = attention.register_forward_hook(watch.end, with_kwargs=True, prepend=True)
        stack.callback(behind.remove)
        yield watch


def holds_projections(module: nn.Module) -> bool:
    """Return whether a module has what queries, keys and values are projected with.

    Example:
        >>> holds_projections(nn.MultiheadAttention(8, 2)), holds_projections(nn.Linear(8, 8))
        (True, False)
    """
    roles = {_role(name) for name, _ in module.named_children()}
    return (
        "qkv" in roles
        or {"q", "kv"} <= roles
        or {"q", "k", "v"} <= roles
        or any(
            isinstance(getattr(module, name, None), Tensor)
            for name in ("in_proj_weight", "q_proj_weight")
        )
    )


def keys_given(module: nn.Module, args: Any, kwargs: Any) -> Tensor | None:
    """Return the tensor that the keys are made of, where a module is an attention."""
    if not holds_projections(module):
        return first_tensor(args)
    return _sources(_named(module, args, kwargs))[1]


def _show(
    module: nn.Module,
    given: list[tuple[str, Any]],
    fired: Mapping[str, tuple[Tensor, Tensor]],
    gave: Tensor | None,
) -> Shown | None:
    projected = _projected(module, given, fired)
    if projected is None:
        return None
    queries, keys, values, is_self = projected
    if any(t.ndim != 3 for t in (queries, keys, values)):
        return None
    out = getattr(module, "out_proj", None)
    weight, bias = getattr(out, "weight", None), getattr(out, "bias", None)
    places = {name: given for name, (given, _) in fired.items()} | {"": gave}
    is_silent = isinstance(weight, Tensor) and "out_proj" not in fired
    return Shown(
        queries=queries,
        keys=keys,
        values=values,
        is_self=is_self,
        masks={n: v.detach() for n, v in given if isinstance(v, Tensor) and "mask" in n},
        places={n: t for n, t in places.items() if t is not None and t.ndim == 3},
        out=(weight.detach(), None if bias is None else bias.detach())
        if is_silent and isinstance(weight, Tensor)
        else None,
    )


def _projected(
    module: nn.Module, given: list[tuple[str, Any]], fired: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor, Tensor, bool] | None:
    """Return queries, keys and values, and whether the first two are made of the same."""
    by_role = {_role(name): pair for name, pair in fired.items()}
    names = next(
        (n for n in (("qkv",), ("q", "kv"), ("q", "k", "v")) if set(n) <= by_role.keys()), None
    )
    if names is not None:
        sources: list[Tensor | None] = [by_role[name][0] for name in names]
        parts = [part for name in names for part in _cut(by_role[name][1], name)]
    else:
        weights, sources = _weights(module), list(_sources(given))
        bias = getattr(module, "in_proj_bias", None)
        if weights is None or any(source is None for source in sources):
            return None
        biases = [None] * 3 if bias is None else bias.split([len(weight) for weight in weights])
        try:
            parts = [F.linear(*made) for made in zip(sources, weights, biases, strict=True)]  # type: ignore[arg-type]
        except (RuntimeError, ValueError):  # of other widths: it isn't wired so
            return None
    if len(parts) != 3:
        return None
    for place, role in enumerate(("qnorm", "knorm")):
        if role in by_role:
            parts[place] = _join_heads(by_role[role][1], parts[place])
    queries, keys, values = parts
    return queries, keys, values, len(sources) == 1 or _is_same(sources[0], sources[1])


def _weights(module: nn.Module) -> list[Tensor] | None:
    fused = getattr(module, "in_proj_weight", None)
    if isinstance(fused, Tensor):
        return list(fused.chunk(3)) if len(fused) % 3 == 0 else None
    each = [getattr(module, f"{name}_proj_weight", None) for name in "qkv"]
    found = [weight for weight in each if isinstance(weight, Tensor)]
    return found if len(found) == 3 else None


def _role(name: str) -> str:
    """Return what a child does, by its name.

    Example:
        >>> [_role(name) for name in ("q_proj", "to_kv", "query", "ln_q", "k_norm", "out_proj")]
        ['q', 'kv', 'q', 'qnorm', 'knorm', 'out']
    """
    words = [w for w in re.split(r"[_\W]+", name.lower()) if w not in ("proj", "lin", "to", "w")]
    words = [{"query": "q", "key": "k", "value": "v", "wqkv": "qkv"}.get(w, w) for w in words]
    if len(words) == 2 and {"norm", "ln"} & set(words):
        return next((w for w in words if w not in ("norm", "ln")), "") + "norm"
    return words[0] if len(words) == 1 else "".join(words)


def _cut(projected: Tensor, role: str) -> list[Tensor]:
    count = len(role)
    return list(projected.chunk(count, dim=-1)) if projected.shape[-1] % count == 0 else []


def _join_heads(normed: Tensor, like: Tensor) -> Tensor:
    """Return what a norm gave to each head, `[B, h, L, d]` or `[B, L, h, d]`, as it was before."""
    if normed.ndim != 4:
        return normed
    return (normed if normed.shape[1] == like.shape[1] else normed.transpose(1, 2)).flatten(2)


def _is_same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (
        one is not None
        and other is not None
        and one.shape == other.shape
        and one.data_ptr() == other.data_ptr()
    )


def _named(module: nn.Module, args: Any, kwargs: Any) -> list[tuple[str, Any]]:
    """Return what a module was called with, by the names of its parameters, in order."""
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = dict(enumerate(args)) | kwargs
    named: list[tuple[str, Any]] = []
    for name, value in bound.items():
        more = value.items() if isinstance(value, dict) else None
        named += [(str(n), v) for n, v in more] if more is not None else [(str(name), value)]
    return named


def _sources(given: list[tuple[str, Any]]) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return what queries, keys and values are made of."""
    tensors = {
        name: value
        for name, value in given
        if isinstance(value, Tensor)
        and value.ndim == 3
        and value.is_floating_point()
        and "mask" not in name
    }
    first = next(iter(tensors.values()), None)
    key = next((value for name, value in tensors.items() if name[0] == "k"), first)
    return first, key, next((value for name, value in tensors.items() if name[0] == "v"), key)

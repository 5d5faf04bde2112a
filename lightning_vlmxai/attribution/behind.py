"""Run a network again from a layer on: what had ended before the layer began isn't done again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ..calls import Call
from ..tasks import tensors_in
from .attention import slack
from .flow import memory_of, tensors_among
from .hooks import Place, named_layers, put
from .sites import hookable

T = TypeVar("T")

_known: WeakKeyDictionary[nn.Module, dict[Any, frozenset[str] | None]] = WeakKeyDictionary()
"""Which layers' outputs are used behind a layer; None where only whole forwards will do."""


class Behind:
    """A network that is run once in full, then from a layer on, inside `live.borrowed`.

    In the forward inside `whole`, what layers give that end before the place is kept: of those that
    stand beside its layer or beside one that holds it, and of its layer, unless the place is what
    that is given. In `again` they give it back instead of running. Once a model and shape this is
    held against the whole forward; where it comes out otherwise, or the place's layer runs several
    times, `again` runs the whole network. A layer that can't be replaced (a script, one that runs
    several times or gives other things than tensors) runs.

    Args:
        module: The network.
        place: What is different when it runs again.
        call: What it is called with.
        in_rows: Whether it is run again for other rows, in numbers of those of the call.
    """

    def __init__(self, module: nn.Module, place: Place, call: Call, *, in_rows: bool) -> None:
        self._module, self._name, self._call = module, place.name, call
        self._in_rows, self._through = in_rows, not place.is_input
        self._layers = named_layers(module)
        beside = {n: layer for n, layer in hookable(module).items() if self._is_beside(n)}
        kinds = (type(call), getattr(call, "method", ""), getattr(call, "part", ""))
        shape = (call.images.shape, call.images.dtype, torch.is_autocast_enabled("cpu"))
        held = tuple((n, id(layer)) for n, layer in beside.items())
        self._key = (self._name, self._through, in_rows, *kinds, *shape, held)
        self._beside = beside
        self._kept: dict[str, tuple[list[Any], Any]] = {}

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Keep what is given before the place, in the one forward inside."""
        known = _known.setdefault(self._module, {})
        wanted = known.get(self._key, frozenset(self._beside))
        runs: Counter[str] = Counter()
        begun = 0
        self._kept = {}

        def begin(_layer: nn.Module, _args: Any) -> None:
            nonlocal begun
            begun += 1

        def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(_layer: nn.Module, _args: Any, output: Any) -> None:
                runs[name] += 1
                is_before = not begun or (name == self._name and begun == 1)
                leaves, spec = pytree.tree_flatten(output)
                if is_before and all(isinstance(leaf, _PLAIN) for leaf in leaves):
                    # A copy: operations in place behind it would change what was seen. What isn't
                    # used has no values: an operation with it and others is an error.
                    is_wanted = wanted is not None and name in wanted
                    kept = [_copy(leaf) if is_wanted else _outline(leaf) for leaf in leaves]
                    self._kept[name] = kept, spec

            return hook

        with ExitStack() as stack:
            layer = self._layers.get(self._name)
            if layer is not None and wanted is not None:
                stack.callback(layer.register_forward_pre_hook(begin).remove)
                for name, other in self._beside.items():
                    stack.callback(other.register_forward_hook(note(name)).remove)
            yield
        once = {name: kept for name, kept in self._kept.items() if runs[name] == 1}
        self._kept = once if begun == 1 else {}

    def again(self, run: Callable[[], T], rows: Tensor | None = None, *, answer: Any) -> T:
        """Return what a function returns that runs the network, from the place on where it can.

        Args:
            run: Called once, or once more where it fails with what is given back.
            rows: Which rows of the call each of its own is, `[N]` int64; None if they are the same.
            answer: What the call answered in the whole forward.
        """
        known = _known.setdefault(self._module, {})
        if self._kept and self._key not in known:
            known[self._key] = self._find_used(answer)
        if self._kept and known[self._key] is not None:
            try:
                with self._given_back(rows):
                    return run()
            except Exception:  # it asks what wasn't used for its device, say; or fails by itself
                every = frozenset(self._beside)
                known[self._key] = None if known[self._key] == every else every
                self._kept = {}
        return run()

    @contextmanager
    def _given_back(self, rows: Tensor | None, seen: _Seen | None = None) -> Iterator[None]:
        size = self._call.size

        def give(name: str, leaves: list[Any], spec: Any) -> Callable[..., Any]:
            def forward(*_args: Any, **_kwargs: Any) -> Any:
                made = [_take(leaf, rows, size) for leaf in leaves]
                if seen is not None:
                    seen.given.update({memory_of(t): name for t in made if isinstance(t, Tensor)})
                    seen.held += made
                return pytree.tree_unflatten(made, spec)

            return forward

        with ExitStack() as stack:
            for name, (leaves, spec) in self._kept.items():
                stack.callback(put(self._layers[name], "forward", give(name, leaves, spec)))
            yield

    def _find_used(self, answer: Any) -> frozenset[str] | None:
        """Return whose outputs are used behind the place; None if the answer is another."""
        size, call, rows = self._call.size, self._call, None
        if self._in_rows:
            rows = torch.tensor([*range(size - 1, -1, -1), 0], device=call.images.device)
            call = call.take(rows)
        seen = _Seen()
        try:
            with torch.no_grad(), self._given_back(rows, seen), seen:
                found = tensors_in(call.run(self._module))
        except Exception:
            return None
        wanted = {path: _take(one.detach(), rows, size) for path, one in tensors_in(answer).items()}
        compared = 0
        for path, one in wanted.items():
            other = found.get(path)
            if other is None or (one.shape != other.shape and size in one.shape[:1]):
                return None
            if one.shape == other.shape and one.is_floating_point():
                compared += 1
                off = (one.float() - other.float()).abs().amax() if one.numel() else torch.zeros(())
                if not off <= _SHARE_OF_SLACK * slack(one) * one.abs().amax().float():
                    return None
        return frozenset(seen.used) if compared else None

    def _is_beside(self, name: str) -> bool:
        if name == self._name:
            return self._through
        parent = name.rpartition(".")[0]
        is_around = self._name.startswith(f"{name}.")
        return not is_around and (not parent or self._name.startswith(f"{parent}."))


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which of some tensors any operation is given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.given: dict[Any, str] = {}
        self.held: list[Any] = []
        self.used: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note what it is given."""
        kwargs = kwargs or {}
        given = map(memory_of, tensors_among([*args, *kwargs.values()]))
        self.used.update(self.given[memory] for memory in given if memory in self.given)
        return func(*args, **kwargs)


_PLAIN = (Tensor, int, float, str, type(None))
_SHARE_OF_SLACK = 0.1
"""Batches of other sizes differ by rounding alone."""


def _copy(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def _outline(leaf: Any) -> Any:
    """Return a tensor's shape and dtype, without its values."""
    return torch.empty_like(leaf, device="meta") if isinstance(leaf, Tensor) else leaf


def _take(leaf: Any, rows: Tensor | None, size: int) -> Any:
    """Return rows of a tensor of which the first axis, or of three the second, is the samples."""
    if not isinstance(leaf, Tensor):
        return leaf
    axis = 0 if leaf.shape[:1] == (size,) else 1
    if rows is None or (axis and (leaf.ndim != 3 or leaf.shape[1] != size)):
        return leaf.clone()
    return leaf.index_select(axis, rows.to(leaf.device))

"""See what makes the texts' embeddings in a validation step, where the pictures' network doesn't.

It is a method that libraries have for it, or a part that is given tokens or strings alone and
answers `[B, D]`. While the step runs these are watched; nothing is changed, and nothing stays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..attribution import put
from ..calls import TextCall
from ..tasks import tensors_in
from .parts import parts_of, shares

TEXT_METHODS = ("encode_text", "get_text_features")
"""Of open_clip and the first CLIP, and of transformers."""

IMAGE_METHODS = ("encode_image", "get_image_features")
"""What they call the other side."""


class TextWatch:
    """Watches steps one by one; from the second on only the part that was chosen."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._chosen: tuple[str, str] | None = None
        self._found: list[tuple[TextCall, Any]] = []
        self._size = self._depth = 0
        self.refusal = ""

    def describe(self, picture: str, method: str) -> str:
        """Return in words which parts' answers are taken for embeddings; empty if nothing is open.

        Of a part, that is, which something may follow; not of a method that is there for it.

        Args:
            picture: Name of the part that answers for a picture; "" is the module itself.
            method: Its method; "" where the part itself is called.
        """
        text = _name(*self._chosen) if self._chosen and self._chosen[1] == "forward" else ""
        names = [name for name in ("" if method else picture, text) if name]
        if not names:
            return ""
        return (
            f"vlmxai: taken for embeddings are the answers of {' and '.join(names)}; what a step "
            "makes of these afterwards, but for their length, is not seen."
        )

    @property
    def is_inside(self) -> bool:
        """Whether something that is given texts alone runs just now."""
        return self._depth > 0

    def begin(self, root: nn.Module, *, size: int, eager: bool = False) -> None:
        """Watch the step that comes.

        Args:
            root: The module whose step it is.
            size: Number of samples in the batch.
            eager: What is compiled runs eagerly, so that it can be looked into.
        """
        self.stop()
        self._size = size
        for name, module in parts_of(root, eager=eager):
            if self._chosen is not None and name != self._chosen[0]:
                continue
            for method in TEXT_METHODS:
                if callable(getattr(module, method, None)):
                    self._undo.append(self._wrap(name, module, method))
            if name:
                self._undo.append(self._hook(name, module))

    def end(self) -> TextCall | None:
        """Stop watching, and return the call that makes the texts' embeddings; None without one."""
        found = [call for call, _ in self._found]
        self.stop()
        kinds = dict.fromkeys((call.part, call.method) for call in found)
        if self._chosen is None and len(kinds) == 1:
            (self._chosen,) = kinds
        mine = [call for call in found if (call.part, call.method) == self._chosen]
        if len(mine) == 1:
            return mine[0]
        if found:
            told = ", ".join(_name(part, method) for part, method in kinds)
            self.refusal = f"{len(found)} calls that may make texts' embeddings ({told})"
        return None

    def stop(self) -> None:
        """Take everything off the module. Safe to call at any time."""
        while self._undo:
            self._undo.pop()()
        self._found, self._depth = [], 0

    def _leave(self, name: str, method: str, args: Any, kwargs: Any, output: Any) -> None:
        self._depth -= 1
        if self._depth:  # a part of what is watched as a whole
            return
        call = TextCall.of_texts(args, kwargs, self._size, part=name, method=method)
        if call is None or not any(
            one.ndim == 2 and len(one) == self._size for one in tensors_in([output]).values()
        ):
            return
        self._found.append((call, output))

    def _wrap(self, name: str, module: nn.Module, method: str) -> Callable[[], None]:
        inner = getattr(module, method)

        @wraps(inner)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            try:
                output = inner(*args, **kwargs)
            except BaseException:
                self._depth -= 1
                raise
            self._leave(name, method, args, kwargs, output)
            return output

        return put(module, method, watched)

    def _hook(self, name: str, module: nn.Module) -> Callable[[], None]:
        has_weights = next(module.parameters(), None) is not None

        def before(_module: nn.Module, args: Any, kwargs: Any) -> None:
            given = pytree.tree_leaves((args, kwargs))
            if has_weights and not self._depth:
                # What goes on through weights is no embedding yet.
                tensors = [one for one in given if isinstance(one, Tensor)]
                self._found = [one for one in self._found if not shares(one[1], tensors)]
            if _are_texts(given):
                self._depth += 1

        def after(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if _are_texts(pytree.tree_leaves((args, kwargs))):
                self._leave(name, "forward", args, kwargs, output)

        try:
            handles = [
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after, with_kwargs=True),
            ]
        except RuntimeError:  # scripted modules take no hook of this kind
            return lambda: None

        def undo() -> None:
            for handle in handles:
                handle.remove()

        return undo


def _are_texts(given: list[Any]) -> bool:
    """Return whether arguments are tokens or strings alone, with settings among them perhaps."""
    kinds = [one.is_floating_point() for one in given if isinstance(one, Tensor)]
    return not any(kinds) and (bool(kinds) or any(isinstance(one, str) for one in given))


def _name(part: str, method: str) -> str:
    return ".".join(filter(None, [part, "" if method == "forward" else method]))

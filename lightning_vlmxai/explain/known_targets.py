"""Layers that were found before."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ..attribution import Target


class KnownTargets:
    """Layers as they were found in a module, by the shapes of what it is called with."""

    def __init__(self) -> None:
        self._module: nn.Module | None = None
        self._found: dict[str, Target] = {}

    def get(self, module: nn.Module, shapes: str, find: Callable[[], Target]) -> Target:
        """Return the layer, found anew in another module or for other shapes."""
        if module is not self._module or len(self._found) > 64:
            self._module, self._found = module, {}
        if shapes not in self._found:
            self._found[shapes] = find()
        return self._found[shapes]

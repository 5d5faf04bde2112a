"""Run a model from some layer on, with what that gives changed, and see whether the logits move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..tasks import logits_of
from .hooks import Place, changed, put
from .reading import Layout
from .sites import Outline, Scene, Site, eager

Changes = Mapping[str, Callable[[Tensor], Tensor]]
"""What is made of the tensor at a place, by the place's name."""


class Trials:
    """Runs that are short: what is done before the first change isn't done again, but gives zeros.

    What it says passes the changed tensor, or makes no difference between two ways to change it.

    Args:
        module: The model.
        scene: What a whole forward showed.
    """

    def __init__(self, module: nn.Module, scene: Scene) -> None:
        self._module = module
        self._scene = scene
        self._one = scene.pair.take(torch.tensor([0]))
        self._in_full: set[int] = set()
        self._lets_through: bool | None = None

    def matters(self, name: str, layout: Layout) -> bool:
        """Return whether the logits depend on the places of the tensor of that name."""
        spoil = {name: partial(layout.spoil, value=torch.nan)}
        spoilt = self._run(spoil)
        if bool(spoilt.isfinite().all()) and self._sees_nan(name):
            return False
        return not self._are_alike({name: _same}, spoil, spoilt)

    def carries(self, later: str, name: str, layout: Layout) -> bool:
        """Return whether all that the places of a tensor say passes a later one."""
        kept: list[Tensor] = []

        def keep(features: Tensor) -> Tensor:
            kept.append(features.clone())
            return features

        spoil = partial(layout.spoil, value=torch.nan)
        return self._are_alike(
            {name: _same, later: keep}, {name: spoil, later: lambda _features: kept[-1]}
        )

    def can_be_met(self, name: str, site: Site) -> bool:
        """Return whether functions are called with a site's tensor so that theirs is found."""
        met: list[Tensor] = []

        def meet(features: Tensor) -> Tensor:
            met.append(features)
            return features.clone()

        self._run({name: meet})
        return bool(met) and all(features.ndim == len(site.shape) for features in met)

    def _sees_nan(self, name: str) -> bool:
        """Return whether NaN in all of a tensor is NaN in the logits; in eight bits it isn't."""
        if self._lets_through is None:
            nothing = self._run({name: lambda features: torch.full_like(features, torch.nan)})
            self._lets_through = bool(nothing.isnan().all())
        return self._lets_through

    def _are_alike(self, clean: Changes, spoilt: Changes, known: Tensor | None = None) -> bool:
        """Return whether two ways to change what layers give, one known, have the same logits."""
        before = self._run(clean)
        if not bool(before.isfinite().all()):  # of the zeros
            self._in_full.add(self._begin(clean))
            before, known = self._run(clean), None
        behind = self._run(spoilt) if known is None else known
        return torch.allclose(behind, before, rtol=1e-3, atol=1e-5)

    def _begin(self, changes: Changes) -> int:
        """Return the event at which the first of the changes is made."""
        places = [Place.parse(name) for name in changes]
        return min(
            site.event
            for site in self._scene.sites
            for place in places
            if place.holds(site.name, site.run, is_output=site.is_output)
        )

    def _run(self, changes: Changes) -> Tensor:
        """Return the logits of one row when what some layers give is changed."""
        begin = self._begin(changes)
        if begin not in self._in_full:
            try:
                return self._answer(changes, self._done_before(begin, changes))
            except Exception:  # a network may not like zeros: then all of it runs
                self._in_full.add(begin)
        return self._answer(changes, {})

    def _done_before(self, event: int, changes: Changes) -> dict[str, Any]:
        """Return what layers give that are done before an event, the outermost of them."""
        done: dict[str, Any] = {}
        later = {Place.parse(name).name for name in changes}
        for name, _, end, output in self._scene.calls:
            if end >= event or output is None:
                later.add(name)
            else:
                done[name] = output
        can = {name for name in done if name not in later}
        return {
            name: done[name]
            for name in can
            if not any(name.startswith(f"{other}.") for other in can)
        }

    def _answer(self, changes: Changes, skipped: dict[str, Any]) -> Tensor:
        layers = self._scene.layers
        with ExitStack() as stack:
            for name, change in changes.items():
                place = Place.parse(name)
                stack.enter_context(changed(layers[place.name], change, place))
            for name, output in skipped.items():
                _skip(stack, layers[name], output, self._one.images.device)
            stack.enter_context(torch.no_grad())
            stack.enter_context(eager())
            return logits_of(self._one.run(self._module)).float()


def _same(features: Tensor) -> Tensor:
    return features


def _skip(stack: ExitStack, layer: nn.Module, output: Any, device: torch.device) -> None:
    """Let a layer give zeros for one row, without running, for as long as the stack is open."""

    def zeros(made: Any) -> Any:
        if not isinstance(made, Outline):
            return type(made)(zeros(part) for part in made)
        rows = 1 if len(made.shape) == 3 and made.shape[0] != 2 and made.shape[1] == 2 else 0
        shape = list(made.shape)
        if shape and shape[rows] % 2 == 0:
            shape[rows] //= 2  # two rows were looked at
        return torch.zeros(shape, dtype=made.dtype, device=device)

    def give(*_args: Any, **_kwargs: Any) -> Any:
        return zeros(output)

    stack.callback(put(layer, "forward", give))

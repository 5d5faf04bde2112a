"""Run a model from some layer on, with what that gives changed, and see whether the logits move."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..tasks import logits_of
from .hooks import Place, changed, named_layers
from .reading import Layout
from .sites import Scene, Site, eager

Changes = dict[str, Callable[[Tensor], Tensor]]
"""What is made of the tensor at a place, by the place's name."""


class Trials:
    """Runs that are short: what is done before the first change isn't done again.

    Args:
        module: The model.
        scene: What a whole forward showed.
    """

    def __init__(self, module: nn.Module, scene: Scene) -> None:
        self._module = module
        self._scene = scene

    def matters(self, name: str, layout: Layout) -> bool:
        """Return whether the logits depend on the places of the tensor of that name."""
        return self._differ(
            {name: lambda features: features},
            {name: partial(layout.spoil, value=torch.nan)},
        )

    def carries(self, later: str, name: str, layout: Layout) -> bool:
        """Return whether all that the places of a tensor say passes a later one."""
        kept: list[Tensor] = []

        def keep(features: Tensor) -> Tensor:
            kept.append(features.clone())
            return features

        return not self._differ(
            {name: lambda features: features, later: keep},
            {name: partial(layout.spoil, value=torch.nan), later: lambda _features: kept[-1]},
        )

    def can_be_met(self, name: str, site: Site) -> bool:
        """Return whether functions are called with a site's tensor so that theirs is found."""
        met: list[Tensor] = []

        def meet(features: Tensor) -> Tensor:
            met.append(features)
            return features.clone()

        try:
            self._run({name: meet}, self._done_before(site.event, {name: meet}))
        except Exception:  # a network may not like zeros
            self._run({name: meet}, {})
        return bool(met) and all(features.shape == site.shape for features in met)

    def _differ(self, clean: Changes, spoilt: Changes) -> bool:
        """Return whether the logits differ between two ways to change what some layers give.

        What ends before the first of these layers isn't run again, but gives zeros: only behind
        it do the two ways differ.
        """
        places = [Place.parse(name) for name in clean]
        begin = min(
            site.event
            for site in self._scene.sites
            for place in places
            if place.holds(site.name, site.run, is_output=site.is_output)
        )
        skipped = self._done_before(begin, clean)
        try:
            before = self._run(clean, skipped)
        except Exception:  # a network may not like zeros: then all of it runs
            before = torch.tensor(torch.nan)
        if not bool(before.isfinite().all()):
            skipped = {}
            before = self._run(clean, skipped)
        behind = self._run(spoilt, skipped)
        return not torch.allclose(behind, before, rtol=1e-3, atol=1e-5)

    def _done_before(self, event: int, changes: Changes) -> dict[str, Any]:
        """Return what layers give that are done before an event, the outermost of them."""
        done: dict[str, Any] = {}
        later: set[str] = set()
        for name, _, end, output in self._scene.calls:
            if end >= event or not _is_plain(output):
                later.add(name)
            else:
                done[name] = output
        kept = {Place.parse(name).name for name in changes}
        can = {name for name in done if name not in later and name not in kept}
        return {
            name: done[name]
            for name in can
            if not any(name.startswith(f"{other}.") for other in can)
        }

    def _run(self, changes: Changes, skipped: dict[str, Any]) -> Tensor:
        layers = named_layers(self._module)
        with ExitStack() as stack:
            for name, change in changes.items():
                place = Place.parse(name)
                stack.enter_context(changed(layers[place.name], change, place))
            for name, output in skipped.items():
                _skip(stack, layers[name], output, self._scene.pair.images.device)
            stack.enter_context(torch.no_grad())
            stack.enter_context(eager())
            return logits_of(self._scene.pair.run(self._module)).float()


def _skip(stack: ExitStack, layer: nn.Module, output: Any, device: torch.device) -> None:
    """Let a layer give zeros, without running, for as long as the stack is open."""

    def give(*_args: Any, **_kwargs: Any) -> Any:
        return torch.utils._pytree.tree_map(
            lambda leaf: (
                torch.zeros(leaf.shape, dtype=leaf.dtype, device=device)
                if isinstance(leaf, Tensor)
                else leaf
            ),
            output,
        )

    had = "forward" in vars(layer)
    before = vars(layer).get("forward")
    vars(layer)["forward"] = give

    def restore() -> None:
        if had:
            vars(layer)["forward"] = before
        else:
            del vars(layer)["forward"]

    stack.callback(restore)


def _is_plain(output: Any) -> bool:
    return all(
        leaf is None or isinstance(leaf, (Tensor, int, float, str, bool))
        for leaf in torch.utils._pytree.tree_leaves(output)
    )

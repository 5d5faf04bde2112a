"""Say why a layer has no gradient, and what can be passed instead."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from ..calls import Call
from ..errors import AttributionError, expected
from ..tasks import logits_of
from .hooks import Place, changed
from .reading import MIXED, SURE
from .search import Choice, Search
from .sites import Scene, Site, hookable, look

WITHOUT_GRADIENTS = ("eigencam", "ablationcam", "scorecam", "rise", "occlusion")
"""The methods that take no gradient, and work wherever the layer is a map, or without one."""

WITHOUT_LAYER = '`method="occlusion"` or `method="rise"`, which need no layer'
"""What can be passed where no layer can be explained."""

_MOST_NAMED = 8
_MOST_READ = 48


def no_gradient(module: nn.Module, call: Call, layer: nn.Module, place: Place) -> AttributionError:
    """Return the error that tells a layer before a cut from one that the output doesn't need.

    Args:
        module: The model.
        call: What it is called with.
        layer: The layer at which there is no gradient.
        place: Which run of it, and what functions make of it.
    """
    scene = look(module, call)
    counts = scene.flow.influential([scene.logits])
    name = next((name for name, other in hookable(module).items() if other is layer), "")
    steps = {site.step for site in scene.sites if site.is_output and site.name == name}
    if not steps & counts:
        return AttributionError(
            expected(
                "target_layer",
                "a layer on which the model's output depends",
                "one without influence on it",
                what_works(module, call, scene),
            )
        )
    behind = _reached(module, call, _usable(module, scene))
    named = str(Place(name=name, run=place.run, steps=place.steps))
    layers = (
        f', or `target_layer="{list(behind)[-1]}"`, which lies behind the cut' if behind else ""
    )
    methods = ", ".join(f'`method="{method}"`' for method in WITHOUT_GRADIENTS)
    return AttributionError(
        expected(
            "method",
            "one that needs no gradient, where these are cut between the layer and the output "
            "(no_grad, detach, inference_mode, a checkpoint, quantisation)",
            f"one that takes them at {named!r}",
            f'Pass `method="auto"`, or one of {methods}{layers}',
        )
    )


def what_works(module: nn.Module, call: Call, scene: Scene) -> str:
    """Return layers that can be explained, and a method that needs none, as arguments to paste.

    Named are the last layers whose output is a map of the picture, on which the logits depend, and
    that gradients reach; where they reach none, with a method that takes none.

    Args:
        module: The model.
        call: What it is called with.
        scene: What its forward showed.
    """
    usable = _usable(module, scene)
    reached = _reached(module, call, usable)
    method = "" if reached else ', method="ablationcam"'
    shown = reached or usable
    if not shown:
        return f"Pass {WITHOUT_LAYER}"
    listed = ", ".join(f"{name} {scene.one_row(site)}" for name, site in shown.items())
    last = list(shown)[-1]
    return f'Name one of: {listed}, as `target_layer="{last}"{method}`, or pass {WITHOUT_LAYER}'


def _usable(module: nn.Module, scene: Scene) -> dict[str, Site]:
    """Return the last places that can be explained, by name, in order."""
    search = Search(module, scene)
    counts = scene.flow.influential([scene.logits])
    found: dict[str, Site] = {}
    for site in [s for s in scene.sites if s.is_output and s.step in counts][:-_MOST_READ:-1]:
        read = search.layouts.of(site)
        if read is None or read[1] < (SURE if scene.runs[site.name] == 1 else MIXED):
            continue
        choice = Choice(site=site, layout=read[0], sure=read[1])
        if search.matters(choice):
            found[search.name_of(choice)] = site
        if len(found) == _MOST_NAMED:
            break
    return dict(reversed(found.items()))


def _reached(module: nn.Module, call: Call, usable: dict[str, Site]) -> dict[str, Site]:
    """Return those that gradients reach."""
    reached = set(behind_cuts(module, call)) if usable else set()
    return {name: site for name, site in usable.items() if site.name in reached}


def behind_cuts(module: nn.Module, call: Call) -> list[str]:
    """Return the layers with a map, `[B, C, h, w]` or tokens, that gradients reach, in order."""
    added: list[tuple[str, Tensor]] = []

    def add(name: str, features: Tensor) -> Tensor | None:
        shape = features.shape[1:]
        is_map = (features.ndim == 4 and shape[1:] != (1, 1)) or features.ndim == 3
        if not is_map or features.is_inference() or not features.is_floating_point():
            return None
        nothing = torch.zeros((), dtype=features.dtype, device=features.device).requires_grad_()
        added.append((name, nothing))
        return features + nothing

    with ExitStack() as stack:
        for name, layer in hookable(module).items():
            stack.enter_context(
                changed(layer, lambda features, name=name: add(name, features))  # type: ignore[misc]
            )
        stack.enter_context(torch.enable_grad())
        try:
            logits = logits_of(call.take(torch.tensor([0])).run(module))
            leaves = [leaf for _, leaf in added]
            if not leaves or not logits.requires_grad:
                return []
            found = torch.autograd.grad(logits.sum(), leaves, allow_unused=True)
        except RuntimeError:  # tensors of inference mode can't be recorded
            return []
    return [name for (name, _), grad in zip(added, found, strict=True) if grad is not None]

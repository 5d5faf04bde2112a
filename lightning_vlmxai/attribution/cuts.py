"""Say why a layer has no gradient, and what works there."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from ..calls import Call
from ..errors import AttributionError, expected
from ..tasks import logits_of
from .hooks import Place, changed
from .sites import hookable, look

WITHOUT_GRADIENTS = ("eigencam", "ablationcam", "scorecam", "cam", "rise", "occlusion")
"""The methods that take no gradient."""


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
                f"Name one of: {scene.describe()}",
            )
        )
    behind = behind_cuts(module, call)
    named = str(Place(name=name, run=place.run, steps=place.steps))
    layers = f', or `target_layer="{behind[-1]}"`, which lies behind the cut' if behind else ""
    methods = ", ".join(f'"{method}"' for method in WITHOUT_GRADIENTS)
    return AttributionError(
        expected(
            "method",
            "one that needs no gradient, where these are cut between the layer and the output "
            "(no_grad, detach, inference_mode, a checkpoint, quantisation)",
            f"one that takes them at {named!r}",
            f'Pass `method="auto"`, or one of {methods}{layers}',
        )
    )


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

"""Leaf capture: a layer's activations and the score's gradients there, from one forward.

Nothing before the layer is recorded by autograd, and no parameter's `.grad` is touched: the
layer's output is cut off, made a leaf, and the gradient is taken with respect to that leaf alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..calls import Call, as_call
from ..errors import AttributionError, expected
from .cuts import no_gradient, what_works
from .grids import Reshape, make_reshape
from .hooks import Place, changed
from .sites import look


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What one forward (and the part of a backward behind the layer) gave.

    Args:
        output: The model's output; a tensor is detached.
        activations: The target layer's output as a feature map, `[B, C, h, w]`, float32.
        gradients: Of the targets' sum with respect to it, `[B, C, h, w]`, float32; None if they
            were not asked for.
    """

    output: Any
    activations: Tensor
    gradients: Tensor | None


def capture(
    module: nn.Module,
    layer: nn.Module,
    inputs: Tensor | Call,
    target: Callable[[Any], Tensor],
    *,
    place: Place | None = None,
    reshape: Reshape | None = None,
    gradients: bool = True,
) -> Capture:
    """Return the activations of a layer and the gradients of a score with respect to them.

    Call it inside `live.borrowed`, which sees to modes and state.

    Args:
        module: The model.
        layer: One of its submodules; what it gives in several runs counts as channels of one map.
        inputs: What it is called with; a tensor is pictures `[B, C, H, W]`.
        target: Maps the model's output to the scores to explain, `[B]`.
        place: Which run of it counts, and what functions make of it.
        reshape: From the layer's output to a feature map; `grids.fold` if None.
        gradients: Whether to take them; without, nothing at all is recorded by autograd.

    Raises:
        AttributionError: If the layer is not run, gives no feature map, or the score does not
            depend on it; the message lists layers that could be named.

    Source: Selvaraju et al., 2017, arXiv 1610.02391, section 3: only d y / d A is needed.
    """
    call = as_call(inputs)
    place = place or Place(name="")
    as_map = reshape or make_reshape((call.images.shape[-2], call.images.shape[-1]))
    grad_enabled = torch.is_grad_enabled()
    try:
        with torch.no_grad(), leaf_at(layer, place, gradients=gradients) as leaves:
            output = call.run(module)
            if not leaves:
                raise _UnusableError(
                    "a layer that runs in the model's forward", "one that never ran"
                )
            with torch.enable_grad():
                scores = target(output)
            activations = _join([_to_map(leaf.detach(), reshape, as_map) for leaf in leaves])
            gradient = None
            if gradients:
                found = (
                    torch.autograd.grad(scores.sum(), leaves, allow_unused=True)
                    if scores.requires_grad
                    else [None]
                )
                if all(part is None for part in found):
                    raise CutError
                parts = [
                    torch.zeros_like(leaf) if part is None else part
                    for leaf, part in zip(leaves, found, strict=True)
                ]
                gradient = _join([as_map(part).float() for part in parts])
    except CutError:
        raise no_gradient(module, call, layer, place) from None
    except _UnusableError as error:
        remedy = error.remedy or what_works(module, call, look(module, call))
        raise AttributionError(expected(error.argument, error.rule, error.got, remedy)) from None
    finally:
        torch.set_grad_enabled(grad_enabled)
    return Capture(
        output=output.detach() if isinstance(output, Tensor) else output,
        activations=activations.float(),
        gradients=gradient,
    )


@contextmanager
def leaf_at(
    layer: nn.Module, place: Place | None = None, *, gradients: bool = True
) -> Iterator[list[Tensor]]:
    """Cut the model in two at a layer, for the forwards inside; what it gave is in the list.

    Args:
        layer: Whose output becomes a leaf of the graph.
        place: Which run of it, and what functions make of it.
        gradients: Whether what comes behind is recorded; grad mode is the caller's to restore.

    Yields:
        The leaves so far, one for each time that the layer ran.
    """
    leaves: list[Tensor] = []

    def cut(features: Tensor) -> Tensor | None:
        if not gradients:
            # A copy: in-place operations behind the layer would change what was seen.
            leaves.append(features.detach().clone())
            return None
        if features.is_inference() or not features.is_floating_point():
            raise CutError
        leaf = features.detach().requires_grad_()
        leaves.append(leaf)
        # From here on the forward is recorded; the caller's grad mode is set back later.
        torch.set_grad_enabled(True)
        # The clone keeps in-place operations behind the layer (ReLU(inplace=True)) off the leaf.
        return leaf.clone()

    with changed(layer, cut, place):
        yield leaves


class CutError(Exception):
    """No gradient can be taken at a layer."""


class _UnusableError(Exception):
    """A layer can't be explained; `capture` adds the layers that can."""

    argument, remedy = "target_layer", ""

    def __init__(self, rule: str, got: str) -> None:
        super().__init__(rule, got)
        self.rule, self.got = rule, got


class _ReshapeError(_UnusableError):
    """The user's own reading gives no map."""

    argument = "reshape_transform"
    remedy = "Pass `reshape_transform=None`, with which it is found how the layer lies"


def _join(maps: list[Tensor]) -> Tensor:
    """Return the maps of several runs as one with all of their channels."""
    if any(part.shape[2:] != maps[0].shape[2:] for part in maps):
        sizes = ", ".join(str(list(part.shape)) for part in maps)
        raise _UnusableError("a layer that runs once, or gives maps of one size", sizes)
    return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)


def _to_map(features: Tensor, reshape: Reshape | None, as_map: Reshape) -> Tensor:
    try:
        activations = as_map(features)
    except AttributionError:
        if reshape is not None:
            raise  # the layer lies otherwise than before, and so may those that could be named
        raise _UnusableError(
            "a layer whose output is a feature map [B, C, h, w], [B, h, w, C] or [B, N, C]",
            f"a tensor {list(features.shape)}",
        ) from None
    if activations.ndim != 4:
        raise _ReshapeError(
            "a function from the layer's output to [B, C, h, w]",
            f"{list(activations.shape)} from {list(features.shape)}",
        )
    return activations

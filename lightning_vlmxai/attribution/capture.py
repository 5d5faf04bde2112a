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
from .grids import Reshape, make_reshape


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What every layer gave in one forward.

    Args:
        outputs: Dotted name and output of each layer, in the order in which they finished.
        result: The model's output.
    """

    outputs: tuple[tuple[str, Any], ...]
    result: Any

    def describe(self) -> str:
        """Return the last layers with a tensor of three or four axes, and their shapes."""
        shapes = [
            f"{name} {list(features.shape)}"
            for name, output in self.outputs
            if (features := first_tensor(output)) is not None and features.ndim in (3, 4)
        ]
        return ", ".join(shapes[-12:]) or "no layer with an output of three or four axes"


def capture(
    module: nn.Module,
    layer: nn.Module,
    inputs: Tensor | Call,
    target: Callable[[Any], Tensor],
    *,
    reshape: Reshape | None = None,
    gradients: bool = True,
) -> Capture:
    """Return the activations of a layer and the gradients of a score with respect to them.

    Call it inside `live.borrowed`, which sees to modes and state.

    Args:
        module: The model.
        layer: One of its submodules; where it runs several times the last run counts.
        inputs: What it is called with; a tensor is pictures `[B, C, H, W]`.
        target: Maps the model's output to the scores to explain, `[B]`.
        reshape: From the layer's output to a feature map; `grids.fold` if None.
        gradients: Whether to take them; without, nothing at all is recorded by autograd.

    Raises:
        AttributionError: If the layer is not run, gives no feature map, or the score does not
            depend on it; the message lists layers that could be named.

    Source: Selvaraju et al., 2017, arXiv 1610.02391, section 3: only d y / d A is needed.
    """
    call = as_call(inputs)
    as_map = reshape or make_reshape((call.images.shape[-2], call.images.shape[-1]))
    grad_enabled = torch.is_grad_enabled()
    try:
        with torch.no_grad(), leaf_at(layer, gradients=gradients) as leaves:
            output = call.run(module)
            if not leaves:
                raise _UnusableError(
                    "a layer that runs in the model's forward", "one that never ran"
                )
            with torch.enable_grad():
                scores = target(output)
            leaf = leaves[-1]
            activations = _to_map(as_map, leaf.detach())
            gradient = None
            if gradients:
                gradient = (
                    torch.autograd.grad(scores.sum(), leaf, allow_unused=True)[0]
                    if scores.requires_grad
                    else None
                )
                if gradient is None:
                    raise _UnusableError(
                        "a layer on which the model's output depends", "one without influence on it"
                    )
                gradient = as_map(gradient).float()
    except _UnusableError as error:
        observed = observe(module, call.take(torch.tensor([0])))
        raise AttributionError(
            expected("target_layer", error.rule, error.got, f"Name one of: {observed.describe()}")
        ) from None
    finally:
        torch.set_grad_enabled(grad_enabled)
    return Capture(
        output=output.detach() if isinstance(output, Tensor) else output,
        activations=activations.float(),
        gradients=gradient,
    )


@contextmanager
def leaf_at(layer: nn.Module, *, gradients: bool = True) -> Iterator[list[Tensor]]:
    """Cut the model in two at a layer, for the forwards inside; what it gave is in the list.

    Args:
        layer: Whose output becomes a leaf of the graph.
        gradients: Whether what comes behind is recorded; grad mode is the caller's to restore.

    Yields:
        The leaves so far, one for each time that the layer ran.
    """
    leaves: list[Tensor] = []

    def cut(_module: nn.Module, _args: Any, output: Any) -> Any:
        features = first_tensor(output)
        if features is None:
            raise _UnusableError("a layer whose output is a tensor", type(output).__name__)
        if not gradients:
            # A copy: in-place operations behind the layer would change what was seen.
            leaves.append(features.detach().clone())
            return None
        leaf = features.detach().requires_grad_()
        leaves.append(leaf)
        # From here on the forward is recorded; the caller's grad mode is set back later.
        torch.set_grad_enabled(True)
        # The clone keeps in-place operations behind the layer (ReLU(inplace=True)) off the leaf.
        return replace_first(output, leaf.clone())

    handle = layer.register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()


def observe(module: nn.Module, inputs: Tensor | Call) -> Observation:
    """Return what every layer gives in one forward.

    Call it inside `live.borrowed`.

    Args:
        module: The model; called once.
        inputs: What it is called with, or pictures `[B, C, H, W]`; one sample is enough.
    """
    outputs: list[tuple[str, Any]] = []

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            outputs.append((name, output))

        return hook

    handles = [m.register_forward_hook(note(n)) for n, m in named_layers(module).items()]
    try:
        result = as_call(inputs).run(module)
    finally:
        for handle in handles:
            handle.remove()
    return Observation(outputs=tuple(outputs), result=result)


def named_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return every submodule by its dotted name; `torch.compile`'s wrappers don't count.

    Example:
        >>> list(named_layers(nn.Sequential(nn.ReLU(), nn.ReLU())))
        ['0', '1']
    """
    return {
        clean: child
        for name, child in module.named_modules()
        if (clean := ".".join(part for part in name.split(".") if part != "_orig_mod"))
    }


def first_tensor(output: Any) -> Tensor | None:
    """Return a layer's output, or the first entry of a tuple, if that is a tensor."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def replace_first(output: Any, features: Tensor) -> Any:
    """Return a layer's output with `first_tensor` replaced."""
    if isinstance(output, Tensor):
        return features
    return (features, *output[1:])


class _UnusableError(Exception):
    """A layer can't be explained; `capture` adds the layers that can."""

    def __init__(self, rule: str, got: str) -> None:
        super().__init__(rule, got)
        self.rule, self.got = rule, got


def _to_map(as_map: Reshape, features: Tensor) -> Tensor:
    try:
        activations = as_map(features)
    except AttributionError:
        raise _UnusableError(
            "a layer whose output is a feature map [B, C, h, w], [B, h, w, C] or [B, N, C]",
            f"a tensor {list(features.shape)}",
        ) from None
    if activations.ndim != 4:
        raise _UnusableError(
            "one whose output `reshape_transform` turns into [B, C, h, w]",
            f"{list(activations.shape)} from {list(features.shape)}",
        )
    return activations

"""Leaf capture: a layer's activations and the score's gradients there, from one forward.

Nothing before the layer is recorded by autograd, and no parameter's `.grad` is touched: the
layer's output is cut off, made a leaf, and the gradient is taken with respect to that leaf alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AttributionError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What one forward (and the part of a backward behind the layer) gave.

    Args:
        output: The model's output, detached where it is a tensor.
        activations: The target layer's output, `[B, C, h, w]`, float32.
        gradients: Of the targets' sum with respect to it, `[B, C, h, w]`, float32.
    """

    output: Any
    activations: Tensor
    gradients: Tensor


def capture(
    module: nn.Module, layer: nn.Module, inputs: Tensor, target: Callable[[Any], Tensor]
) -> Capture:
    """Return the activations of a layer and the gradients of a score with respect to them.

    Call it inside `live.borrowed`, which sees to modes and state.

    Args:
        module: The model; called as `module(inputs)`.
        layer: One of its submodules, whose output is `[B, C, h, w]`.
        inputs: `[B, C, H, W]`.
        target: Maps the model's output to the scores to explain, `[B]`.

    Raises:
        AttributionError: If the layer is not run, gives no feature map, or the score does not
            depend on it.

    Source: Selvaraju et al., 2017, arXiv 1610.02391, section 3: only d y / d A is needed.
    """
    leaf: Tensor | None = None

    def cut(_module: nn.Module, _args: Any, output: Any) -> Tensor:
        nonlocal leaf
        if not isinstance(output, Tensor) or output.ndim != 4:
            got = f"a tensor {list(output.shape)}" if isinstance(output, Tensor) else type(output)
            raise AttributionError(
                expected(
                    "target_layer",
                    "a layer whose output is a feature map [B, C, h, w]",
                    got,
                    "Name another layer",
                )
            )
        leaf = output.detach().requires_grad_()
        # From here on the forward is recorded; the caller's grad mode is set back below.
        torch.set_grad_enabled(True)
        # The clone keeps in-place operations behind the layer (ReLU(inplace=True)) off the leaf.
        return leaf.clone()

    handle = layer.register_forward_hook(cut)
    grad_enabled = torch.is_grad_enabled()
    try:
        with torch.no_grad():
            output = module(inputs)
            if leaf is None:
                raise AttributionError(
                    expected(
                        "target_layer",
                        "a layer that runs in the model's forward",
                        "one that never ran",
                        "Name a layer that `forward` calls",
                    )
                )
            with torch.enable_grad():
                score = target(output).sum()
            gradient = (
                torch.autograd.grad(score, leaf, allow_unused=True)[0]
                if score.requires_grad
                else None
            )
    finally:
        handle.remove()
        torch.set_grad_enabled(grad_enabled)
    if gradient is None:
        raise AttributionError(
            expected(
                "target_layer",
                "a layer on which the model's output depends",
                "one without influence on it",
                "Name a layer between input and output",
            )
        )
    return Capture(
        output=output.detach() if isinstance(output, Tensor) else output,
        activations=leaf.detach().float(),
        gradients=gradient.float(),
    )

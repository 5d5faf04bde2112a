"""What a network is asked, and what a judge is told."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..calls import Call
from ..records import Explanation, JudgeRequest
from .live import LiveModel


def ask_with_gradients(live: LiveModel, call: Call) -> Any:
    """Return what the network answers, with the operations that made it recorded.

    Args:
        live: The model; it is left as it was.
        call: What it is called with.
    """
    with live.lent() as module, torch.enable_grad():
        ready = to_module(call, module)
        if ready.images.is_floating_point():
            # Where all parameters are frozen; a copy, for networks that work in place.
            ready = ready.with_images(ready.images.detach().requires_grad_().clone())
        return ready.run(module)


def ask_with_another_picture(live: LiveModel, call: Call) -> tuple[Any, Any]:
    """Return what the network answers, and what it does where the picture alone is another.

    Args:
        live: The model; it is left as it was.
        call: What it is called with.
    """
    with live.lent() as module:
        ready = to_module(call, module)
        images = ready.images
        other = 1 - images if images.is_floating_point() else 255 - images
        return ready.run(module), ready.with_images(other).run(module)


def make_request(
    explanation: Explanation, *, round_number: int = 0, stage: str = "fit"
) -> JudgeRequest:
    """Return what a judge is told about an explanation: the predicted label, never the true one."""
    return JudgeRequest(
        probe_index=explanation.probe_index,
        label_name=explanation.prediction_name,
        pixels=explanation.pixels,
        mask=explanation.mask,
        saliency=explanation.saliency,
        fill=explanation.fill,
        reference_mask=explanation.reference_mask,
        round_number=round_number,
        stage=stage,
    )


def to_module(call: Call, module: nn.Module) -> Call:
    """Return the call on the module's device, its pictures in the dtype of the parameters."""
    parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
    return call if parameter is None else call.to(parameter.device, parameter.dtype)

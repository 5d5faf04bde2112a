"""The parameters behind the target layer, and random ones in their place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .capture import CutError, leaf_at
from .subject import Subject


def find_head(subject: Subject) -> list[nn.Parameter]:
    """Return the parameters on which the score depends behind the target layer.

    The model is cut in two there, and autograd tells which parameters the score still depends on.
    Call it inside `live.borrowed`, which gives back their `requires_grad`.

    Args:
        subject: What is explained.

    Returns:
        None of them where the layer is the model's last part that has any, where gradients don't
        come through, or where some are no plain floating tensors (quantised ones, say).
    """
    parameters = list(subject.module.parameters())
    if not all(_is_plain(one) for one in parameters):
        return []
    for one in parameters:
        one.requires_grad_(True)
    grad_enabled = torch.is_grad_enabled()
    try:
        with torch.no_grad(), leaf_at(subject.layer, subject.place) as leaves:
            output = subject.call.run(subject.module)
            with torch.enable_grad():
                total = subject.task.predict(output).scores.sum()
        if not leaves or not total.requires_grad or not parameters:
            return []
        found = torch.autograd.grad(total, parameters, allow_unused=True)
    except CutError:
        return []
    finally:
        torch.set_grad_enabled(grad_enabled)
    return [one for one, part in zip(parameters, found, strict=True) if part is not None]


@contextmanager
def randomized(parameters: Sequence[nn.Parameter], *, seed: int = 0) -> Iterator[None]:
    """Give parameters random values of the same size for a while.

    Matrices and kernels are normal about 0, as wide as they were; those of one axis (biases,
    norms' weights) are shuffled. The values themselves lie aside, so that they come back as they
    were, to the bit and in their place.

    Args:
        parameters: Floating ones.
        seed: Of the values.

    Source: Adebayo et al., 2018, arXiv 1810.03292, section 3: independent of what was learned.
    """
    generator = torch.Generator().manual_seed(seed)
    kept = [one.data for one in parameters]
    try:
        for one, values in zip(parameters, kept, strict=True):
            one.data = _draw(values, generator)
        yield
    finally:
        for one, values in zip(parameters, kept, strict=True):
            one.data = values


def seen_by_head(subject: Subject) -> list[Tensor]:
    """Return what the target layer gives on, one tensor for each time that it ran."""
    with torch.no_grad(), leaf_at(subject.layer, subject.place, gradients=False) as leaves:
        subject.call.run(subject.module)
    return list(leaves)


def _draw(values: Tensor, generator: torch.Generator) -> Tensor:
    if values.ndim < 2:
        order = torch.randperm(values.numel(), generator=generator).to(values.device)
        return values.flatten()[order].view_as(values)
    width = float(values.float().square().mean().sqrt())
    if not math.isfinite(width) or width == 0:
        width = (values.numel() / len(values)) ** -0.5
    return (torch.randn(values.shape, generator=generator) * width).to(values)


def _is_plain(parameter: nn.Parameter) -> bool:
    return parameter.is_floating_point() and type(parameter.data) is Tensor

"""Probabilities where logits are expected: how they are recognised, and turned into logits."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from ..errors import AttributionError, expected

_PROBABILITIES = {"Sigmoid", "Softmax"}
_OTHERS = re.compile(
    "Addmm|Mm|Bmm|Baddbmm|Linear|MkldnnLinear|.*Convolution.*|.*Norm|LogSoftmax|Relu|Gelu|Silu|"
    ".*Pool.*"
)
"""Operations that make no probabilities."""
_BETWEEN = re.compile(
    "Add|Alias|Amax|Amin|AsStrided|Cat|Clamp.*|Clone|Div|Expand|Flip|Index|Max|Mean|Min|Mul|Neg|Permute|"
    "ReshapeAlias|"
    "Select|Slice|Split|Squeeze|Stack|Sub|Sum|T|ToCopy|Transpose|Unbind|UnsafeView|Unsqueeze|"
    "Upsample.*|View|.*Copy.*"
)
"""Operations that leave them what they are, or average them."""


def are_distributions(values: Tensor) -> bool:
    """Return whether every sample's values along axis 1 are in [0, 1] and sum to 1.

    Logits are so only by an accident of measure zero. The sum may be off by 1e-3, in 16 bits by
    4e-3, their rounding.

    Example:
        >>> are_distributions(torch.tensor([[0.2, 0.8]])), are_distributions(torch.zeros(1, 2))
        (True, False)
    """
    if values.ndim < 2 or not are_in_unit_interval(values):
        return False
    slack = 1e-3 if values.element_size() > 2 else 4e-3
    return bool(((values.detach().float().sum(dim=1) - 1).abs() <= slack).all())


def are_in_unit_interval(values: Tensor) -> bool:
    """Return whether all values are in [0, 1]; logits may be so as well."""
    known = values.detach()
    return bool(((known >= 0) & (known <= 1)).all())


def made_by_sigmoid(values: Tensor) -> bool | None:
    """Return whether a sigmoid or softmax made the values, by their graph; None if it can't tell.

    Args:
        values: As the model gave them, with gradients recorded.

    Example:
        >>> x = torch.zeros(2, requires_grad=True)
        >>> made_by_sigmoid(x.sigmoid().view(2, 1)), made_by_sigmoid(x.exp())
        (True, None)
    """
    nodes = [values.grad_fn]
    if not nodes[0]:
        return None
    is_known = True
    for _ in range(64):
        if not nodes:
            break
        node = nodes.pop(0)
        if node is None or node.name().endswith("AccumulateGrad"):
            continue
        name = re.sub(r"Backward\d*$", "", node.name())
        if name in _PROBABILITIES:
            return True
        if _BETWEEN.fullmatch(name):
            nodes += [inner for inner, _ in node.next_functions]
        elif not _OTHERS.fullmatch(name):
            is_known = False
    return False if is_known and not nodes else None


def read_sigmoids(values: Tensor, task: str) -> bool:
    """Return whether values are probabilities: in [0, 1], and not seen to be made otherwise.

    Args:
        values: Of a batch.
        task: Name of the task that asks, for the message.

    Raises:
        AttributionError: If one number alone is all there is to tell by.
    """
    if not are_in_unit_interval(values):
        return False
    known = made_by_sigmoid(values)
    if known is None and values.numel() == 1:
        raise AttributionError(
            expected(
                "from_probabilities",
                "given where a single number in [0, 1] is all that can be seen",
                f"{float(values.detach()):g}",
                f"Pass `task={task}(from_probabilities=False)` if it is a logit, or True",
            )
        )
    return known is not False


def log_of(probabilities: Tensor) -> Tensor:
    """Return logarithms, float32: logits of the softmax that made the probabilities."""
    values = probabilities.float()
    return values.clamp_min(torch.finfo(values.dtype).tiny).log()


def logit_of(probabilities: Tensor) -> Tensor:
    """Return log-odds, float32: what a sigmoid was given."""
    values = probabilities.float()
    return log_of(values) - log_of(1 - values)

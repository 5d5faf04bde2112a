from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vlmxai.attribution.flow import Flow, unseen

PICTURE = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def _names(function: Callable[[Tensor], Tensor]) -> list[str]:
    """Return the operations that all of the picture's influence passes."""
    picture = PICTURE.clone()
    with torch.no_grad(), Flow(picture) as flow:
        answer = function(picture)
    return [flow.steps[step].name.removeprefix("aten.") for step in flow.passages([answer])]


def _residual(x: Tensor) -> Tensor:
    return (x + x.exp()).sum()


def _side(x: Tensor) -> Tensor:
    x.cos()  # leads nowhere
    return x.sin().sum() + x.exp().sum()


def _buffer(x: Tensor) -> Tensor:
    held = torch.zeros(1, 3, 4, 4)
    held[:, :2] = x
    return held.sum()


def _in_place(x: Tensor) -> Tensor:
    part = x.exp()
    part.mul_(2)
    return part.view(-1).sum()


def _cut(x: Tensor) -> Tensor:
    with torch.inference_mode():
        inner = x.exp()
    return inner.detach().clone().sum()


def _other(_picture: Tensor) -> Tensor:
    return torch.ones(3).sum()


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (_residual, ["picture", "add", "sum"]),
        (_side, ["picture", "add"]),
        (_buffer, ["picture", "copy_", "sum"]),
        (_in_place, ["picture", "exp", "mul_", "view", "sum"]),
        (_cut, ["picture", "exp", "detach", "clone", "sum"]),
        (_other, []),
    ],
)
def test_passages_are_what_nothing_goes_round(
    function: Callable[[Tensor], Tensor], wanted: list[str]
) -> None:
    """Branches are none, dead ends don't count, buffers, views and cut gradients are followed."""
    assert _names(function) == wanted


def test_memory_that_is_used_again_is_another_thing() -> None:
    """What takes the place of a tensor that is gone has nothing of the picture."""
    picture = PICTURE.clone()
    with torch.no_grad(), Flow(picture) as flow:
        for _ in range(20):
            gone = picture * 2
            del gone
            fresh = torch.ones_like(PICTURE) * 3
            assert flow.step_of(fresh) is None
            del fresh


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
def test_scripts_are_looked_into() -> None:
    """A scripted function is the operations that it is made of."""
    script = torch.jit.script(_residual)
    assert "add" in _names(script)


def test_what_is_unseen_is_no_step() -> None:
    """What is done unseen leaves nothing behind."""
    picture = PICTURE.clone()
    with torch.no_grad(), Flow(picture) as flow:
        with unseen():
            F.relu(picture)
        assert len(flow.steps) == 1

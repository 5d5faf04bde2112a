"""A borrowed model comes back exactly as it was."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_vlmxai import AttributionError
from lightning_vlmxai.live import borrowed


class Counting(nn.Module):
    """Counts its forwards in a buffer, also in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("forwards", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output, having counted."""
        self.forwards += 1
        return self.norm(self.linear(inputs))


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_flags_buffers_generators_and_modes_are_restored(error: type[BaseException] | None) -> None:
    """On return and on any exception."""
    module = Counting().train()
    module.norm.eval()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    try:
        with borrowed(module):
            assert not any(child.training for child in module.modules())
            assert not torch.is_grad_enabled()
            module(torch.rand(4, 2))
            random.random()  # noqa: S311
            np.random.rand()  # noqa: NPY002
            assert module.forwards == 1
            if error:
                raise error
    except (RuntimeError, KeyboardInterrupt):
        assert error is not None
    assert module.training
    assert module.linear.training
    assert not module.norm.training
    assert torch.is_grad_enabled()
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert np.random.get_state()[1].tolist() == generators[2]  # noqa: NPY002


def test_a_parameter_changed_by_forward_is_named() -> None:
    """Weights are the user's: a change is an error, not something to paper over."""
    module = nn.Linear(2, 2)
    with (
        pytest.raises(AttributionError, match=r"new values in weight\. Move the update"),
        borrowed(module),
    ):
        module.weight.add_(1)


def test_autograd_works_inside_although_the_caller_is_in_inference_mode() -> None:
    """`validate()` runs under inference mode, in which nothing can be differentiated."""
    module = nn.Linear(2, 1)
    with torch.inference_mode(), borrowed(module), torch.enable_grad():
        leaf = torch.ones(1, 2, requires_grad=True)
        (gradient,) = torch.autograd.grad(module(leaf).sum(), leaf)
    assert torch.equal(gradient, module.weight.detach())

"""Borrow a live model and give it back exactly as it was.

`borrowed` is the one place that upholds the promise that training with the callback is
bit-identical to training without it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from .errors import AttributionError, expected


@contextmanager
def isolated_rng(seed: int | None = None) -> Iterator[None]:
    """Give python's, numpy's and torch's global generators back as they were, on every device.

    Args:
        seed: Seed for the block; None goes on from the present state.

    Example:
        >>> before = torch.get_rng_state()
        >>> with isolated_rng(0):
        ...     _ = torch.rand(3)
        >>> torch.equal(before, torch.get_rng_state())
        True
    """
    python_state, numpy_state, torch_state = (
        random.getstate(),
        np.random.get_state(),  # noqa: NPY002 - the global generator is what others draw from
        torch.get_rng_state(),
    )
    # Asking for CUDA's state would initialise CUDA; what is not initialised can't be drawn from.
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)


@contextmanager
def borrowed(module: nn.Module) -> Iterator[nn.Module]:
    """Lend a live module in eval mode and restore its state on return and on any exception.

    Restored: every module's training flag, buffers, all random generators, grad mode and
    inference mode; compiled modules run eagerly inside, so that hooks fire. `.grad`,
    `requires_grad` and hooks are the borrower's to leave alone (leaf capture does).

    Args:
        module: The live module.

    Yields:
        The module, in eval mode, under `no_grad` and outside of inference mode.

    Raises:
        AttributionError: If the module's own forward changed a parameter; it names it.

    Example:
        >>> module = nn.Linear(2, 2)
        >>> with borrowed(module) as lent:
        ...     lent.training, torch.is_grad_enabled()
        (False, False)
        >>> module.training
        True
    """
    flags = [(child, child.training) for child in module.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    versions = {name: _version(p) for name, p in module.named_parameters()}
    with ExitStack() as stack:
        stack.enter_context(isolated_rng())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if any(hasattr(child, "_orig_mod") for child, _ in flags):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for child, _ in flags:
                # Not eval(): users override it (to keep a frozen part in eval, say).
                child.training = False
            yield module
        finally:
            for child, flag in flags:
                child.training = flag
            for buffer, saved in buffers:
                if not torch.equal(buffer, saved):
                    buffer.copy_(saved)
    changed = [n for n, p in module.named_parameters() if versions.get(n) != _version(p)]
    if changed:
        raise AttributionError(
            expected(
                "module",
                "unchanged by its own forward in eval mode",
                f"new values in {', '.join(changed)}",
                "Move the update out of forward, or behind `if self.training`",
            )
        )


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version

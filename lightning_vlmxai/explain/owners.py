"""Whose code an object's is: the user's own, an installed package's, or nobody's business."""

from __future__ import annotations

import sys
import sysconfig
from functools import cache
from pathlib import Path

from torch import nn

_PYTHONS = tuple(
    {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib")}
)
_OURS = str(Path(__file__).resolve().parents[1])
# These work beside the training: threads, clocks, files and screens of their own.
_CLOSED = (
    "_thread",
    "asyncio",
    "concurrent",
    "ctypes",
    "lightning.pytorch.callbacks.progress",
    "lightning.pytorch.loggers",
    "lightning.pytorch.loops",
    "lightning.pytorch.strategies",
    "lightning.pytorch.trainer",
    "lightning.fabric",
    "lightning_vlmxai",
    "logging",
    "multiprocessing",
    "pytorch_lightning.callbacks.progress",
    "pytorch_lightning.loggers",
    "pytorch_lightning.loops",
    "pytorch_lightning.strategies",
    "pytorch_lightning.trainer",
    "lightning_fabric",
    "queue",
    "rich",
    "socket",
    "tensorboard",
    "threading",
    "torch._C",
    "torch._classes",
    "torch._dynamo",
    "torch._inductor",
    "torch._ops",
    "torch.fx",
    "torch.jit",
    "torch.utils.tensorboard",
    "tqdm",
    "wandb",
)


@cache
def is_users(module: str) -> bool:
    """Return whether a module is the user's own: neither python's, nor installed, nor ours.

    Args:
        module: Its name, as in `__module__`.
    """
    root = module.partition(".")[0]
    made = sys.modules.get(module) or sys.modules.get(root)
    file = getattr(made, "__file__", None)
    if not module or file is None:  # a notebook has none either
        return bool(module) and (root == "__main__" or root not in sys.stdlib_module_names)
    path = Path(file).resolve()
    is_installed = not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
    return not is_installed and not str(path).startswith((*_PYTHONS, _OURS))


def is_closed(thing: object) -> bool:
    """Return whether an object works beside the training, so that it may change at any time."""
    if isinstance(thing, nn.Module):
        return False
    module = type(thing).__module__
    return any(module == name or module.startswith(f"{name}.") for name in _CLOSED)

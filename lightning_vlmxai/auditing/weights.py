"""Weights of files: read without running what is in them, and held to the model."""

from __future__ import annotations

import difflib
import importlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigurationError, expected

_CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model", "model_ema")


def load_any_head(make: Any, path: Path) -> nn.Module:
    """Return a model with the weights of a file, with as many outputs as they have.

    Raises:
        ConfigurationError: If they are another model's.
    """
    state = read_state(path)
    network: nn.Module = make()
    own = network.state_dict()
    differ = [k for k, v in state.items() if k in own and own[k].shape != v.shape and v.ndim > 0]
    counts = {(own[key].shape[:1], state[key].shape[0]) for key in differ}
    if len({count for _, count in counts}) == 1 and len({own for own, _ in counts}) == 1:
        network = make(num_classes=next(iter(counts))[1])
    load(network, state, str(path))
    return network


def load(network: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    """Load weights into the model that they are of.

    Raises:
        ConfigurationError: If they are another model's.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    more = [key for key in state if key not in own]
    differ = [key for key in state if key in own and own[key].shape != state[key].shape]
    if differ or missing or more:
        parts = [
            f"{len(keys)} {what} ({keys[0]})"
            for keys, what in (
                (missing, "tensors missing"),
                (more, "tensors too many"),
                (differ, "of another shape"),
            )
            if keys
        ]
        raise ConfigurationError(
            expected(
                "weights",
                f"those of {type(network).__name__}",
                f"{path!r}, with {', '.join(parts)}",
                "Pass the weights of this model, or the --model that they are of",
            )
        )
    network.load_state_dict(dict(state), strict=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a file, whatever it is wrapped in.

    Raises:
        ConfigurationError: If it holds none.
    """
    try:
        if path.suffix == ".safetensors":
            read = importlib.import_module("safetensors.torch").load_file(path)
        else:
            read = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, ImportError,
            pickle.UnpicklingError) as error:  # fmt: skip
        raise _no_state(path, first_lines(error)) from error
    for key in _CHECKPOINT_KEYS:
        if isinstance(read, Mapping) and isinstance(read.get(key), Mapping):
            read = read[key]
    if not isinstance(read, Mapping) or not all(isinstance(v, Tensor) for v in read.values()):
        raise _no_state(path, f"a {type(read).__name__} of other things")
    if read and all(str(key).startswith("module.") for key in read):
        read = {str(key)[7:]: value for key, value in read.items()}
    return dict(read)


def _no_state(path: Path, got: str) -> ConfigurationError:
    return ConfigurationError(
        expected(
            "weights",
            "a file of a state dict",
            f"{str(path)!r} ({got})",
            "Save one by torch.save(model.state_dict(), 'model.pth')",
        )
    )


def weights_file(weights: str, members: Any) -> Path:
    """Return the file that `--weights` names, where it is no name of weights.

    Args:
        weights: The option.
        members: Those of torchvision that there are for the model.

    Raises:
        ConfigurationError: If it is no file.
    """
    path = Path(weights)
    if path.is_file():
        return path
    known = "" if members is None else f"DEFAULT, {members_of(members)} or "
    near = difflib.get_close_matches(weights, [] if members is None else members.__members__, n=2)
    raise ConfigurationError(
        expected(
            "weights",
            f"{known}a file of a state dict",
            f"{weights!r}, which is neither",
            f"Near: {', '.join(near)}" if near else "Pass --weights DEFAULT",
        )
    )


def members_of(members: Any) -> str:
    """Return the names of a model's weights."""
    return ", ".join(member.name for member in members)


def first_lines(error: BaseException, most: int = 300) -> str:
    """Return the beginning of what an error says, on one line."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    return text if len(text) <= most else f"{text[:most]} ..."

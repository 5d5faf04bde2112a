"""A fingerprint of all that objects hold, and what differs between two."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .bits import checksums
from .walk import Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What was there, by path; values are compared with `==`.

    Args:
        values: Of plain values themselves, of tensors and arrays the checksums of their bits.
        opaque: Paths of what can't be looked into, and their types.
    """

    values: Mapping[str, object]
    opaque: Mapping[str, str]

    def differences(self, later: Fingerprint) -> list[str]:
        """Return the paths of what differs by now, in the order in which they were found.

        What lies in something that differs is not named again.
        """
        both, absent = {**self.values, **later.values}, object()
        found: dict[str, None] = {}
        for path in both:
            if self.values.get(path, absent) != later.values.get(path, absent):
                name = _FORM.sub("", path) or "module"
                if not any(name[:end] in found for end in _ends(name)):
                    found[name] = None
        return list(found)


_FORM = re.compile(r"( \(values\)|\.shape|\[\]|\{\}|\[:\]|\._parameters|\._buffers|\._modules)+$")
"""What a path ends with that tells of a value's form, and not where it is."""


def _ends(name: str) -> Iterator[int]:
    """Yield where the paths end that a path lies in."""
    return (end for end, sign in enumerate(f"{name}.") if sign in ".[{:")


def fingerprint(roots: Mapping[str, object], *, apart: Sequence[object] = ()) -> Fingerprint:
    """Return the fingerprint of all that can be reached.

    Args:
        roots: Where to start, by name; "" gives paths that begin with an attribute.
        apart: What isn't looked into, such as the trainer.

    Example:
        >>> kept = {"seen": [0.0]}
        >>> before = fingerprint({"kept": kept})
        >>> kept["seen"][0] = -0.0
        >>> before.differences(fingerprint({"kept": kept}))
        ["kept['seen'][0]"]
    """
    walk = Walk({**roots, "torch": _settings(), "numpy": np.geterr()}, apart=apart)
    with torch.inference_mode(False), torch.no_grad():
        sums = checksums(list(walk.tensors.values()))
    values: dict[str, object] = {**walk.tokens}
    values |= {f"{path} (values)": n for path, n in zip(walk.tensors, sums, strict=True)}
    return Fingerprint(
        values=values,
        opaque={path: type(thing).__name__ for path, thing in walk.opaque.items()},
    )


def _settings() -> dict[str, object]:
    """Return torch's own settings, which a forward may write to like any global."""
    hooks = vars(torch.nn.modules.module)
    return {
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision of matmul": torch.get_float32_matmul_precision(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "anomaly": torch.is_anomaly_enabled(),
        "grad": torch.is_grad_enabled(),
        "global hooks": {n: h for n, h in hooks.items() if n.startswith("_global") and h},
    }


def fingerprint_weights(module: nn.Module) -> str:
    """Return 16 hexadecimal digits that change with any parameter or buffer, or its name.

    Example:
        >>> from torch import nn
        >>> layer = nn.Linear(2, 2)
        >>> before = fingerprint_weights(layer)
        >>> with torch.no_grad():
        ...     _ = layer.bias.add_(1)
        >>> before == fingerprint_weights(layer)
        False
    """
    held = dict([*module.named_parameters(), *module.named_buffers()])
    with torch.inference_mode(False), torch.no_grad():
        sums = checksums(list(held.values()))
    text = repr([(name, *held[name].shape, n) for name, n in zip(held, sums, strict=True)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]

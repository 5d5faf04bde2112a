"""Tensors as bits: which of them are others by now, down to the sign of a zero."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_CHUNK = 2**20


def bits(tensor: Tensor) -> Tensor:
    """Return a tensor's bits as whole numbers, `[N]`: -0.0 is not 0.0, and NaN is itself."""
    flat = (tensor.int_repr() if tensor.is_quantized else tensor.detach()).reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat.resolve_conj()).reshape(-1)
    return flat.resolve_neg().view(_WHOLE[flat.element_size()])


def checksums(tensors: Sequence[Tensor]) -> list[int]:
    """Return a number for each tensor that changes with its values and with their places.

    Each eight bytes are multiplied by an odd random number of their place, and summed up modulo
    2^64: one value that changes always changes the sum. `.data` can be changed past any version
    counter, and values can change places.

    Args:
        tensors: Strided ones, on any device; those that are lazy or of another layout count as 0.
    """
    sums = [_checksum(tensor) for tensor in tensors]
    of_device: dict[torch.device, list[int]] = {}
    for place, value in enumerate(sums):
        of_device.setdefault(value.device, []).append(place)
    found = [0] * len(sums)
    for places in of_device.values():  # a device is waited for once
        for place, number in zip(
            places, torch.stack([sums[p] for p in places]).tolist(), strict=True
        ):
            found[place] = number
    return found


def _checksum(tensor: Tensor) -> Tensor:
    if is_lazy(tensor) or tensor.layout is not torch.strided or tensor.is_meta:
        return torch.zeros((), dtype=torch.int64)
    flat = bits(tensor)
    per_word = 8 // flat.element_size()
    whole = len(flat) // per_word * per_word
    head = flat[:whole]
    if head.storage_offset() % per_word or not head.is_contiguous():
        head = head.clone(memory_format=torch.contiguous_format)
    total = torch.zeros((), dtype=torch.int64, device=flat.device)
    places = _places(flat.device)
    for words in (*torch.split(head.view(torch.int64), _CHUNK), flat[whole:].long()):
        total = total * 1_000_003 + (words * places[: len(words)]).sum()
    return total


@cache
def _places(device: torch.device) -> Tensor:
    """Return an odd random number for each place in a chunk, the same in every process."""
    numbers = np.random.default_rng(0).integers(2**62, size=_CHUNK) * 2 + 1
    return torch.from_numpy(numbers).to(device)

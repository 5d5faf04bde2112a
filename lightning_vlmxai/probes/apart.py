"""Read samples of a data set in a process of its own, so that nothing is left behind in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ..explain import isolated_rng

_LONGEST_S = 120.0
"""How long a sample is waited for."""


def read_apart(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """Return samples of a data set, read in a process of its own; None for each that fails.

    So nothing is left behind in the data set: no open file, no counter, no draw. Files that were
    open before are read on from where they were.
    """
    try:
        with isolated_rng(), _kept_places():
            loader = DataLoader(
                _Few(dataset, indices),
                batch_size=None,
                num_workers=1,
                collate_fn=_as_it_is,
                timeout=_LONGEST_S,
            )
            return list(loader)
    except Exception:
        return [None] * len(indices)


def batches_apart(loader: Any, batches: Sequence[Sequence[int]]) -> Iterator[Any]:
    """Give a loader's batches of certain samples, made in a process of its own.

    As `read_apart`: neither the loader nor its data set is touched in this process.

    Args:
        loader: Whose data set and collate function are used.
        batches: Indices of the samples of each.

    Raises:
        RuntimeError: If a sample can't be read.
    """
    with isolated_rng(), _kept_places():
        yield from DataLoader(
            loader.dataset,
            batch_sampler=[list(batch) for batch in batches],
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
            num_workers=1,
            timeout=_LONGEST_S,
            generator=torch.Generator().manual_seed(0),
        )


@contextmanager
def _kept_places() -> Iterator[None]:
    """Give the places of files that are open for reading back: a forked process shares them.

    A buffered reader that relies on its place would go on with other bytes, without a word.
    """
    places: dict[int, int] = {}
    for path in list(_OPEN.iterdir()) if _OPEN.is_dir() else []:
        with suppress(OSError, ValueError):  # closed by now, or no file
            descriptor = int(path.name)
            if _is_read_only(descriptor):
                places[descriptor] = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        yield
    finally:
        for descriptor, place in places.items():
            with suppress(OSError):
                os.lseek(descriptor, place, os.SEEK_SET)


_OPEN = Path("/dev/fd")


def _is_read_only(descriptor: int) -> bool:
    import fcntl  # where there is /dev/fd

    mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    return mode == os.O_RDONLY and stat.S_ISREG(os.fstat(descriptor).st_mode)


class _Few(Dataset[Any]):
    """Some samples of a data set; one that can't be read is None."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self._dataset, self._indices = dataset, list(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, place: int) -> Any:
        try:
            return self._dataset[self._indices[place]]
        except Exception:
            return None


def _as_it_is(sample: Any) -> Any:
    return sample

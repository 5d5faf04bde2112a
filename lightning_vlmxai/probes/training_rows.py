"""The rows of a training data set, read once more in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from ..calls import Call
from ..errors import ProbeError
from ..records import Probe
from .apart import batches_apart
from .files import name_files
from .listed_files import as_label
from .row_names import RowNames
from .rows import same_tensor
from .samples import Item, batch_size, take_row

_OF_ALL = (RandomSampler, SequentialSampler, DistributedSampler)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """A training picture.

    Args:
        index: In the data set.
        label: Its class; None where that isn't a whole number.
        file: Path or id, as batch or data set name it; None where none is sure.
    """

    index: int
    label: int | None
    file: str | None


class TrainingRows:
    """Reads what a training loader's data set has, as the loader's batches have it.

    Samples are read and put together in a process of its own, in the order of their indices: the
    loader itself, its sampler and its generators are left alone.

    Args:
        loader: Of the fit.
        unpack: Takes a row apart.
        most: Rows that are read; of more, so many are drawn.
        seed: Of the draw.

    Raises:
        ProbeError: If it can't be said which samples the loader gives; the message says why.
    """

    def __init__(
        self, loader: Any, unpack: Callable[[Any], Item], *, most: int = 2048, seed: int = 0
    ) -> None:
        every = indices_of(loader)
        self.total = len(every)
        if len(every) > most:
            drawn = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
            every = [every[place] for place in sorted(drawn[:most].tolist())]
        size = loader.batch_size or loader.batch_sampler.batch_size
        self._batches = [every[i : i + size] for i in range(0, len(every), size)]
        self._loader, self._unpack = loader, unpack
        self._names = RowNames()
        self._items: dict[int, Item] = {}
        self._columns: dict[int, Mapping[str, str]] = {}

    def read(self, transfer: Callable[[Any], Any]) -> Iterator[Tensor]:
        """Give the pictures of each batch, `[B, C, H, W]`, as the batch has them.

        Args:
            transfer: What a fit does to a batch between loader and step.

        Raises:
            ProbeError: If a batch has not the rows that were asked for, or no pictures.
        """
        read = batches_apart(self._loader, self._batches)
        for indices, collated in zip(self._batches, read, strict=True):
            batch = transfer(collated)
            if batch_size(batch) != len(indices):
                raise ProbeError("what makes training batches leaves samples out or adds some")
            columns = self._names.see(batch, len(indices))
            for row, index in enumerate(indices):
                self._items[index] = self._unpack(take_row(batch, row, len(indices)))
                self._columns[index] = {name: column[row] for name, column in columns.items()}
            pictures = same_tensor(batch, self._items[indices[0]].image, len(indices))
            if pictures is None:
                raise ProbeError("the pictures of training batches are no part of the batch")
            yield pictures

    def rows(self) -> list[TrainingRow]:
        """Return the rows that were read, in the order of their indices."""
        nothing = Call.of_images(torch.zeros(1, 3, 8, 8))
        probes = [
            Probe(
                index=index,
                call=nothing,
                pixels=nothing.images[0],
                target=None if (label := as_label(item.target)) is None else torch.tensor(label),
                file=item.file,
            )
            for index, item in self._items.items()
        ]
        _, named = name_files(probes, self._columns, self._names, self._loader.dataset)
        return [
            TrainingRow(index=one.index, label=as_label(one.target), file=one.file) for one in named
        ]


def indices_of(loader: Any) -> list[int]:
    """Return which samples of its data set a loader gives, each once, in order.

    Raises:
        ProbeError: If that can't be said.
    """
    if not isinstance(loader, DataLoader):
        raise ProbeError(f"the fit has no single training loader ({type(loader).__name__})")
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        raise ProbeError("the training data are a stream, whose samples have no index")
    if type(loader.batch_sampler) is not BatchSampler:
        raise ProbeError("which samples the training loader's own batch sampler gives isn't known")
    sampler = loader.batch_sampler.sampler
    if type(sampler) is SubsetRandomSampler:
        return sorted({int(index) for index in sampler.indices})
    if type(sampler) is WeightedRandomSampler:  # what has no weight is never drawn
        return [index for index, weight in enumerate(sampler.weights.tolist()) if weight > 0]
    if type(sampler) in _OF_ALL:
        return list(range(len(getattr(sampler, "data_source", dataset))))
    raise ProbeError(
        f"which samples the training loader's {type(sampler).__name__} gives isn't known"
    )

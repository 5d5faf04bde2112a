"""What a data set tells about itself: labels, class names, how its pictures were normalised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, SequentialSampler

from ..errors import ProbeError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """Mean and standard deviation a channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, given: tuple[Sequence[float], Sequence[float]] | None) -> Normalization | None:
        """Return a normalisation from (mean, std), or None for None."""
        return None if given is None else cls(mean=tuple(given[0]), std=tuple(given[1]))

    def undo(self, image: Tensor) -> Tensor:
        """Return `image * std + mean`, `[C, H, W]`."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return image.float() * std[:, None, None] + mean[:, None, None]


def find_dataset(loaders: Any) -> Any:
    """Return the data set of the first loader; None if there is no loader.

    Args:
        loaders: A loader, or a list or mapping of them, as a Trainer keeps them.

    Raises:
        ProbeError: If the loader has none.
    """
    while isinstance(loaders, (list, tuple, dict)):
        parts = list(loaders.values()) if isinstance(loaders, dict) else list(loaders)
        loaders = parts[0] if parts else None
    if loaders is None:
        return None
    dataset = getattr(loaders, "dataset", None)
    if dataset is None:
        raise ProbeError(
            expected(
                "validation loader",
                "one with a `dataset`",
                type(loaders).__name__,
                "Use a torch DataLoader, or give your loader that attribute",
            )
        )
    return dataset


def find_normalization(dataset: Any) -> Normalization | None:
    """Return the mean and standard deviation of the one `Normalize` in a data set's transforms.

    Looks into `Subset` and `ConcatDataset`, `transform` and `transforms`, and into composed
    transforms of torchvision (both versions) and Albumentations.

    Raises:
        ProbeError: If there are several that differ.
    """
    found = {
        (tuple(float(m) for m in _as_list(t.mean)), tuple(float(s) for s in _as_list(t.std)))
        for t in _transforms_of(dataset)
        if type(t).__name__ == "Normalize" and hasattr(t, "mean") and hasattr(t, "std")
    }
    if len(found) > 1:
        raise ProbeError(
            expected(
                "normalization",
                "given where a data set has several Normalize transforms",
                f"{len(found)} different ones",
                "Pass `normalization=(mean, std)`",
            )
        )
    return next((Normalization(mean=mean, std=std) for mean, std in found), None)


def find_class_names(dataset: Any) -> tuple[str, ...] | None:
    """Return the data set's `classes`, torchvision's custom, if it has any."""
    for part in _parts_of(dataset):
        names = getattr(part, "classes", None)
        if isinstance(names, Sequence) and not isinstance(names, str):
            return tuple(str(name) for name in names)
    return None


def find_labels(dataset: Any) -> list[int] | None:
    """Return the label of every sample from `targets` or `labels`, or None; reads no sample."""
    if isinstance(dataset, torch.utils.data.Subset):
        labels = find_labels(dataset.dataset)
        return None if labels is None else [labels[i] for i in dataset.indices]
    if isinstance(dataset, torch.utils.data.ConcatDataset):
        parts = [find_labels(part) for part in dataset.datasets]
        return (
            None
            if any(part is None for part in parts)
            else [label for part in parts if part is not None for label in part]
        )
    for name in ("targets", "labels"):
        values = getattr(dataset, name, None)
        if isinstance(values, (Sequence, np.ndarray, Tensor)) and len(values) == len(dataset):
            array = np.asarray(values)
            if array.ndim == 1 and array.dtype.kind in "iub":
                return [int(value) for value in array]
    return None


def index_of_position(
    sampler: Any, *, rank: int = 0, ranks: int = 1
) -> Callable[[int], int] | None:
    """Return how a row's index follows from its place in the loader's order, if it can be said.

    Known are torch's `SequentialSampler`, and samplers that deal indices out to the ranks in order:
    torch's `DistributedSampler` without shuffling, and Lightning's like it.

    Args:
        sampler: Of the loader; None for a stream.
        rank: Of this process.
        ranks: Number of processes.
    """
    if type(sampler) is SequentialSampler:
        return lambda position: position
    if isinstance(sampler, DistributedSampler) and not sampler.shuffle:
        count = len(sampler.dataset)  # type: ignore[arg-type]
        # Lightning's wrapper deals out places in another sampler's order.
        if type(sampler).__name__ == "DistributedSamplerWrapper":
            return None
        return lambda position: (rank + position * ranks) % count
    return None


def _parts_of(dataset: Any) -> Iterator[Any]:
    """Yield a data set and those that it wraps."""
    yield dataset
    if hasattr(dataset, "dataset"):
        yield from _parts_of(dataset.dataset)
    for part in getattr(dataset, "datasets", ()):
        yield from _parts_of(part)


def _transforms_of(dataset: Any) -> Iterator[Any]:
    """Yield every transform of a data set, composed ones taken apart."""

    def walk(transform: Any) -> Iterator[Any]:
        yield transform
        inner = getattr(transform, "transforms", None) or getattr(transform, "transform", None)
        if isinstance(transform, torch.nn.Sequential):
            inner = list(transform)
        for child in inner if isinstance(inner, Sequence) else filter(None, [inner]):
            if child is not transform:
                yield from walk(child)

    for part in _parts_of(dataset):
        for name in ("transform", "transforms"):
            transform = getattr(part, name, None)
            if transform is not None:
                yield from walk(transform)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (Sequence, np.ndarray, Tensor)) else [value]

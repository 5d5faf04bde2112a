"""The probe set: chosen once, read once, shown to the judge as un-normalised pixels."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from ..errors import ProbeError, expected
from ..explain import isolated_generators, isolated_rng
from ..records import Probe
from .datasets import Normalization, find_class_names, find_labels, find_normalization
from .samples import Item, split_batch, unpack_item


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSet:
    """The probes of a run, and what was learnt of their data set.

    Args:
        probes: In order of their indices.
        fingerprint: Changes with any index or pixel.
        class_names: In the order of the labels, as the data set names them; None if it does not.
    """

    probes: tuple[Probe, ...]
    fingerprint: str
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.probes)


class ProbeReader:
    """Chooses and reads a probe set once, by index or from the start of a stream.

    Args:
        size: Number of probes.
        seed: Of the draw.
        normalization: What the pixels were normalised with; found from the data set if None.
        unpack: Takes a sample apart.
    """

    def __init__(
        self,
        *,
        size: int,
        seed: int,
        normalization: Normalization | None,
        unpack: Callable[[Any], Item],
    ) -> None:
        self.size = size
        self._seed = seed
        self._normalization = normalization
        self._unpack = unpack
        self._streamed: list[tuple[int, Item]] = []
        self._probe_set: ProbeSet | None = None

    def forget(self) -> None:
        """Choose anew at the next call."""
        self._streamed, self._probe_set = [], None

    def fresh(self) -> ProbeReader:
        """Return a reader that chooses likewise and has read nothing."""
        return ProbeReader(
            size=self.size,
            seed=self._seed,
            normalization=self._normalization,
            unpack=self._unpack,
        )

    def keep(self, dataset: Any, batch: Any) -> None:
        """Keep the first samples of an iterable data set, which can't be read by index."""
        room = self.size - len(self._streamed)
        if self._probe_set is None and room and isinstance(dataset, IterableDataset):
            items = [self._unpack(sample) for sample in split_batch(batch)[:room]]
            self._streamed += enumerate(items, start=len(self._streamed))

    def read(self, dataset: Any) -> ProbeSet:
        """Return the probe set, the same one at every call.

        Raises:
            ProbeError: If the data set can't give one.
        """
        if self._probe_set is None:
            if isinstance(dataset, IterableDataset):
                self._probe_set = build_probe_set(self._streamed, dataset, self._normalization)
            else:
                self._probe_set = read_probes(
                    dataset,
                    size=self.size,
                    seed=self._seed,
                    normalization=self._normalization,
                    unpack=self._unpack,
                )
        return self._probe_set


def choose_indices(labels: Sequence[int], size: int, *, seed: int) -> list[int]:
    """Return sorted indices of a draw stratified by label: each class keeps its share.

    Args:
        labels: Label of every sample.
        size: How many to draw; all if there are fewer.
        seed: Of the draw; the global generators are not used.

    Example:
        >>> labels = [0] * 50 + [1] * 50
        >>> sum(labels[i] for i in choose_indices(labels, 10, seed=0))
        5
    """
    generator = np.random.default_rng(seed)
    of_label: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        of_label[int(label)].append(index)
    # Systematic sampling: the r-th of a class of n stands at (r + u) / n, and the draw takes the
    # first ones; so every class gets its share, rounded up or down by the chance of u.
    position: list[tuple[float, int]] = []
    for label in sorted(of_label):
        shuffled = generator.permutation(of_label[label])
        offset = generator.random()
        position += [((r + offset) / len(shuffled), int(i)) for r, i in enumerate(shuffled)]
    return sorted(index for _, index in sorted(position)[:size])


def read_probes(
    dataset: Any,
    *,
    size: int,
    seed: int,
    normalization: Normalization | None = None,
    unpack: Callable[[Any], Item] = unpack_item,
) -> ProbeSet:
    """Return a probe set drawn from a map-style data set, leaving the global generators alone.

    Labels for the draw come from the data set's `targets` or `labels`; where it has neither, a
    seeded pool of four times `size` samples is read and the draw is stratified within the pool.

    Args:
        dataset: With `__len__` and `__getitem__`.
        size: Number of probes; the whole data set if it is smaller.
        seed: Of the draw, and of whatever the transforms draw while the probes are read.
        normalization: What the pixels were normalised with; found from the data set if None.
        unpack: Takes a sample apart.

    Raises:
        ProbeError: If the data set is empty, its samples or pixels can't be understood.
    """
    count = len(dataset)
    if count == 0:
        raise ProbeError(expected("validation data set", "not empty", "no sample", "Add samples"))
    items: dict[int, Item] = {}

    def read(index: int) -> Item:
        if index not in items:
            with isolated_rng(seed + index):
                items[index] = unpack(dataset[index])
        return items[index]

    labels = find_labels(dataset)
    pool: Sequence[int] = range(count)
    with isolated_generators(dataset):
        if labels is None:
            drawn = np.random.default_rng(seed).permutation(count)[: 4 * size]
            pool = [int(i) for i in np.sort(drawn)]
            labels = [_stratum(read(index).target) for index in pool]
        indices = [pool[i] for i in choose_indices(labels, size, seed=seed)]
        chosen = [(index, read(index)) for index in indices]
    return build_probe_set(chosen, dataset, normalization)


def build_probe_set(
    items: Sequence[tuple[int, Item]], dataset: Any, normalization: Normalization | None
) -> ProbeSet:
    """Return the probe set of samples that were read already.

    Args:
        items: Index and sample of each.
        dataset: Where a `Normalize` and class names are looked for.
        normalization: Given instead.

    Raises:
        ProbeError: If the pixels can't be established.
    """
    normalization = normalization or find_normalization(dataset)
    probes = tuple(_make_probe(index, item, normalization) for index, item in items)
    digest = hashlib.sha256()
    for probe in probes:
        digest.update(f"{probe.index}:{list(probe.pixels.shape)}".encode())
        digest.update((probe.pixels * 255).round().byte().numpy().tobytes())
    return ProbeSet(
        probes=probes,
        fingerprint=digest.hexdigest()[:16],
        class_names=find_class_names(dataset),
    )


def _make_probe(index: int, item: Item, normalization: Normalization | None) -> Probe:
    image = item.image.detach().cpu().clone()
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ProbeError(
            expected("image", "[C, H, W] with 1 or 3 channels", list(image.shape), "Convert it")
        )
    if image.dtype == torch.uint8:
        pixels = image.float() / 255
    elif normalization is None:
        pixels = image.float()
    elif len(normalization.mean) in (1, image.shape[0]):
        pixels = normalization.undo(image)
    else:
        raise ProbeError(
            expected(
                "normalization",
                f"of {image.shape[0]} channels like the image",
                f"{len(normalization.mean)} means",
                "Pass `normalization=(mean, std)` with one entry a channel",
            )
        )
    low, high = float(pixels.min()), float(pixels.max())
    if not (-0.01 <= low <= high <= 1.01):
        how = "after undoing the Normalize found" if normalization else "and found no Normalize"
        raise ProbeError(
            expected(
                "pixels",
                "in [0, 1] once the normalisation is undone",
                f"[{low:.2f}, {high:.2f}] in sample {index} {how} in the data set's transforms",
                "Pass `normalization=(mean, std)` as used for the model's input",
            )
        )
    pixels = pixels.clamp(0, 1).expand(3, -1, -1).contiguous()
    mask = item.reference_mask
    if mask is not None:
        mask = mask if isinstance(mask, Tensor) else torch.from_numpy(np.array(mask))
        mask = mask.detach().cpu().squeeze(0) != 0
        if mask.shape != pixels.shape[1:]:
            raise ProbeError(
                expected(
                    "reference_mask",
                    f"of the image's size {list(pixels.shape[1:])}",
                    list(mask.shape),
                    "Give picture and mask the same geometric transforms",
                )
            )
    target = torch.as_tensor(item.target).detach().cpu().clone()
    return Probe(index=index, input=image, pixels=pixels, target=target, reference_mask=mask)


def _stratum(target: Any) -> int:
    """Return a label to stratify by: the class, or for a map of classes its most frequent one."""
    values, counts = np.unique(np.asarray(target), return_counts=True)
    return int(values[counts.argmax()])

"""The probe set: rows of a validation's batches, chosen once while they pass by."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ProbeError, VLMExplainError, expected
from ..explain import Watch
from ..records import Probe, Seen
from ..tasks import Task
from .datasets import index_of_position
from .doubts import find_doubts
from .making import Kept, make_probes, mask_values
from .names import Naming, choose_names, find_names
from .normalizations import Normalization, search
from .reservoir import Reservoir, Ticket, choose_tickets
from .samples import Item, batch_size, take_row, unpack_item


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSet:
    """The probes of a run, and what was learnt of their data.

    Args:
        probes: In order of their indices.
        fingerprint: Changes with any index or pixel.
        class_names: In the order of the labels, as the data set names them; None if it does not.
        network: Dotted name of the network that the validation called; "" is the module itself.
    """

    probes: tuple[Probe, ...]
    fingerprint: str
    class_names: tuple[str, ...] | None = None
    network: str = ""

    def __len__(self) -> int:
        return len(self.probes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """How probes are chosen and read; see `VLMExplainCallback` for each."""

    size: int
    seed: int = 0
    normalization: Normalization | None = None
    unpack: Callable[[Any], Item] = unpack_item
    picture: Callable[[Any], Any] | None = None
    network: str | None = None
    watch_classes: tuple[str, ...] = ()
    min_per_class: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What ranks tell each other of the rows that passed by."""

    tickets: list[Ticket]
    counts: Counter[int]
    mask_values: frozenset[float] = frozenset()


class ProbeCollector:
    """Watches a validation and chooses probes among the rows that it saw.

    A probe's input is what the network was really called with, so that whatever a user does
    between data set and network has been done. Each class keeps its share.

    Args:
        settings: How to choose.
        task: Reads outputs and labels.
        class_names: As they were given; the data set's own if None.
    """

    def __init__(
        self, settings: ProbeSettings, *, task: Task, class_names: Sequence[str] | None = None
    ) -> None:
        self._settings = settings
        self._task = task
        self._class_names = class_names
        self._watch = Watch(self._refusal, settings.network)
        self._pending: tuple[Any, int] | None = None
        self.start(None)

    def start(
        self,
        dataset: Any,
        *,
        rank: int = 0,
        ranks: int = 1,
        order: Any = None,
        making: Sequence[Any] = (),
        holders: Sequence[Any] = (),
    ) -> None:
        """Begin anew, with the validation that comes.

        Args:
            dataset: Of its loader.
            rank: Of this process.
            ranks: Number of processes.
            order: The loader's sampler, which may tell the rows' indices.
            making: What else makes the batches, such as a collate function.
            holders: What else may know means, standard deviations and names: module, data module.
        """
        self._dataset = dataset
        self._making, self._holders = (dataset, *making), tuple(holders)
        self._names_found = find_names(dataset, holders)
        self._names = self._class_names or next((n.names for n in self._names_found), None)
        self._outputs: int | None = None
        self._naming: Naming | None = None
        self._index_of = index_of_position(order, rank=rank, ranks=ranks)
        self._is_known = self._index_of is not None
        self._rank, self._ranks = rank, ranks
        self._rows = 0
        self._missed = 0
        self._doubts: list[str] = []
        wanted = self._settings.watch_classes
        names = list(self._names or ())
        self._floors = {names.index(c): self._settings.min_per_class for c in wanted if c in names}
        self._reservoir = Reservoir(
            self._settings.size, seed=self._settings.seed, floors=self._floors
        )

    def before(self, root: nn.Module, batch: Any, *, eager: bool = False) -> None:
        """Watch the step on a batch."""
        size = batch_size(batch)
        if size is None:
            return
        # A step may change the batch itself.
        self._pending = batch, size
        picture = None
        try:
            item = self._settings.unpack(take_row(batch, 0, size))
            picture = _same_tensor(batch, item.image, size)
        except VLMExplainError:
            pass  # told where the rows are read
        self._watch.begin(root, size=size, picture=picture, eager=eager)

    def after(self, root: nn.Module) -> None:
        """Look at the rows of the batch whose step has ended."""
        found = self._watch.end(root)
        if self._pending is None:
            return
        batch, size = self._pending
        self._pending = None
        first = self._rows
        self._rows += size
        if found is None:
            self._missed += size
            return
        prediction = self._task.predict(found.output).detach().cpu()
        self._outputs = prediction.num_classes
        classes, confidences = prediction.classes.tolist(), prediction.confidences.tolist()
        for row in range(size):
            sample = take_row(batch, row, size)
            item = self._settings.unpack(sample)
            seen = Seen(prediction=classes[row], confidence=confidences[row])

            def keep(row: int = row, sample: Any = sample, seen: Seen = seen) -> Kept:
                return Kept(call=found.call.row(row), row=_on_cpu(sample), seen=seen)

            self._reservoir.offer(self._index(first + row), _stratum(item.target), keep)

    def stop(self) -> None:
        """Take everything off the module. Safe to call at any time."""
        self._watch.stop()
        self._pending = None

    def tell(self) -> _Told:
        """Return what the other ranks need to know to choose."""
        tickets = self._reservoir.tickets
        kept = [self._reservoir.take(ticket.index) for ticket in tickets]
        values = mask_values(kept, self._settings.unpack)
        return _Told(tickets=tickets, counts=self._reservoir.counts, mask_values=values)

    def choose(self, told: Sequence[_Told]) -> list[Probe]:
        """Return this rank's probes among those that all ranks choose.

        Raises:
            ProbeError: If no network was seen, or a row can't be read.
        """
        self._check()
        counts: Counter[int] = sum((one.counts for one in told), Counter())
        tickets = {t.index: t for one in told for t in one.tickets}
        owner = {t.index: r for r, one in reversed(list(enumerate(told))) for t in one.tickets}
        chosen = choose_tickets(
            tickets.values(),
            counts,
            self._settings.size,
            seed=self._settings.seed,
            floors=self._floors,
        )
        if self._class_names is None:
            seen = {ticket.index: ticket.label for ticket in tickets.values()}
            self._naming = choose_names(
                self._names_found, seen, self._outputs, is_indexed=self._is_known
            )
            self._names = self._naming.names
        own = [t.index for t in chosen if owner[t.index] == self._rank]
        self._doubts, probes = make_probes(
            {index: self._reservoir.take(index) for index in own},
            unpack=self._settings.unpack,
            picture=self._settings.picture,
            normalization=self._settings.normalization,
            found=search(self._making, self._holders),
            mask_values=frozenset().union(*(one.mask_values for one in told)),
            dataset=self._dataset if self._is_known else None,
        )
        return probes

    def gather(self, parts: Sequence[Sequence[Probe]]) -> ProbeSet:
        """Return the probe set of all ranks' probes."""
        probes = sorted((p for part in parts for p in part), key=lambda probe: probe.index)
        digest = hashlib.sha256()
        for probe in probes:
            digest.update(f"{probe.index}:{list(probe.pixels.shape)}".encode())
            digest.update((probe.pixels * 255).round().byte().numpy().tobytes())
        return ProbeSet(
            probes=tuple(probes),
            fingerprint=digest.hexdigest()[:16],
            class_names=None if self._names is None else tuple(self._names),
            network=self._watch.network,
        )

    def doubts(self, probe_set: ProbeSet) -> list[str]:
        """Return a sentence for each thing that can't be right in what the judge will see."""
        names = [self._naming.doubt] if self._naming is not None and self._naming.doubt else []
        return [*names, *self._doubts, *find_doubts(probe_set.probes)]

    @property
    def names_line(self) -> str:
        """An argument that gives the class names, as far as they are known, to be pasted."""
        return "class_names=[...]" if self._naming is None else self._naming.line

    def shortages(self, probe_set: ProbeSet) -> list[str]:
        """Return a sentence for each watched class with fewer probes than asked for."""
        found = []
        for label, floor in self._floors.items():
            has = sum(_stratum(p.target) == label for p in probe_set.probes)
            if has < floor and self._names:
                found.append(f"class {self._names[label]!r} has {has} probes, {floor} were wanted")
        return found

    @property
    def choice(self) -> str:
        """Which of several calls is explained, in words; empty where there was one."""
        rivals = [seen.network or "the module itself" for seen in self._watch.rivals]
        if not rivals:
            return ""
        mine = self._watch.network or "the module itself"
        return (
            f"vlmxai: a validation step calls {len(rivals) + 1} networks (or one several times); "
            f"explained is {mine}, not {', '.join(sorted(set(rivals)))}. Pass "
            f'`network="{rivals[0]}"` for another.'
        )

    def _index(self, position: int) -> int:
        if self._index_of is not None:
            return self._index_of(position)
        return position * self._ranks + self._rank

    def _refusal(self, output: Any, size: int) -> str:
        try:
            count = len(self._task.predict(output).classes)
        except Exception as error:  # whatever a user's output is, it is not a prediction
            return str(error)
        return "" if count == size else f"{count} predictions for {size} samples"

    def _check(self) -> None:
        if self._rows == 0:
            raise ProbeError(
                expected("validation data set", "not empty", "no sample", "Add samples")
            )
        if self._missed == self._rows:
            raise ProbeError(
                expected(
                    "validation_step",
                    "one that calls a network with a picture a sample [B, C, H, W] and gets what "
                    "the task can read",
                    self._watch.refusal or "no such call",
                    "Call one module from picture to logits (`self(x)`), or name it: "
                    '`network="model"`',
                )
            )


def _same_tensor(batch: Any, image: Tensor | None, size: int) -> Tensor | None:
    """Return the batch's tensor whose first row an image is."""
    if image is None:
        return None
    stack = [batch]
    while stack:
        part = stack.pop()
        if isinstance(part, Tensor):
            if (
                part.ndim == image.ndim + 1
                and len(part) == size
                and (part.data_ptr() == image.data_ptr())
            ):
                return part
        elif isinstance(part, Mapping):
            stack += part.values()
        elif isinstance(part, (list, tuple)):
            stack += part
    return None


def _on_cpu(sample: Any) -> Any:
    """Return a row copied to the CPU, so that it holds no batch."""
    if isinstance(sample, Tensor):
        with torch.inference_mode(False), torch.no_grad():
            return sample.clone().cpu()
    if isinstance(sample, dict):
        return {key: _on_cpu(value) for key, value in sample.items()}
    if isinstance(sample, list):
        return [_on_cpu(part) for part in sample]
    return sample


def _stratum(target: Any) -> int:
    """Return a label to stratify by: the class, or for a map of classes its most frequent one."""
    array = target.detach().cpu().numpy() if isinstance(target, Tensor) else np.asarray(target)
    if array.size == 1:
        return int(array.reshape(()))
    # A grid of pixels will do to tell the most frequent class.
    values, counts = np.unique(array.ravel()[:: 1 + array.size // 4096], return_counts=True)
    return int(values[counts.argmax()])

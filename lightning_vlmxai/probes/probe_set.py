"""The probe set: rows of a validation's batches, chosen once while they pass by."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..calls import Call, step_call
from ..errors import ProbeError, VLMExplainError, expected
from ..explain import LiveModel, Watch, ask_with_gradients
from ..records import Probe, Seen
from ..tasks import MultiLabelClassification, Output, OutputReader, Reading, Shown, Task
from .datasets import (
    Normalization,
    find_class_names,
    find_labels,
    find_normalization,
    index_of_position,
)
from .pictures import Sources, find_picture, read_apart, read_user_picture
from .reservoir import Reservoir, Ticket, choose_tickets, plan
from .samples import Item, batch_size, take_row, unpack_dense, unpack_item


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSet:
    """The probes of a run, and what was learnt of their data.

    Args:
        probes: In order of their indices.
        fingerprint: Changes with any index or pixel.
        class_names: In the order of the labels, as the data set names them; None if it does not.
        network: Dotted name of the network that the validation called; "" is the module itself.
        answer: Dotted name of the part whose output is read; the network, but where the step as a
            whole is explained.
        reading: How the network's answers are read.
    """

    probes: tuple[Probe, ...]
    fingerprint: str
    class_names: tuple[str, ...] | None = None
    network: str = ""
    answer: str = ""
    reading: Reading = field(default_factory=Reading)

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
    output: Output | None = None
    watch_classes: tuple[str, ...] = ()
    min_per_class: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What is held of a row."""

    call: Call
    row: Any
    seen: Mapping[Reading, Seen]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What ranks tell each other of the rows that passed by."""

    tickets: list[Ticket]
    counts: Counter[int]
    shown: Shown


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
        self._reader = OutputReader(task, settings.output)
        self._reading = Reading()
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
        limit: int | None = None,
    ) -> None:
        """Begin anew, with the validation that comes.

        Args:
            dataset: Of its loader.
            rank: Of this process.
            ranks: Number of processes.
            order: The loader's sampler, which may tell the rows' indices.
            limit: How many rows will pass by, on all ranks; None if that isn't known.
        """
        self._dataset = dataset
        own = getattr(self._task, "class_names", None)
        self._names = self._class_names or find_class_names(dataset) or own
        self._reader.start()
        self._first: Call | None = None
        self._index_of = index_of_position(order, rank=rank, ranks=ranks)
        self._is_known = self._index_of is not None
        self._rank, self._ranks = rank, ranks
        self._rows = 0
        self._missed = 0
        wanted = self._settings.watch_classes
        names = list(self._names or ())
        self._floors = {names.index(c): self._settings.min_per_class for c in wanted if c in names}
        choice: dict[str, Any] = {"seed": self._settings.seed, "floors": self._floors}
        labels = None if limit is None or self._index_of is None else find_labels(dataset)
        self._reservoir = Reservoir(
            self._settings.size,
            planned=None if not labels else plan(labels[:limit], self._settings.size, **choice),
            **choice,
        )

    def before(
        self,
        root: nn.Module,
        batch: Any,
        *,
        step: str = "validation_step",
        loader: int = 0,
        eager: bool = False,
    ) -> None:
        """Watch the step on a batch.

        Args:
            root: Whose step it is.
            batch: As the step is given it.
            step: Its name.
            loader: Number of the batch's loader.
            eager: What is compiled runs eagerly.
        """
        size = batch_size(batch)
        if size is None:
            return
        # A step may change the batch itself.
        self._pending = batch, size
        picture = None
        with suppress(VLMExplainError):  # told where the rows are read
            item = self._settings.unpack(take_row(batch, 0, size))
            picture = _same_tensor(batch, item.image, size)
        call = step_call(root, step, batch, size, picture=picture, loader=loader)
        self._watch.begin(root, size=size, picture=picture, step=call, eager=eager)

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
            with suppress(VLMExplainError):  # what no network reads need not be unpacked
                self._reader.miss(self._targets(batch, size))
            return
        targets = cache(lambda: self._targets(batch, size))
        seen = self._reader.see(found.output, size, targets)
        self._first = self._first or found.call.row(0)

        def keep(row: int) -> _Kept:
            call = found.call.row(row)
            copies = {
                _place(found.call.leaves[i][row]): call.leaves[i][0]
                for i in call.rows
                if isinstance(call.leaves[i], Tensor)
            }
            sample = _on_cpu(take_row(batch, row, size), copies)
            return _Kept(call=call, row=sample, seen=seen(row))

        indices = [self._index(first + row) for row in range(size)]
        self._reservoir.offer(indices, lambda: map(self._stratum, targets()), keep)

    def _targets(self, batch: Any, size: int) -> list[Any]:
        """Return the rows' labels."""
        unpack = self._settings.unpack
        if unpack in (unpack_item, unpack_dense):  # which take a whole batch apart as well
            with suppress(VLMExplainError):
                found = unpack(batch).target
                if isinstance(found, Tensor) and found.shape == (size,):
                    labels: list[Any] = found.tolist()
                    return labels
        return [unpack(take_row(batch, row, size)).target for row in range(size)]

    def stop(self) -> None:
        """Take everything off the module. Safe to call at any time."""
        self._watch.stop()
        self._pending = None

    def tell(self, live: LiveModel) -> _Told:
        """Return what the other ranks need to know to choose.

        Args:
            live: The model, which is asked once where its answers may be probabilities or logits.
        """
        live = replace(live, network=self._watch.network)
        ask = partial(ask_with_gradients, live, self._first) if self._first else None
        held = self._reservoir
        return _Told(tickets=held.tickets, counts=held.counts, shown=self._reader.tell(ask))

    def choose(self, told: Sequence[_Told]) -> list[Probe]:
        """Return this rank's probes among those that all ranks choose.

        Raises:
            ProbeError: If no network was seen, or a row can't be read.
        """
        self._check()
        counts: Counter[int] = sum((one.counts for one in told), Counter())
        self._reading = self._reader.choose([one.shown for one in told], self._names, max(counts))
        tickets = {t.index: t for one in told for t in one.tickets}
        owner = {t.index: r for r, one in reversed(list(enumerate(told))) for t in one.tickets}
        chosen = choose_tickets(
            tickets.values(),
            counts,
            self._settings.size,
            seed=self._settings.seed,
            floors=self._floors,
        )
        normalization = self._settings.normalization or find_normalization(self._dataset)
        return [
            self._make_probe(t.index, self._reservoir.take(t.index), normalization)
            for t in chosen
            if owner[t.index] == self._rank
        ]

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
            answer=self._watch.answer,
            reading=self._reading,
        )

    def doubts(self, probe_set: ProbeSet) -> list[str]:
        """Return a sentence on each thing that a user should look at."""
        found = [self._reader.doubt] if self._reader.doubt else []
        for label, floor in self._floors.items():
            has = sum(self._stratum(p.target) == label for p in probe_set.probes)
            if has < floor and self._names:
                found.append(
                    f"vlmxai: class {self._names[label]!r} has {has} probes, {floor} were wanted; "
                    "a gate on it rests on few."
                )
        return found

    @property
    def choice(self) -> str:
        """Which of several calls is explained, in words; empty where there was one."""
        mine = self._watch.answer or "the module itself"
        rivals = sorted({name or "the module itself" for name in self._watch.rivals})
        lines = []
        if rivals == [mine]:
            lines.append(
                f"vlmxai: a validation step calls {mine} {len(self._watch.rivals) + 1} times; "
                "explained is the call that is given the batch's own picture, or the first, and "
                "not what the step makes of all of them."
            )
        elif rivals:
            lines.append(
                f"vlmxai: a validation step calls several networks; explained is {mine}, not "
                f'{", ".join(rivals)}. Pass `network="{rivals[0]}"` for another.'
            )
        elif self._watch.is_step:
            lines.append(
                f"vlmxai: no one module goes from picture to logits; explained is the step as a "
                f"whole, as {mine} answers it."
            )
        return " ".join(filter(None, [*lines, self._reader.choice]))

    def _stratum(self, target: Any) -> int:
        if isinstance(self._task, MultiLabelClassification):
            return self._task.first_label(torch.as_tensor(target))
        return _stratum(target)

    def _index(self, position: int) -> int:
        if self._index_of is not None:
            return self._index_of(position)
        return position * self._ranks + self._rank

    def _refusal(self, output: Any, size: int) -> str:
        try:
            self._reader.read(output, size)
        except Exception as error:  # whatever a user's output is, it is not a prediction
            return str(error)
        return ""

    def _check(self) -> None:
        if self._rows == 0:
            raise ProbeError(
                expected("validation data set", "not empty", "no sample", "Add samples")
            )
        if self._missed == self._rows:
            part = next(iter(self._watch.heads), "model")
            self._reader.check_labels()
            why = self._watch.refusal
            if why and (not self._watch.refused_by or "not supported" in why):
                raise ProbeError(why)  # what the module itself answers says enough
            raise ProbeError(
                expected(
                    "validation_step",
                    "one that calls a network with a picture a sample [B, C, H, W] and gets what "
                    "the task can read",
                    why or "no such call",
                    "Call one module from picture to logits (`self(x)`), or name the part that "
                    f'answers: `network="{part}"`',
                )
            )

    def _make_probe(self, index: int, kept: _Kept, normalization: Normalization | None) -> Probe:
        given = kept.call.images[0]
        item = self._settings.unpack(kept.row)
        if self._settings.picture is not None:
            pixels = read_user_picture(self._settings.picture(kept.row), index)
        else:
            pixels = find_picture(
                Sources(
                    given=given,
                    row=item.image,
                    read_sample=lambda: self._read_sample(index),
                    normalization=normalization,
                    index=index,
                    access=_access(kept.row, item.image),
                )
            )
        if pixels.shape[1:] != given.shape[1:]:
            raise ProbeError(
                expected(
                    "picture",
                    f"of the network's input's size {list(given.shape[1:])}",
                    list(pixels.shape[1:]),
                    "Give it the same geometric transforms",
                )
            )
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
        return Probe(
            index=index,
            call=kept.call,
            pixels=pixels,
            target=torch.as_tensor(item.target).detach().cpu().clone(),
            reference_mask=mask,
            seen=kept.seen.get(replace(self._reading, given=None)),
        )

    def _read_sample(self, index: int) -> Tensor | None:
        if not self._is_known or self._dataset is None:
            return None
        sample = read_apart(self._dataset, index)
        try:
            return None if sample is None else self._settings.unpack(sample).image
        except VLMExplainError:
            return None


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


def _access(row: Any, image: Tensor | None) -> str:
    """Return how a picture is reached in its row, as code."""
    if isinstance(row, dict):
        return next((f"row[{key!r}]" for key, value in row.items() if value is image), "row")
    return "row[0]"


def _on_cpu(sample: Any, copies: Mapping[Any, Tensor]) -> Any:
    """Return a row copied to the CPU, so that it holds no batch.

    Args:
        sample: The row.
        copies: Of tensors, by their place in memory, that need not be copied again.
    """
    if isinstance(sample, Tensor):
        with torch.inference_mode(False), torch.no_grad():
            copy = copies.get(_place(sample))
            return sample.clone().cpu() if copy is None else copy
    if isinstance(sample, dict):
        return {key: _on_cpu(value, copies) for key, value in sample.items()}
    if isinstance(sample, list):
        return [_on_cpu(part, copies) for part in sample]
    return sample


def _place(tensor: Tensor) -> Any:
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device


def _stratum(target: Any) -> int:
    """Return a label to stratify by: the class, or for a map of classes its most frequent one."""
    array = target.detach().cpu().numpy() if isinstance(target, Tensor) else np.asarray(target)
    if array.size == 1:
        return int(array.reshape(()))
    # A grid of pixels will do to tell the most frequent class.
    values, counts = np.unique(array.ravel()[:: 1 + array.size // 4096], return_counts=True)
    return int(values[counts.argmax()])

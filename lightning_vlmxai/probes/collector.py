"""Rows of a validation's batches go in while they pass by; probes chosen among them come out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..calls import Call, step_call
from ..errors import ProbeError, VLMExplainError, expected
from ..explain import (
    IMAGE_METHODS,
    LiveModel,
    TextWatch,
    Watch,
)
from ..records import Probe
from ..tasks import (
    EmbeddingReader,
    MultiLabelClassification,
    Reading,
    Task,
    make_reader,
)
from .doubts import find_doubts
from .files import name_files
from .loaders import Loaded, RowNumbers
from .making import Kept, ProbeMaker, mask_values
from .names import Naming, choose_names, find_names
from .normalizations import search
from .passed import Passed, Row, Told
from .probe_set import ProbeSet, ProbeSettings
from .questions import Questions
from .reservoir import Reservoir, choose_tickets, plan
from .row_names import RowNames
from .rows import copy_row, place_of, same_tensor, stratum_of
from .samples import batch_size, take_row, unpack_dense, unpack_item


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
        self._reader = make_reader(task, settings.output)
        embeds = isinstance(self._reader, EmbeddingReader)
        self.questions = Questions(self._reader)
        self._texts = TextWatch()
        self._watch = Watch(self._refusal, settings.network, IMAGE_METHODS if embeds else ())
        self._reading = Reading()
        self._pending: tuple[Any, int, int] | None = None
        self.start({})

    def start(
        self,
        loaders: Mapping[int, Loaded],
        *,
        rank: int = 0,
        ranks: int = 1,
        holders: Sequence[Any] = (),
    ) -> None:
        """Begin anew, with the validation that comes.

        Args:
            loaders: Whose rows are looked at, by their numbers.
            rank: Of this process.
            ranks: Number of processes.
            holders: What else may know means, standard deviations and names: module, data module.
        """
        self._numbers = RowNumbers(loaders, rank=rank, ranks=ranks)
        parts = [part for one in loaders.values() for part in (one.dataset, one.collate)]
        self._making, self._holders = tuple(parts), tuple(holders)
        datasets = [one.dataset for one in loaders.values()]
        self._names_found = find_names(self._numbers.dataset or next(iter(datasets), None), holders)
        own = getattr(self._task, "class_names", None)
        self._names = self._class_names or next((n.names for n in self._names_found), own)
        self._naming: Naming | None = None
        self._doubts: list[str] = []
        self._row_names, self._files = RowNames(), ""
        self._reader.start()
        self.questions.start()
        self._first: Call | None = None
        self._rank = rank
        self._missed = 0
        wanted = self._settings.watch_classes
        names = list(self._names or ())
        self._floors = {names.index(c): self._settings.min_per_class for c in wanted if c in names}
        choice: dict[str, Any] = {"seed": self._settings.seed, "floors": self._floors}
        labels = self._numbers.labels
        planned = None
        if labels and not self._settings.are_first:
            planned = plan(labels, self._settings.size, **choice)
        self._reservoir = Reservoir(self._settings.size, planned=planned, **choice)

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
        if not size:  # of none, where the loader left out all that it should hold
            return
        # A step may change the batch itself, or take parts out of it.
        self._pending = batch.copy() if type(batch) in (dict, list) else batch, size, loader
        picture = None
        with suppress(VLMExplainError):  # told where the rows are read
            item = self._settings.unpack(take_row(batch, 0, size))
            picture = same_tensor(batch, item.image, size)
        self.questions.begin(picture)
        call = step_call(root, step, batch, size, picture=picture, loader=loader)
        self._watch.begin(root, size=size, picture=picture, step=call, eager=eager)
        if isinstance(self._reader, EmbeddingReader):
            self._texts.begin(root, size=size, eager=eager)

    def after(self, root: nn.Module) -> None:
        """Look at the rows of the batch whose step has ended."""
        passed = self.look(root)
        if passed is not None:
            self.take(passed)

    def look(self, root: nn.Module) -> Passed | None:
        """Return the batch whose step has ended, and what the network was called with."""
        text, found = self._texts.end(), self._watch.end(root)
        if self._pending is None:
            return None
        batch, size, loader = self._pending
        self._pending = None
        return Passed(
            batch=batch,
            size=size,
            indices=self._numbers.next(loader, size),
            padding=self._numbers.count_padding(loader, size),
            names=self._row_names.see(batch, size),
            found=found,
            text=text,
        )

    def take(self, passed: Passed) -> None:
        """Keep rows of a batch that probes may be chosen among."""
        batch, size, names = passed.batch, passed.size, passed.names
        found = passed.found
        if found is None:
            self._missed += size
            with suppress(VLMExplainError):  # what no network reads need not be unpacked
                self._reader.miss(self._targets(batch, size))
            return
        targets = cache(lambda: self._targets(batch, size))
        seen = self._reader.see(found.output, size, targets)
        self.questions.see(found.call, found.output, size)
        self._first = self._first or found.call.row(0)

        def keep(row: int) -> Row:
            call = found.call.row(row)
            copies = {
                place_of(found.call.leaves[i][row]): call.leaves[i][0]
                for i in call.rows
                if isinstance(call.leaves[i], Tensor)
            }
            sample = copy_row(take_row(batch, row, size), copies)
            own = {access: column[row] for access, column in names.items()}
            text = None if passed.text is None else passed.text.row(row)
            return Row(call=call, row=sample, seen=seen(row), names=own, text=text)

        self._reservoir.offer(passed.indices, lambda: map(self._stratum, targets()), keep)

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
        self._texts.stop()
        self._watch.stop()
        self._pending = None

    def tell(self, live: LiveModel) -> Told:
        """Return what the other ranks need to know to choose.

        Args:
            live: The model, which is asked once where its answers may be probabilities or logits.
        """
        live = replace(live, network=self._watch.network)
        ask = self.questions.make(live, self._first)
        tickets = self._reservoir.tickets
        unpack = self._settings.unpack
        items = {t.index: unpack(self._reservoir.take(t.index).row) for t in tickets}
        return Told(
            tickets=tickets,
            counts=self._reservoir.counts,
            shown=self._reader.tell(ask),
            # Not the tickets': what a data set says of its labels may be changed on the way.
            labels={
                i: self._stratum(one.target) for i, one in items.items() if one.target is not None
            },
            mask_values=mask_values(items.values()),
        )

    def choose(self, told: Sequence[Told]) -> list[Probe]:
        """Return this rank's probes among those that all ranks choose.

        Raises:
            ProbeError: If no network was seen, or a row can't be read.
        """
        self._check()
        counts: Counter[int] = sum((one.counts for one in told), Counter())
        # Of the first rows of a sorted data set all labels may be one.
        known = (self._numbers.labels if self._settings.are_first else None) or ()
        self._labels = dict(enumerate(known))
        largest = max(max(counts), max(known, default=-1))
        shown = [one.shown for one in told]
        self._reading = self._reader.choose(shown, self._names, None if largest < 0 else largest)
        tickets = {t.index: t for one in told for t in one.tickets}
        owner = {t.index: r for r, one in reversed(list(enumerate(told))) for t in one.tickets}
        chosen = choose_tickets(
            tickets.values(),
            counts,
            self._settings.size,
            seed=self._settings.seed,
            floors=self._floors,
        )
        if getattr(self._task, "has_captions", False):
            self._names = None
        elif self._class_names is None:
            self._choose_names(told)
        own = [t.index for t in chosen if owner[t.index] == self._rank]
        key = replace(self._reading, given=None, texts=None)
        rows = {index: self._reservoir.take(index) for index in own}
        self.maker = ProbeMaker(
            unpack=self._settings.unpack,
            picture=self._settings.picture,
            normalization=self._settings.normalization,
            found=search(self._making, self._holders),
            dataset=self._numbers.dataset if self._numbers.is_known else None,
        )
        self._doubts, probes = self.maker.make(
            {
                i: Kept(
                    call=r.call,
                    given=r.call.images[0],
                    row=r.row,
                    seen=r.seen.get(key),
                    text=r.text,
                )
                for i, r in rows.items()
            },
            frozenset().union(*(one.mask_values for one in told)),
        )
        self._files, probes = name_files(
            probes,
            {index: row.names for index, row in rows.items()},
            self._row_names,
            self._numbers.dataset if self._numbers.are_indices else None,
        )
        return probes

    def _choose_names(self, told: Sequence[Told]) -> None:
        """Use names only where every label that was seen fits."""
        key = replace(self._reading, given=None, texts=None)
        facts = [one.shown.facts[key] for one in told if one.shown.facts and key in one.shown.facts]
        outputs = facts[0].num_classes or None if facts else None
        seen = {index: label for one in told for index, label in one.labels.items()}
        seen = {**self._labels, **seen}
        is_indexed = self._numbers.is_known and not self._numbers.is_shifted
        naming = choose_names(self._names_found, seen, outputs, is_indexed=is_indexed)
        self._naming = naming
        if naming.names is not None or self._names_found:
            self._names = naming.names
        if naming.names is None and self._names_found and outputs is not None:
            few = self._names_found[0].names
            if outputs >= max(16, 4 * len(few)):  # features, it seems: the explainer asks
                self._names, self._naming = few, None

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
            files=self._files,
        )

    def doubts(self, probe_set: ProbeSet) -> list[str]:
        """Return a sentence for each thing that can't be right in what the judge will see."""
        names = [self._naming.doubt] if self._naming is not None and self._naming.doubt else []
        return [f"{line}." for line in (*names, *self._doubts, *find_doubts(probe_set.probes))]

    @property
    def names_line(self) -> str:
        """An argument that gives the class names, as far as they are known, to be pasted."""
        return "class_names=[...]" if self._naming is None else self._naming.line

    def doubts_of_rows(self, probe_set: ProbeSet) -> list[str]:
        """Return a sentence for each thing that a whole validation's rows leave in doubt."""
        doubt = self._reader.doubt.removeprefix("vlmxai: ")
        found = [doubt] if doubt else []
        for label, floor in self._floors.items():
            has = sum(self._stratum(p.target) == label for p in probe_set.probes)
            if has < floor and self._names:
                found.append(
                    f"class {self._names[label]!r} has {has} probes, {floor} were wanted; "
                    "a gate on it rests on few."
                )
        return found

    @property
    def choice(self) -> str:
        """Which of several calls is explained, in words; empty where there was one."""
        lines = [self._watch.choice, self._reader.choice]
        if isinstance(self._reader, EmbeddingReader) and self._reading.texts is None:
            lines.append(self._texts.describe(*self._watch.source))
        return " ".join(filter(None, lines))

    def _stratum(self, target: Any) -> int:
        if target is None:
            return -1
        if isinstance(self._task, MultiLabelClassification):
            return self._task.first_label(torch.as_tensor(target))
        return stratum_of(target)

    def _refusal(self, output: Any, size: int, call: Call | None) -> str:
        try:
            if self._texts.is_inside:
                return "an embedding of texts"
            if isinstance(self._reader, EmbeddingReader):
                self._reader.read(output, size, has_texts=call is not None and len(call.rows) > 1)
            else:
                self._reader.read(output, size)
        except Exception as error:  # whatever a user's output is, it is not a prediction
            return str(error)
        return ""

    def _check(self) -> None:
        if self._numbers.seen == 0:
            raise ProbeError(
                expected("validation data set", "not empty", "no sample", "Add samples")
            )
        if self._missed == self._numbers.seen:
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

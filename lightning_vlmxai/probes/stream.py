"""Every row of a stage as a probe, read as the first rows showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import ProbeError, expected
from ..explain import Called
from ..records import Probe, Seen
from ..tasks import Task, class_probabilities
from .collector import ProbeCollector
from .files import is_listed, name_more
from .making import Kept, Ways
from .passed import Passed
from .rows import copy_row, place_of
from .samples import take_row, unpack_item, unpack_unlabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """A row of a batch.

    Args:
        probe: Whose index is the row's number in the stage, and whose call the whole batch's.
        row: Its place in the batch.
        own: The index that `unpack` gave it; None if it gave none.
        probabilities: Of each class, `[K]` float32; None of a dense task.
        groups: What the row says it belongs to, by the names that were asked for.
    """

    probe: Probe
    row: int
    own: int | None
    probabilities: Tensor | None
    groups: Mapping[str, str]


class ProbeStream(ProbeCollector):
    """Makes a probe of each row that passes by, once `choose` and `gather` told how to read them.

    Until then batches are to be given to `take`.
    """

    bound: Task | None = None
    """The task as it was bound to texts, or as it is; None before."""

    @property
    def ways(self) -> Ways | None:
        """How rows become probes, as this rank found it out; None where it saw none."""
        return self.maker.ways

    def agree(self, told: Sequence[Ways | None], probes: Sequence[Probe]) -> None:
        """Read further rows as the first rank that saw any.

        Args:
            told: By all ranks.
            probes: That were chosen, of all ranks.
        """
        self.maker.ways = next((ways for ways in told if ways is not None), None)
        dataset = self._numbers.dataset if self._numbers.is_known else None
        # Asked of named ones too: of a few rows that are all, the list may have named them.
        self._believed = dataset if is_listed(probes, dataset) else None
        self._are_indices = self.are_indices

    def width_of(self, passed: Passed) -> int | None:
        """Return how many classes a batch's answers give a probability; None of a dense task."""
        if passed.found is None:
            return None
        task = self.bound or self._reading.task(self._task)
        every = class_probabilities(task, self._reading.take(passed.found.output))
        return None if every is None else every.shape[1]

    @property
    def are_indices(self) -> bool:
        """Whether the numbers of rows are indices of a data set."""
        numbers = self._numbers
        return numbers.is_known and numbers.drops_nothing and not numbers.is_shifted

    @property
    def _listing(self) -> Any:
        """The data set whose list names rows; None where that isn't known, or not any more."""
        return None if self._numbers.is_shifted else self._believed

    @property
    def due(self) -> int | None:
        """How many rows this rank will see; None if that is not known."""
        return self._numbers.due

    @property
    def _gives_index(self) -> bool:
        """Whether `unpack` may give a row an index of its own: ours never do."""
        unpack = self._settings.unpack
        inner = unpack.func if isinstance(unpack, partial) else unpack
        return inner not in (unpack_item, unpack_unlabelled)

    def known_by(self, passed: Passed) -> list[int | None]:
        """Return the index that each row of a batch is known by, without padding.

        None where only its picture tells.

        Raises:
            ProbeError: If the rows before were known by index, and these can't be.
        """
        unpack, batch, size = self._settings.unpack, passed.batch, passed.size
        count = size - passed.padding
        if not self._are_indices:
            return [None] * count
        own: list[int | None] = [None] * count
        if self._gives_index:
            own = [unpack(take_row(batch, row, size)).index for row in range(count)]
        if None in own and not self.are_indices:
            raise ProbeError(
                expected(
                    "batch",
                    "of as many rows as its loader makes, which are known by their index",
                    "fewer: what was left out on the way to the step makes all indices doubtful",
                    "Leave it out in the data set, or pass `unpack`, a function from a row to an "
                    "`Item` with an `index` of its own",
                )
            )
        return [passed.indices[n] if own[n] is None else own[n] for n in range(count)]

    def stream(
        self, passed: Passed, rows: Sequence[int], groups: Sequence[str] = ()
    ) -> list[Streamed]:
        """Return rows of a batch as probes.

        Args:
            passed: The batch.
            rows: Places of the rows in it.
            groups: Names of fields of a row that say what it belongs to.

        Raises:
            ProbeError: If a row can't be read as those before.
        """
        found = passed.found
        if found is None or not rows:
            return []
        with torch.inference_mode(False), torch.no_grad():
            return self._stream(passed, found, rows, groups)

    def _stream(
        self, passed: Passed, found: Called, rows: Sequence[int], groups: Sequence[str]
    ) -> list[Streamed]:
        task = self.bound or self._reading.task(self._task)
        taken = self._reading.take(found.output)
        prediction = task.predict(taken).detach().cpu()
        every = class_probabilities(task, taken)
        every = None if every is None else every.cpu()
        classes, sure = prediction.classes.tolist(), prediction.confidences.tolist()
        images = found.call.images.cpu()
        is_near = found.call.images.device.type == "cpu"
        kept: dict[int, Kept] = {}
        for row in rows:
            sample = take_row(passed.batch, row, passed.size)
            if not is_near:
                sample = copy_row(sample, {place_of(found.call.images[row]): images[row]})
            seen = Seen(prediction=classes[row], confidence=sure[row])
            kept[passed.indices[row]] = Kept(
                call=found.call, given=images[row], row=sample, seen=seen
            )
        columns = [{access: names[row] for access, names in passed.names.items()} for row in rows]
        probes = self.maker.make_more(kept)
        named = name_more(probes, columns, self._row_names, self._listing)
        gives_index = self._gives_index
        return [
            Streamed(
                probe=probe,
                row=row,
                own=self._settings.unpack(kept[probe.index].row).index if gives_index else None,
                probabilities=None if every is None else every[row],
                groups=_groups_of(kept[probe.index].row, groups),
            )
            for row, probe in zip(rows, named, strict=True)
        ]


def _groups_of(row: Any, names: Sequence[str]) -> dict[str, str]:
    """Return what fields of a row say, as text."""
    found: dict[str, str] = {}
    for name in names:
        value = row.get(name) if isinstance(row, Mapping) else None
        if isinstance(value, Tensor):
            value = value.item() if value.numel() == 1 else None
        if value is not None:
            found[name] = str(value)
    return found

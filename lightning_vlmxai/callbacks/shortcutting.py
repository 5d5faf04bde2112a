"""Looks for shortcuts in a closed round, tries them on the live model, and tells of them once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn

from ..explain import Bound, Explainer, LiveModel
from ..records import Probe, Round, Sample
from ..rounds import Faults, Ranks
from ..shortcuts import (
    Shortcut,
    Spoken,
    TrainingList,
    find_shortcuts,
    right_classes,
    spoken_of,
    try_cause,
)
from ..sinks import ShortcutsFound, printable
from ..tasks import MultiLabelClassification
from .explaining import Explaining
from .isolating import Isolation
from .publishing import Publisher

FindTraining = Callable[
    [LiveModel, Bound, Sequence[Sample], Sequence[Shortcut]], list[TrainingList]
]
_NOT_FOR = "Shortcuts are looked for in single-label classifiers; this one {}: none was looked for."
_NO_OTHERS = (
    "Shortcuts show where right answers of a class are held against those of others: {} were "
    "judged, {}, so that none was looked for."
)


class Shortcutting:
    """Looks once at a round. What fails costs a warning, and never the fit.

    Rank 0 looks, at the samples and on the probes of all ranks, and the others wait for it.

    Args:
        ranks: The processes that share the work.
        faults: Passes over what fails.
        publisher: Takes what was found.
        doubt: Told what was not looked for, in words.
    """

    def __init__(
        self, *, ranks: Ranks, faults: Faults, publisher: Publisher, doubt: Callable[[str], None]
    ) -> None:
        self._ranks = ranks
        self._faults = faults
        self._publisher = publisher
        self._doubt = doubt
        self._seen = -1
        self._told: set[str] = set()
        self._spoken: dict[int, Spoken] = {}

    def hear(self, closed: Round) -> None:
        """Keep what the judge saw in a round.

        A probe speaks once, by the last round in which it was right and the judge told: its rounds
        are no independent samples.
        """
        self._spoken |= spoken_of(closed.samples)

    def look(
        self,
        live: LiveModel,
        closed: Round,
        explaining: Explaining,
        isolation: Isolation,
        find_training: FindTraining | None = None,
    ) -> None:
        """Look at a round, if it wasn't yet; called on every rank alike.

        Args:
            live: The model, as it is by now; it is left as it was.
            closed: The round.
            explaining: By which it was explained.
            isolation: How the model is kept from it.
            find_training: Finds training pictures that look like what was found.
        """
        if closed.number != self._seen:
            self._seen = closed.number
            work = partial(
                self._look, closed=closed, explaining=explaining, find_training=find_training
            )
            isolation.run(live, work)

    def _look(
        self,
        live: LiveModel,
        *,
        closed: Round,
        explaining: Explaining,
        find_training: FindTraining | None,
    ) -> None:
        with self._ranks.together():
            if self._ranks.rank == 0:
                found: ShortcutsFound | None = None
                with self._faults.passed_over("Looking for shortcuts", "so none is told"):
                    found = self._find(live, closed, explaining)
                    if find_training is not None and explaining.bound:
                        found = self._add_training(live, explaining.bound, found, find_training)
                note = f"Looking for shortcuts failed, so none is told: {self._faults.last}."
                with self._faults.passed_over("Telling of shortcuts", "so they are not told"):
                    self._tell(found or ShortcutsFound(closed=closed, note=note))

    def _find(self, live: LiveModel, closed: Round, explaining: Explaining) -> ShortcutsFound:
        bound = explaining.bound
        if bound is None:
            return ShortcutsFound(closed=closed, note="Nothing was explained: none was looked for.")
        found = ShortcutsFound(closed=closed, class_names=bound.explainer.class_names)
        is_many = isinstance(bound.explainer.task, MultiLabelClassification)
        if is_many or any(s.explanation.part is not None for s in closed.samples):
            return replace(found, note=_NOT_FOR.format("has several labels a picture"))
        if explaining.has_captions:
            return replace(found, note=_NOT_FOR.format("has a caption a picture and no classes"))
        with live.lent() as network:
            if _is_dense(network, bound.explainer, bound.probes):
                return replace(found, note=_NOT_FOR.format("has a class a pixel"))
            # Of verdicts that all are of earlier rounds nothing is told.
            held = right_classes(closed.samples) if closed.metrics.get("coverage") else []
            if len(held) < 2:
                told = (found.right, f"only of {held[0]!r}") if held else (0, "of no class")
                return replace(found, note=_NO_OTHERS.format(*told))
            shortcuts = [
                self._try(one, closed, bound.explainer, bound.probes, network)
                for one in find_shortcuts(closed.samples, spoken=self._spoken)
            ]
        return replace(found, shortcuts=shortcuts)

    def _add_training(
        self, live: LiveModel, bound: Bound, found: ShortcutsFound, find_training: FindTraining
    ) -> ShortcutsFound:
        """Return what was found, what is proven with training pictures or why there are none."""
        proven = [one for one in found.shortcuts if one.is_proven]
        if not proven:
            return found
        lists: list[TrainingList] = []
        with self._faults.passed_over("Looking through the training data", "so none is listed"):
            lists = find_training(live, bound, found.closed.samples, proven)
        lists = lists or [TrainingList(note=self._faults.last)] * len(proven)
        of = {one.label: listed for one, listed in zip(proven, lists, strict=True)}
        added = [replace(one, training=of.get(one.label)) for one in found.shortcuts]
        return replace(found, shortcuts=added)

    def _try(
        self,
        one: Shortcut,
        closed: Round,
        explainer: Explainer,
        probes: Sequence[Probe],
        network: nn.Module,
    ) -> Shortcut:
        """Return a shortcut with its effect; what fails is said in its stead."""
        tried: Shortcut | None = None
        with self._faults.passed_over("Trying a shortcut", "so its effect is not known"):
            tried = try_cause(
                one,
                closed.samples,
                probes,
                module=network,
                prepare=lambda call: explainer.prepared(call, network),
                task=explainer.task,
            )
        return tried or replace(one, untried=(f"It was not tried: {self._faults.last}.",))

    def _tell(self, found: ShortcutsFound) -> None:
        self._publisher.write_shortcuts(found)
        if found.note:
            self._doubt(found.note)
        for one in found.shortcuts:
            if not one.is_proven:
                rank_zero_info(f"vlmxai: {printable(one.text)}")
            elif one.label not in self._told:
                self._told.add(one.label)
                self._publisher.alert(f"Shortcut: {one.label}", one.text, step=found.closed.step)
                rank_zero_warn(f"vlmxai: {printable(one.text)}")


def _is_dense(network: nn.Module, explainer: Explainer, probes: Sequence[Probe]) -> bool:
    """Return whether the model predicts a class a pixel: it is asked about one probe."""
    answer = explainer.prepared(probes[0].call, network).run(network)
    return explainer.task.predict(answer).class_maps is not None

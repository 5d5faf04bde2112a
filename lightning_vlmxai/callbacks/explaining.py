"""How a run's probes are explained: settled with the first, bound to texts anew in each round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from ..errors import AttributionError, ModelChangedError
from ..explain import Bound, Explainer, LiveModel, MapHealth, bind, explain_captions, spread
from ..judges import CaptionJudge, Judge
from ..probes import ProbeSet
from ..records import Explanation, Probe
from ..rounds import Faults
from ..tasks import EmbeddingTask, ImageText
from .map_check import MapCheck
from .measuring import Measuring
from .names import check_names


class Explaining:
    """Explains probes round after round by what was settled with the first.

    Args:
        asked: As it was asked for; layer and class names are found with the first probes.
        judge: That may need class names.
        watch_classes: Names of classes that are watched.
        faithfulness: Figures of the maps.
        doubt: Told what is not known, in words.
    """

    def __init__(
        self,
        asked: Explainer,
        *,
        judge: Judge,
        watch_classes: Sequence[str],
        faithfulness: Sequence[str],
        doubt: Callable[[str], None],
    ) -> None:
        self._asked = asked
        self._judge = judge
        task = asked.task
        if (
            isinstance(task, EmbeddingTask)
            and task.has_captions
            and isinstance(judge, CaptionJudge)
        ):
            judge.expect_captions()
        self._watched = tuple(watch_classes)
        self._measuring = Measuring(faithfulness)
        self._check = MapCheck()
        self._faults = Faults()
        self._doubt = doubt
        self._settled: Explainer | None = None
        self._bound: Bound | None = None

    @property
    def doubts(self) -> list[str]:
        """What is wrong with the maps, in words."""
        health = self._check.health
        return [*self._check.doubts, *([health.doubt] if health and health.doubt else [])]

    @property
    def health(self) -> MapHealth | None:
        """How maps are beside others; None until they were looked at."""
        return self._check.health

    def explain(
        self,
        live: LiveModel,
        probe_set: ProbeSet,
        own: Sequence[Probe],
        *,
        before: Mapping[str, Any],
        names_line: str,
    ) -> list[Explanation]:
        """Return the explanations of some probes; the first time the layer is found.

        Args:
            live: The model; it is left as it was.
            probe_set: All probes.
            own: Those to explain.
            before: Settings of the run that is resumed; empty if none is.
            names_line: An argument that gives class names, to be pasted.
        """
        names = self._asked.class_names or probe_set.class_names
        if self._settled is None:
            reading = probe_set.reading
            task = reading.task(self._asked.task)
            asked = replace(self._asked, reading=reading, task=task, class_names=names)
            asked = asked.as_before(before)
        elif names == self._settled.class_names:
            asked = self._settled
        else:
            asked = replace(self._settled, class_names=names)
        bound = bind(asked, live, probe_set.probes)
        if self._settled is None or names != self._settled.class_names:
            # More labels are seen in a validation than in the rehearsal.
            self._check_names(bound, names_line)
        if bound.doubt:
            self._doubt(bound.doubt)
        if self._settled is None:
            # Found once: a layer that changed between rounds would be a drift of its own.
            settled = bound.explainer.settle(live, spread(bound.probes, 32))
            bound = replace(bound, explainer=settled)
            asked = replace(settled, task=asked.task, class_names=names)
        self._settled, self._bound = asked, bound
        wanted = {probe.index for probe in own}
        mine = [probe for probe in bound.probes if probe.index in wanted]
        found = self._measuring.add(live, bound.explainer, mine, bound.explainer(live, mine))
        return self._add_words(live, bound, mine, found)

    def _add_words(
        self, live: LiveModel, bound: Bound, probes: Sequence[Probe], found: list[Explanation]
    ) -> list[Explanation]:
        """Return explanations with the words of captions; what goes wrong costs these alone."""
        task, doubt = self._asked.task, ""
        if not isinstance(task, ImageText):
            return found
        with self._faults.passed_over("Explaining the words", "so this round shows none"):
            try:
                found, doubt = explain_captions(live, bound, probes, found, decode=task.decode)
            except ModelChangedError:
                raise
            except AttributionError as error:
                doubt = f"no words of captions are shown: {error}"
        if doubt:
            self._doubt(doubt)
        return found

    def look_at_maps(
        self, live: LiveModel, explanations: Sequence[Explanation], number: int
    ) -> None:
        """Tell of maps that don't show what predictions hang on, in the rounds that are for it.

        In the first of a run, resumed or not, it is told as well how maps are beside others.

        Args:
            live: The model; it is left as it was.
            explanations: Of the round.
            number: Of the round, from 0.
        """
        if self._bound is None:
            return
        explainer, probes = self._bound.explainer, self._bound.probes
        is_due = self._check.is_due(number)
        if is_due and (line := self._check.look(explainer, live, probes, explanations)):
            self._doubt(line)
        health = self._check.look_at_health(explainer, live, probes, explanations)
        if health is not None:
            rank_zero_info(f"vlmxai: {health.text}")
            if health.doubt:
                self._doubt(health.doubt)

    def see(self, probes: Sequence[Probe]) -> Sequence[Probe]:
        """Return probes with what the validation predicted, by the texts of the last round."""
        return probes if self._bound is None else self._bound.see(probes)

    @property
    def bound(self) -> Bound | None:
        """What the last round was explained by; None before the first."""
        return self._bound

    @property
    def has_captions(self) -> bool:
        """Whether each picture has a text of its own, and there are no classes."""
        task = self._asked.task
        return isinstance(task, EmbeddingTask) and task.has_captions

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Of the last round; those that were asked for before the first."""
        explainer = self._asked if self._bound is None else self._bound.explainer
        return explainer.class_names

    def describe(self) -> dict[str, Any]:
        """Return how explanations are made, in plain values."""
        explainer = self._settled or self._asked
        return {**explainer.describe(), "class_names": self.class_names}

    def _check_names(self, bound: Bound, line: str) -> None:
        task = self._asked.task
        if isinstance(task, EmbeddingTask) and task.has_captions:
            line = (
                'unpack=lambda row: Item(image=row["image"], target=None, caption=row["caption"])'
            )
        names = bound.explainer.class_names
        check_names(names, self._judge, watched=self._watched, line=line)

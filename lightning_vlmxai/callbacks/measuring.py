"""Faithfulness figures of a round's saliency maps, on the model that they were made of."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch

from ..calls import join_calls
from ..explain import Explainer, LiveModel
from ..records import Explanation, Probe
from ..rounds import Faults
from ..tasks import MultiLabelClassification, OneLabelEach, Task
from ..trust import faithfulness as measure_faithfulness


class Measuring:
    """Adds figures to explanations; without names it asks the model nothing.

    Args:
        figures: Names, of `trust.FAITHFULNESS`.
    """

    def __init__(self, figures: Sequence[str]) -> None:
        self._figures = tuple(figures)
        self._faults = Faults()

    def measure(
        self,
        live: LiveModel,
        explainer: Explainer,
        probes: Sequence[Probe],
        explanations: Sequence[Explanation],
        *,
        is_raised: bool,
    ) -> list[Explanation]:
        """Return the explanations with their figures; None where one is not defined.

        Args:
            live: The model; it is left as it was.
            explainer: That made the explanations.
            probes: That were explained.
            explanations: Of these probes. A blank map has no figures.
            is_raised: Raise what goes wrong; else it costs the figures of this round, and a
                warning.
        """
        if not self._figures or not explanations:
            return list(explanations)
        if is_raised:
            return self._measure(live, explainer, probes, explanations)
        found = list(explanations)
        with self._faults.passed_over("Measuring faithfulness", "so this round has no such figure"):
            found[:] = self._measure(live, explainer, probes, explanations)
        return found

    def _measure(
        self,
        live: LiveModel,
        explainer: Explainer,
        probes: Sequence[Probe],
        explanations: Sequence[Explanation],
    ) -> list[Explanation]:
        of_index = {probe.index: probe for probe in probes}
        nothing = dict.fromkeys(self._figures)
        found = [replace(e, faithfulness=nothing) for e in explanations]
        alike: defaultdict[str, list[int]] = defaultdict(list)
        for place, one in enumerate(explanations):
            if not one.is_blank:
                alike[str(of_index[one.probe_index].call.shapes)].append(place)
        size = explainer.batch_size
        for places in alike.values():
            for start in range(0, len(places), size):
                chosen = places[start : start + size]
                batch = [explanations[place] for place in chosen]
                call = explainer.prepare(
                    live, join_calls([of_index[e.probe_index].call for e in batch])
                )
                figures = measure_faithfulness(
                    live,
                    call,
                    torch.stack([e.saliency for e in batch]),
                    _task_of(explainer.task, batch, call.images.device),
                    figures=self._figures,
                )
                for row, place in enumerate(chosen):
                    told = {name: float(values[row]) for name, values in figures.items()}
                    found[place] = replace(
                        found[place],
                        faithfulness={n: v if math.isfinite(v) else None for n, v in told.items()},
                    )
        return found


def _task_of(task: Task, batch: Sequence[Explanation], device: torch.device) -> Task:
    """Return what reads the label that each map explains."""
    if not isinstance(task, MultiLabelClassification):
        return task
    labels = [e.prediction for e in batch]
    return OneLabelEach(task=task, classes=torch.tensor(labels, device=device))

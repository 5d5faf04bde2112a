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
from ..trust import faithfulness


class Measuring:
    """Adds figures to explanations; without names it asks the model nothing.

    Args:
        figures: Names, of `trust.FAITHFULNESS`.
    """

    def __init__(self, figures: Sequence[str]) -> None:
        self._figures = tuple(figures)
        self._faults = Faults()
        self._has_worked = False

    def add(
        self,
        live: LiveModel,
        explainer: Explainer,
        probes: Sequence[Probe],
        explanations: Sequence[Explanation],
    ) -> list[Explanation]:
        """Return the explanations with their figures; None where one is not defined.

        What goes wrong is raised the first time; later it costs a round's figures, and a warning.

        Args:
            live: The model; it is left as it was.
            explainer: That made the explanations.
            probes: That were explained.
            explanations: Of these probes. A blank map has no figures.
        """
        if not self._figures or not explanations:
            return list(explanations)
        found = list(explanations)
        if not self._has_worked:
            found = self._measure(live, explainer, probes, explanations)
            self._has_worked = True
            return found
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
        size, module = explainer.batch_size, live.module.get_submodule(live.network)
        for places in alike.values():
            for start in range(0, len(places), size):
                chosen = places[start : start + size]
                batch = [explanations[place] for place in chosen]
                calls = [of_index[e.probe_index].call for e in batch]
                call = explainer.prepared(join_calls(calls), module)
                figures = faithfulness(
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

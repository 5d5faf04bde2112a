"""Faithfulness figures of a round's saliency maps, on the model that they were made of."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch

from ..calls import Call, join_calls
from ..errors import ConfigurationError, expected
from ..explain import Explainer, LiveModel
from ..records import Explanation, Probe
from ..rounds import Faults
from ..tasks import MultiLabelClassification, OneLabelEach, Task
from ..trust import FAITHFULNESS, faithfulness


def check_figures(figures: Sequence[str]) -> tuple[str, ...]:
    """Return names of faithfulness figures, each once.

    Raises:
        ConfigurationError: If one is not of `trust.FAITHFULNESS`.
    """
    if isinstance(figures, str) or not set(figures) <= set(FAITHFULNESS):
        known = [name for name in FAITHFULNESS if name in figures] or ["deletion", "insertion"]
        raise ConfigurationError(
            expected(
                "faithfulness",
                f"a tuple of {', '.join(FAITHFULNESS)}",
                repr(figures),
                f"Pass faithfulness={tuple(known)}",
            )
        )
    return tuple(dict.fromkeys(figures))


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
                measured = _measure_batch(live, explainer, call, batch, self._figures)
                for place, one in zip(chosen, measured, strict=True):
                    found[place] = one
        return found


def measure_rows(
    live: LiveModel,
    explained: Sequence[Sequence[Explanation]],
    *,
    explainer: Explainer,
    call: Call,
    rows: Sequence[int],
    figures: Sequence[str],
) -> list[list[Explanation]]:
    """Return the explanations of rows of a call with their figures; without names, as they are.

    Args:
        live: The model; it is left as it was.
        explained: Of each row. A blank map has no figures.
        explainer: That made the explanations.
        call: Of the network.
        rows: Which row of the call each is.
        figures: Names, of `trust.FAITHFULNESS`.
    """
    if not figures:
        return [list(each) for each in explained]
    nothing = dict.fromkeys(figures)
    found = [[replace(e, faithfulness=nothing) for e in each] for each in explained]
    places = [(n, m) for n, each in enumerate(found) for m, e in enumerate(each) if not e.is_blank]
    module, size = live.module.get_submodule(live.network), explainer.batch_size
    for start in range(0, len(places), size):
        chosen = places[start : start + size]
        batch = [found[n][m] for n, m in chosen]
        part = explainer.prepared(call.take(torch.tensor([rows[n] for n, _ in chosen])), module)
        measured = _measure_batch(live, explainer, part, batch, figures)
        for (n, m), one in zip(chosen, measured, strict=True):
            found[n][m] = one
    return found


def _measure_batch(
    live: LiveModel,
    explainer: Explainer,
    call: Call,
    batch: Sequence[Explanation],
    figures: Sequence[str],
) -> list[Explanation]:
    """Return explanations of a call with their figures; None where one is not defined."""
    found = faithfulness(
        live,
        call,
        torch.stack([e.saliency for e in batch]),
        _task_of(explainer.task, batch, call.images.device),
        figures=figures,
    )
    told = [
        {name: float(values[row]) for name, values in found.items()} for row in range(len(batch))
    ]
    return [
        replace(e, faithfulness={n: v if math.isfinite(v) else None for n, v in own.items()})
        for e, own in zip(batch, told, strict=True)
    ]


def _task_of(task: Task, batch: Sequence[Explanation], device: torch.device) -> Task:
    """Return what reads the label that each map explains."""
    if not isinstance(task, MultiLabelClassification):
        return task
    labels = [e.prediction for e in batch]
    return OneLabelEach(task=task, classes=torch.tensor(labels, device=device))

"""Ask now and then whether the maps show what predictions hang on."""

from __future__ import annotations

from collections.abc import Sequence

from ..explain import Explainer, LiveModel, MapHealth, find_fault, look_at_health
from ..records import Explanation, Probe


class MapCheck:
    """Asks in rounds 1, 4, 16 and so on of a run, until a fault is found: it is told once."""

    def __init__(self) -> None:
        self.doubts: list[str] = []
        """What was found, in words."""
        self.health: MapHealth | None = None
        """How maps are beside others; None until they were looked at."""

    def is_due(self, number: int) -> bool:
        """Return whether a round is one of these; rounds count from 0."""
        count = number + 1
        return not self.doubts and count & (count - 1) == 0 and count.bit_length() % 2 == 1

    def look(
        self,
        explainer: Explainer,
        live: LiveModel,
        probes: Sequence[Probe],
        explanations: Sequence[Explanation],
    ) -> str:
        """Return what is wrong with the maps of a round, in words; empty if nothing seems to be."""
        line = find_fault(explainer, live, _pair(probes, explanations))
        self.doubts += [line] if line else []
        return line

    def look_at_health(
        self,
        explainer: Explainer,
        live: LiveModel,
        probes: Sequence[Probe],
        explanations: Sequence[Explanation],
    ) -> MapHealth | None:
        """Return how the maps of a round are beside others, once a run; else None."""
        if self.health is not None:
            return None
        self.health = look_at_health(explainer, live, _pair(probes, explanations))
        return self.health


def _pair(
    probes: Sequence[Probe], explanations: Sequence[Explanation]
) -> list[tuple[Probe, Explanation]]:
    """Return the probes that have an explanation, each with its first."""
    first = {found.probe_index: found for found in reversed(explanations)}
    return [(probe, first[probe.index]) for probe in probes if probe.index in first]

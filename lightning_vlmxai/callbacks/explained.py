"""What the ranks made of the probes together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ..records import Explanation, Probe
from ..rounds import with_probe, without_probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Explanations of some probes.

    Args:
        explanations: In probe order.
        missing: Number of probes that could not be explained.
        failure: Why; empty if none.
    """

    explanations: list[Explanation]
    missing: int
    failure: str

    @classmethod
    def share(cls, found: Sequence[Explanation], own: Sequence[Probe], failure: str) -> Explained:
        """Return a rank's share, as it is sent: without what each rank has of the probes."""
        return cls(
            explanations=[without_probe(e) for e in found],
            missing=len(own) - len({e.probe_index for e in found}),
            failure=failure,
        )

    @classmethod
    def join(cls, shares: Sequence[Explained], probes: Sequence[Probe]) -> Explained:
        """Return what all ranks made of the probes."""
        of_index: defaultdict[int, list[Explanation]] = defaultdict(list)
        for explanation in (e for share in shares for e in share.explanations):
            of_index[explanation.probe_index].append(explanation)
        return cls(
            explanations=[with_probe(e, p) for p in probes for e in of_index[p.index]],
            missing=sum(share.missing for share in shares),
            failure=next((share.failure for share in shares if share.failure), ""),
        )

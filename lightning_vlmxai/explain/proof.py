"""The proof of every run: what is explained predicts what the validation predicted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from ..errors import AttributionError, expected
from ..records import Explanation, Probe


def find_disagreements(
    probes: Sequence[Probe], explanations: Sequence[Explanation], *, tolerance: float
) -> list[str]:
    """Return a sentence for each probe whose explained prediction is not the validation's.

    Classes may differ only where neither is more likely than not, as they do in a tie.

    Args:
        probes: With what the validation saw; those without are passed over.
        explanations: Of these probes, found by their index; a probe may have several.
        tolerance: Of the probabilities, in [0, 1].
    """
    of_index: defaultdict[int, list[Explanation]] = defaultdict(list)
    for explanation in explanations:
        of_index[explanation.probe_index].append(explanation)
    found = []
    for probe in probes:
        every, seen = of_index[probe.index], probe.seen
        if not every or seen is None:
            continue
        # Of several, most confident first, that of the label that was seen: two may be as sure.
        explained = next((e for e in every if e.part == seen.prediction), every[0])
        is_close = abs(explained.confidence - seen.confidence) <= tolerance
        is_tie = seen.confidence <= 0.5 + tolerance
        if not is_close or not (explained.prediction == seen.prediction or is_tie):
            found.append(
                f"row {probe.index}: the validation predicted class {seen.prediction} with "
                f"probability {seen.confidence:.4f}, the explained network predicts class "
                f"{explained.prediction} with {explained.confidence:.4f}"
            )
    return found


def share_agreed(probes: Sequence[Probe], disagreements: Sequence[str]) -> float | None:
    """Return which share of the probes agrees, in [0, 1]; None if none was seen."""
    count = sum(probe.seen is not None for probe in probes)
    return None if not count else 1 - len(disagreements) / count


def disagreement(found: Sequence[str], probes: Sequence[Probe]) -> AttributionError:
    """Return the error that what is explained is not what the validation predicted.

    Args:
        found: Of `find_disagreements`, at least one.
        probes: All.
    """
    broken = [p.index for p in probes if p.seen is not None and math.isnan(p.seen.confidence)]
    if broken:
        return AttributionError(
            expected(
                "predictions",
                "numbers",
                f"NaN for {len(broken)} of {len(probes)} rows, such as row {broken[0]}",
                "Look at weights and inputs: something is NaN or overflows (16-bit precision?); "
                "rows for which the network has no answer have to be left out of the data",
            )
        )
    return AttributionError(
        expected(
            "explained predictions",
            "those of the validation, for the same rows at the same moment",
            f"{len(found)} of {len(probes)} that differ ({found[0]})",
            "The network answers otherwise when it is called again with what it was given "
            "(randomness, state, or other rows of the batch play a part): name the part "
            'that does not, as in `network="model"`',
        )
    )

"""A round whose verdicts are not in yet: what is kept of it, plain enough for a checkpoint."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from ..judges import Ticket
from ..records import Control, Explanation, Probe, Round, Verdict
from .drift import Shift
from .panel import Chance

NOTHING = torch.empty(0)
"""In the place of a tensor that is kept elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStart:
    """What is known of a round when it is opened: plain values.

    Args:
        number: `Round.number`.
        stage: `Round.stage`.
        epoch: `Round.epoch`.
        step: `Round.step`.
        missing: `Round.missing`.
        failure: `Round.failure`.
    """

    number: int
    stage: str
    epoch: int
    step: int
    missing: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRound:
    """A round that was submitted.

    Args:
        start: What is known of it.
        explanations: Of all ranks, in probe order.
        shifts: How far each is from the probe's last one.
        chances: What was drawn for those that can be judged: who is, and what stands else.
        controls: That all ranks have judged after them.
        ticket: For this rank's share of both.
    """

    start: RoundStart
    explanations: tuple[Explanation, ...]
    shifts: tuple[Shift | None, ...]
    chances: tuple[Chance, ...]
    controls: tuple[Control, ...]
    ticket: Ticket

    @property
    def sent(self) -> list[Explanation]:
        """The explanations that are judged: blank saliency maps are not."""
        return sent(self.explanations)

    @property
    def questions(self) -> int:
        """Number of verdicts that all ranks wait for together."""
        return len(self.sent) + len(self.controls)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Late:
    """A request that was under way at its round's deadline."""

    start: RoundStart
    explanation: Explanation
    future: concurrent.futures.Future[Verdict]
    give_up_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a rank tells the others when a round is closed."""

    verdicts: tuple[Verdict, ...]
    late: tuple[Round, ...]


def without_probe(explanation: Explanation) -> Explanation:
    """Return an explanation without what every rank has of its probe."""
    return replace(explanation, pixels=NOTHING, reference_mask=None)


def with_probe(explanation: Explanation, probe: Probe) -> Explanation:
    """Return the explanation of a probe with what `without_probe` left out."""
    return replace(explanation, pixels=probe.pixels, reference_mask=probe.reference_mask)


def sent(explanations: Sequence[Explanation]) -> list[Explanation]:
    """Return those that are judged: not the blank saliency maps."""
    return [explanation for explanation in explanations if not explanation.is_blank]


def to_dict(record: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return a record's own values by name, without copying them."""
    return {f.name: getattr(record, f.name) for f in fields(record) if f.name not in without}

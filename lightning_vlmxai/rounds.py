"""Open, collect and close rounds: lag, deadlines, reduction over ranks. Knows no Trainer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch.distributed as dist
from torch import Tensor

from .errors import VLMExplainError
from .explain import make_request
from .masking import mask_iou
from .quadrants import assign_quadrant, round_metrics
from .records import Explanation, Round, Sample, UnscoredReason, Verdict
from .worker import JudgeWorker, Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One rank's part of a round.

    Args:
        samples: That this rank explained.
        missing: Number of its probes that could not be explained.
        failure: Why; empty if none.
    """

    samples: tuple[Sample, ...]
    missing: int = 0
    failure: str = ""


Gather = Callable[[Part], list[Part]]


@runtime_checkable
class RoundSource(Protocol):
    """What `QuadrantStopping` needs of the callback that it listens to."""

    @property
    def latest_round(self) -> Round | None:
        """The last round whose verdicts are in; None before the first."""
        ...

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The full name of every metric that it may log."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenRound:
    number: int
    stage: str
    epoch: int
    step: int
    explanations: tuple[Explanation, ...]
    missing: int
    failure: str
    drifts: dict[int, float]
    ticket: Ticket


class RoundBook:
    """The open rounds of a run: every explanation that was submitted, until its verdict is in.

    Args:
        worker: Runs the judge.
        lag: How many rounds an open one may trail.
        deadline_s: Seconds that a collection waits at most.
        threshold: High means `score >= threshold`.
        watch_classes: Names of classes whose own figures are wanted.
        gather: Maps one rank's part to the parts of all ranks; the same list on every rank.
        fingerprint: Of the probe set.
        number: Of the first round.
    """

    def __init__(
        self,
        worker: JudgeWorker,
        *,
        lag: int,
        deadline_s: float,
        threshold: float,
        watch_classes: Sequence[str] = (),
        gather: Gather = lambda part: [part],
        fingerprint: str = "",
        number: int = 0,
    ) -> None:
        self._worker = worker
        self._lag = lag
        self._deadline_s = deadline_s
        self._threshold = threshold
        self._watch_classes = watch_classes
        self._gather = gather
        self._fingerprint = fingerprint
        self._open: deque[_OpenRound] = deque()
        self._last_masks: dict[int, Tensor] = {}
        self.next_number = number

    def open(
        self,
        explanations: Sequence[Explanation],
        *,
        stage: str,
        epoch: int,
        step: int,
        missing: int = 0,
        failure: str = "",
    ) -> None:
        """Submit a round to the judge; blank saliency maps are not sent.

        Args:
            explanations: Of this rank.
            stage: "fit", "validate" or "test".
            epoch: That is explained.
            step: The trainer's global step.
            missing: Number of probes that could not be explained.
            failure: Why.
        """
        drifts = {
            e.probe_index: 1 - float(mask_iou(e.mask, self._last_masks[e.probe_index]))
            for e in explanations
            if not e.is_blank and e.probe_index in self._last_masks
        }
        self._last_masks.update({e.probe_index: e.mask for e in explanations if not e.is_blank})
        requests = [
            make_request(e, round_number=self.next_number) for e in explanations if not e.is_blank
        ]
        try:
            ticket = self._worker.submit(requests)
        except VLMExplainError as error:
            refused = Verdict.unscored(UnscoredReason.JUDGE_ERROR, str(error))
            ticket = Ticket.answered([refused] * len(requests))
        self._open.append(
            _OpenRound(
                number=self.next_number,
                stage=stage,
                epoch=epoch,
                step=step,
                explanations=tuple(explanations),
                missing=missing,
                failure=failure,
                drifts=drifts,
                ticket=ticket,
            )
        )
        self.next_number += 1

    def collect(self) -> list[Round]:
        """Return the rounds that trail by `lag`, oldest first, waiting for their verdicts."""
        return [self._close(self._open.popleft()) for _ in range(len(self._open) - self._lag)]

    def drain(self) -> list[Round]:
        """Return all open rounds, oldest first, waiting for their verdicts."""
        return [self._close(self._open.popleft()) for _ in range(len(self._open))]

    def _close(self, opened: _OpenRound) -> Round:
        verdicts = iter(opened.ticket.collect(self._deadline_s))
        blank = Verdict.unscored(UnscoredReason.BLANK_SALIENCY, "the saliency map is constant")
        own = []
        for explanation in opened.explanations:
            verdict = blank if explanation.is_blank else next(verdicts)
            own.append(
                Sample(
                    explanation=explanation,
                    verdict=verdict,
                    quadrant=None
                    if verdict.score is None
                    else assign_quadrant(
                        verdict.score,
                        is_correct=explanation.is_correct,
                        threshold=self._threshold,
                    ),
                    attention_drift=opened.drifts.get(explanation.probe_index),
                )
            )
        part = Part(samples=tuple(own), missing=opened.missing, failure=opened.failure)
        parts = self._gather(part)
        samples = sorted(
            (sample for part in parts for sample in part.samples),
            key=lambda sample: sample.explanation.probe_index,
        )
        missing = sum(part.missing for part in parts)
        return Round(
            number=opened.number,
            stage=opened.stage,
            epoch=opened.epoch,
            step=opened.step,
            fingerprint=self._fingerprint,
            samples=tuple(samples),
            metrics=round_metrics(samples, missing=missing, watch_classes=self._watch_classes),
            missing=missing,
            failure=next((part.failure for part in parts if part.failure), ""),
        )


def gather_over_ranks(own: Part) -> list[Part]:
    """Return the parts of all ranks of the process group, the same list on every rank."""
    parts: list[Part] = [own] * dist.get_world_size()
    dist.all_gather_object(parts, own)
    return parts

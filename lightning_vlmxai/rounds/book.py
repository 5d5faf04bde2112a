"""Open, collect and close rounds: lag, deadlines, late verdicts, all ranks. Knows no Trainer."""

from __future__ import annotations

import concurrent.futures
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..explain import make_request
from ..judges import INTERRUPTED_S, JudgeWorker, Ticket
from ..records import (
    Control,
    Explanation,
    JudgedControl,
    Probe,
    Round,
    Sample,
    UnscoredReason,
    Verdict,
)
from .drift import DriftMemory, Shift
from .open_round import (
    NOTHING,
    Late,
    OpenRound,
    RoundStart,
    Told,
    sent,
    to_dict,
    with_probe,
    without_probe,
)
from .panel import Chance, Panel
from .quadrants import assign_quadrant, round_metrics
from .ranks import Ranks

DrawControls = Callable[[Sequence[Explanation], int, str], Sequence[Control]]
"""Controls of a round, from its explanations, number and stage: the same ones on every rank."""

_OF_PROBE = ("pixels", "reference_mask")

LATE_GRACE_S = 10.0
"""How long the end of a run waits, beyond the deadlines, for verdicts that are paid for."""


class RoundBook:
    """The open rounds of a run: every explanation that was submitted, until its verdict is in.

    Every rank has the same book, with the explanations of all; each has its share of them judged.

    Args:
        worker: Runs this rank's judge.
        lag: How many rounds an open one may trail.
        deadline_s: Seconds that a collection waits at most.
        threshold: High means `score >= threshold`.
        watch_classes: Names of classes whose own figures are wanted.
        ranks: The processes that share the work.
        fingerprint: Of the probe set.
        number: Of the first round.
        judged_share: Of a round's probes that is judged where last verdicts can stand for the
            others, in (0, 1]; 1 judges all. See `Panel`.
        seed: Of who is drawn.
        is_over: Asked in every wait whether the run is to end: then it is cut short.
        draw_controls: Gives the pictures with known answers that are judged after the samples of
            a round, and count in none of its figures.
    """

    def __init__(
        self,
        worker: JudgeWorker,
        *,
        lag: int,
        deadline_s: float,
        threshold: float,
        watch_classes: Sequence[str] = (),
        ranks: Ranks | None = None,
        fingerprint: str = "",
        number: int = 0,
        judged_share: float = 1.0,
        seed: int = 0,
        is_over: Callable[[], bool] = lambda: False,
        draw_controls: DrawControls = lambda *_: (),
    ) -> None:
        self._worker = worker
        self._run_is_over = is_over
        self._draw_controls = draw_controls
        self._lag = lag
        self._deadline_s = deadline_s
        self._threshold = threshold
        self._watch_classes = watch_classes
        self._ranks = ranks or Ranks()
        self._fingerprint = fingerprint
        self._open: deque[OpenRound] = deque()
        self._drift = DriftMemory()
        self._panel = Panel(
            judged_share, seed=seed, threshold=threshold, watch_classes=watch_classes
        )
        self._late: list[Late] = []
        self._late_rounds: list[Round] = []
        self._concluded: dict[str, Any] | None = None
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
            explanations: Of all ranks, in probe order.
            stage: "fit", "validate" or "test".
            epoch: That is explained.
            step: The trainer's global step.
            missing: Number of probes that could not be explained.
            failure: Why.
        """
        start = RoundStart(
            number=self.next_number,
            stage=stage,
            epoch=epoch,
            step=step,
            missing=missing,
            failure=failure,
        )
        self.next_number += 1
        chances = self._panel.draw(sent(explanations), start.number)
        self._submit(start, explanations, [self._drift.look(e) for e in explanations], chances)

    def collect(self) -> list[Round]:
        """Return the rounds that trail by `lag`, oldest first, waiting for their verdicts."""
        return [self._close_first() for _ in range(len(self._open) - self._lag)]

    def drain(self, on_verdict: Callable[[int], object] | None = None) -> list[Round]:
        """Return all open rounds, oldest first, and wait a little for what is late.

        Args:
            on_verdict: Told how many of this rank's verdicts came in, as they do.
        """
        closed = [self._close_first(on_verdict) for _ in range(len(self._open))]
        grace_s = 0.0 if self._is_over() else min(LATE_GRACE_S, self._deadline_s)
        concurrent.futures.wait([late.future for late in self._late], grace_s)
        self._tell([])
        return closed

    def conclude(self) -> list[Round]:
        """Return all open rounds, with what this rank has: the run ends here, in an error maybe.

        Nothing more is sent, what is under way is waited for a moment, and no other rank is asked,
        which may be gone: its share comes back as unscored(closed). The state keeps these rounds
        open, so that a resumed run has the rest of them judged.
        """
        self._concluded = self.state_dict(with_pictures=True)
        ends = time.monotonic() + INTERRUPTED_S
        for opened in self._open:
            opened.ticket.give_up()
        elsewhere = Verdict.unscored(
            UnscoredReason.CLOSED, "the run ended before another rank could tell its verdict"
        )
        closed = []
        while self._open:
            opened = self._open.popleft()
            left = max(0.0, ends - time.monotonic())
            own = iter(opened.ticket.collect(left, is_over=lambda: True))
            share = set(self._ranks.share(range(opened.questions)))
            of_all = (
                next(own) if place in share else elsewhere for place in range(opened.questions)
            )
            closed.append(self._settle(opened, of_all))
        self._late_rounds += self._take_in_late()
        return closed

    @property
    def open_requests(self) -> int:
        """Number of this rank's requests in open rounds, answered or not."""
        return sum(len(opened.ticket.claims) for opened in self._open)

    def take_late(self) -> list[Round]:
        """Return what came in after its deadline since the last call, and forget it.

        Rounds without figures, whose samples are the late ones alone, without their pictures.
        """
        late, self._late_rounds = self._late_rounds, []
        return late

    def state_dict(self, *, with_pictures: bool = False) -> dict[str, Any]:
        """Return what a resumed run needs to close the open rounds: plain values and tensors.

        Of an explanation all is kept that the probe set doesn't have: a judge has to be shown
        the same picture to the last bit, or what was paid for is not found again.

        Args:
            with_pictures: Keep what the probe set has as well, for a run that will have none.
        """
        if self._concluded is not None:
            return self._concluded
        return {
            "next_number": self.next_number,
            "drift": self._drift.state_dict(),
            "panel": self._panel.state_dict(),
            "open": [
                {
                    "start": to_dict(opened.start),
                    "explanations": [
                        to_dict(e, without=() if with_pictures else _OF_PROBE)
                        for e in opened.explanations
                    ],
                    "shifts": [shift and tuple(shift) for shift in opened.shifts],
                    "chances": [chance.to_state() for chance in opened.chances],
                }
                for opened in self._open
            ],
        }

    def resume(self, state: Mapping[str, Any], probes: Sequence[Probe]) -> None:
        """Go on from a saved state: the open rounds are submitted again.

        Args:
            state: Of `state_dict`, perhaps of another number of ranks.
            probes: The same as then; none where the state has their pictures.
        """
        self._drift.load_state_dict(state["drift"])
        if "panel" in state:
            self._panel.load_state_dict(state["panel"])
        of_index = {probe.index: probe for probe in probes}
        for saved in state["open"]:
            explanations = [
                with_probe(Explanation(**told, pixels=NOTHING), of_index[told["probe_index"]])
                if "pixels" not in told
                else Explanation(**told)
                for told in saved["explanations"]
            ]
            shifts = [shift and Shift(*shift) for shift in saved["shifts"]]
            chances = [Chance.from_state(told) for told in saved.get("chances", ())]
            chances = chances or [Chance() for _ in sent(explanations)]
            self._submit(RoundStart(**saved["start"]), explanations, shifts, chances)

    def _submit(
        self,
        start: RoundStart,
        explanations: Sequence[Explanation],
        shifts: Sequence[Shift | None],
        chances: Sequence[Chance],
    ) -> None:
        self._give_up_overdue()
        controls = tuple(self._draw_controls(explanations, start.number, start.stage))
        told = [
            *(
                make_request(e, round_number=start.number, stage=start.stage)
                for e in sent(explanations)
            ),
            *(control.request for control in controls),
        ]
        requests = self._ranks.share(told)
        held = self._ranks.share([*(c.known for c in chances), *(None for _ in controls)])
        try:
            asked = self._worker.submit(
                [r for r, verdict in zip(requests, held, strict=True) if verdict is None]
            )
            ticket = asked.beside(held)
        except Exception as error:  # the others wait for this rank: it tells, and goes on
            refused = Verdict.unscored(UnscoredReason.JUDGE_ERROR, str(error))
            ticket = Ticket.answered([refused] * len(requests))
        self._open.append(
            OpenRound(
                start=start,
                explanations=tuple(explanations),
                shifts=tuple(shifts),
                chances=tuple(chances),
                controls=controls,
                ticket=ticket,
            )
        )

    def _close_first(self, on_verdict: Callable[[int], object] | None = None) -> Round:
        opened = self._open[0]
        verdicts = opened.ticket.collect(self._deadline_s, on_verdict, is_over=self._is_over)
        own = self._ranks.share(opened.sent)
        self._late += [
            Late(
                start=opened.start,
                explanation=replace(without_probe(own[place]), saliency=NOTHING, mask=NOTHING),
                future=future,
                give_up_at=time.monotonic() + self._deadline_s,
            )
            for place, future in opened.ticket.late.items()
            if place < len(own)  # a control that comes late is of no use
        ]
        told = self._tell(verdicts)
        # Not before: a wait that is interrupted leaves the round open, and in the state.
        self._open.popleft()
        every = range(opened.questions)
        return self._settle(opened, (told[i % len(told)].verdicts[i // len(told)] for i in every))

    def _is_over(self) -> bool:
        """Return whether the run is to end, and then send nothing more."""
        is_over = self._run_is_over()
        if is_over:
            for opened in self._open:
                opened.ticket.give_up()
        return is_over

    def _settle(self, opened: OpenRound, of_all: Iterator[Verdict]) -> Round:
        """Return a round with the verdicts on what was sent: explanations, then controls."""
        blank = Verdict.unscored(UnscoredReason.BLANK_SALIENCY, "the saliency map is constant")
        samples, drawn = [], iter(opened.chances)
        for explanation, shift in zip(opened.explanations, opened.shifts, strict=True):
            chance = Chance() if explanation.is_blank else next(drawn)
            verdict = blank if explanation.is_blank else next(of_all)
            verdict = chance.known or verdict  # every rank has it, and no judge that is out
            sample = self._to_sample(explanation, verdict)
            if shift is not None:
                sample = replace(sample, **shift._asdict())
            if chance.expected is not None and chance.inclusion < 1:
                sample = replace(sample, inclusion=chance.inclusion, expected_score=chance.expected)
            if chance.is_asked:
                score_drift = self._drift.rescore(explanation.key, verdict.score)
                sample = replace(sample, score_drift=score_drift)
            samples.append(sample)
        self._panel.hear(
            [(s.explanation, s.verdict) for s in samples if not s.explanation.is_blank],
            opened.chances,
        )
        metrics = round_metrics(
            samples, missing=opened.start.missing, watch_classes=self._watch_classes
        )
        if self._panel.rotates and opened.chances:
            asked = math.fsum(chance.inclusion for chance in opened.chances)
            metrics["judged_share"] = asked / len(opened.chances)
        closed = self._to_round(opened.start, samples, metrics)
        judged = (JudgedControl(control=c, verdict=next(of_all)) for c in opened.controls)
        return replace(closed, controls=tuple(judged))

    def _to_sample(self, explanation: Explanation, verdict: Verdict) -> Sample:
        quadrant = None
        if verdict.score is not None and explanation.is_correct is not None:
            quadrant = assign_quadrant(
                verdict.score, is_correct=explanation.is_correct, threshold=self._threshold
            )
        return Sample(
            explanation=explanation, verdict=verdict, quadrant=quadrant, threshold=self._threshold
        )

    def _to_round(
        self, start: RoundStart, samples: Sequence[Sample], metrics: Mapping[str, float]
    ) -> Round:
        return Round(
            **to_dict(start),
            fingerprint=self._fingerprint,
            samples=tuple(samples),
            metrics=metrics,
        )

    def _tell(self, verdicts: Sequence[Verdict]) -> list[Told]:
        """Gather verdicts, and what came in late, over all ranks."""
        told = self._ranks.gather(Told(verdicts=tuple(verdicts), late=self._take_in_late()))
        self._late_rounds += [late for one in told for late in one.late]
        return told

    def _take_in_late(self) -> tuple[Round, ...]:
        done = [late for late in self._late if late.future.done()]
        self._late = [late for late in self._late if late not in done]
        return tuple(self._to_late_round(late) for late in done if not late.future.cancelled())

    def _to_late_round(self, late: Late) -> Round:
        return self._to_round(
            late.start, [self._to_sample(late.explanation, late.future.result())], {}
        )

    def _give_up_overdue(self) -> None:
        """Cancel what is late by a whole deadline: later rounds wait for its place."""
        now = time.monotonic()
        for late in self._late:
            if late.give_up_at <= now:
                late.future.cancel()

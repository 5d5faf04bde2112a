"""Rows of an audit between explanation and line: never more than a few in memory."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import JudgeError
from ..explain import make_request
from ..judges import INTERRUPTED_S, FailureReporter, Judge, JudgeWorker, Ticket, describe_failures
from ..probes import Streamed
from ..records import Explanation, Sample, UnscoredReason, Verdict
from ..rounds import assign_quadrant
from ..sinks import AuditFolder, Judged
from .progress import AuditProgress

HOPELESS = 64
"""After so many verdicts in a row that say the judge is away, an audit ends."""

AWAY = frozenset(
    {
        UnscoredReason.AUTHENTICATION,
        UnscoredReason.CONNECTION,
        UnscoredReason.FORBIDDEN,
        UnscoredReason.HTML_ANSWER,
        UnscoredReason.NOT_FOUND,
        UnscoredReason.OVER_BUDGET,
        UnscoredReason.QUOTA_EXHAUSTED,
        UnscoredReason.SERVER_ERROR,
        UnscoredReason.TIMEOUT,
    }
)

_BLANK = Verdict.unscored(UnscoredReason.BLANK_SALIENCY, "the saliency map is constant")


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """A row whose verdicts are under way."""

    explanations: Sequence[Explanation]
    ticket: Ticket
    streamed: Streamed
    pixels: str

    @property
    def is_done(self) -> bool:
        return all(claim.future.done() for claim in self.ticket.claims)

    @property
    def is_given_up(self) -> bool:
        return any(claim.future.cancelled() for claim in self.ticket.claims)


class AuditQueue:
    """Has rows judged in the background, and writes them in the order in which verdicts come.

    Args:
        judge: Scores the masked pictures.
        stage: Of the audit.
        threshold: High means `score >= threshold`.
        failures: Tells of the judge's.
        max_pending: How many rows may wait at a time.
        is_over: Asked in every wait whether the run is to end: then it is cut short.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        stage: str,
        threshold: float,
        failures: FailureReporter,
        max_pending: int,
        is_over: Callable[[], bool],
    ) -> None:
        self.progress = AuditProgress()
        self._judge, self._stage, self._threshold = judge, stage, threshold
        self._failures, self._is_over = failures, is_over
        self._worker = JudgeWorker(judge, max_pending=2**31)
        self._max_pending = max_pending
        self._folder: AuditFolder | None = None
        self._waiting: list[_Waiting] = []
        self._is_heard = False
        self._away = 0
        self.submitted = 0

    def write_to(self, folder: AuditFolder) -> None:
        """Write rows there from now on."""
        self._folder = folder

    def submit(
        self, rows: Sequence[tuple[Streamed, str]], explained: Sequence[Sequence[Explanation]]
    ) -> None:
        """Have rows judged; blank saliency maps are not sent.

        Args:
            rows: With the digests of their pictures.
            explained: Of each, its explanations.

        Raises:
            JudgeError: If the very first verdict says that nothing can be judged.
        """
        for (streamed, digest), explanations in zip(rows, explained, strict=True):
            self.submitted += 1
            shown = [e for e in explanations if not e.is_blank]
            ticket = self._worker.submit([make_request(e, stage=self._stage) for e in shown])
            self._waiting.append(
                _Waiting(explanations=explanations, ticket=ticket, streamed=streamed, pixels=digest)
            )
            if shown and not self._is_heard:
                # What is wrong with a key, an address or a model shows before more is sent.
                self._is_heard = True
                self.collect(until=len(self._waiting) - 1)
        self.progress.pending = len(self._waiting)

    def make_room(self, rows: int) -> None:
        """Write what is judged, waiting until there is room for so many further rows."""
        self.collect(until=max(0, self._max_pending - rows))

    def collect(self, *, until: int) -> None:
        """Write what is judged, waiting until at most so many rows are under way.

        Raises:
            JudgeError: If the judge is away.
        """
        while True:
            done: list[_Waiting] = []
            waiting: list[_Waiting] = []
            for one in self._waiting:  # asked once each: a verdict may come at any moment
                (done if one.is_done else waiting).append(one)
            self._waiting = waiting
            if done:
                self._write(done)
            self.progress.pending = len(self._waiting)
            if len(self._waiting) <= until or self._is_over():
                return
            futures = [c.future for one in self._waiting for c in one.ticket.claims]
            missing = [future for future in futures if not future.done()]
            concurrent.futures.wait(missing, 0.1, return_when=concurrent.futures.FIRST_COMPLETED)

    def drain(self) -> None:
        """Write all, waiting for the verdicts.

        Raises:
            JudgeError: If the judge is away, or a row that was submitted wasn't written.
        """
        self.collect(until=0)
        written = self.progress.judged + self.progress.unscored
        if written != self.submitted and not self._is_over():
            raise JudgeError(
                f"{self.submitted - written:,} rows were explained and never written, which is a "
                "fault of this program. Run the audit again: it goes on, and takes them up."
            )

    def give_up(self) -> None:
        """Write the verdicts that are in or come within a moment; what isn't sent is not."""
        for one in self._waiting:
            one.ticket.give_up()
        futures = [claim.future for one in self._waiting for claim in one.ticket.claims]
        concurrent.futures.wait(futures, INTERRUPTED_S)
        self._write([one for one in self._waiting if one.is_done and not one.is_given_up])
        self._waiting = []

    def close(self) -> None:
        """End the judge's thread, and close the files. Safe to call twice."""
        self._worker.close()
        if self._folder is not None:
            self._folder.close()

    def _write(self, done: Sequence[_Waiting]) -> None:
        judged: list[Judged] = []
        for one in done:
            answers = iter(claim.future.result() for claim in one.ticket.claims)
            samples = [
                self._to_sample(e, _BLANK if e.is_blank else next(answers))
                for e in one.explanations
            ]
            judged.append(
                Judged(
                    samples=samples,
                    pixels=one.pixels,
                    probabilities=one.streamed.probabilities,
                    groups=one.streamed.groups,
                )
            )
            is_scored = all(sample.verdict.score is not None for sample in samples)
            self.progress.judged += is_scored
            self.progress.unscored += not is_scored
        if judged and self._folder is not None:
            self._folder.write(judged)
            self._account([sample.verdict for one in judged for sample in one.samples])

    def _account(self, verdicts: Sequence[Verdict]) -> None:
        """Count costs and failures."""
        for verdict in verdicts:
            cost, spent = verdict.usage.cost_usd, self.progress.cost_usd
            self.progress.cost_usd = None if cost is None or spent is None else spent + cost
            self._away = self._away + 1 if verdict.reason in AWAY else 0
        failed = [v for v in verdicts if v.score is None and v.reason is not UnscoredReason.PENDING]
        is_first = self.progress.judged == 0 and len(failed) == len(verdicts) == 1
        reason = failed[0].reason if is_first else None
        if (reason is not None and reason.is_setup_fault) or self._away >= HOPELESS:
            told = " ".join(describe_failures(failed).values())
            which = "a first row" if is_first else f"the last {self._away} rows"
            raise JudgeError(
                f"{self._judge.name} could not score {which}: {told} Nothing is lost: the same "
                "call goes on where this one ended."
            )
        self._failures.report(failed)

    def _to_sample(self, explanation: Explanation, verdict: Verdict) -> Sample:
        quadrant = None
        if verdict.score is not None and explanation.is_correct is not None:
            quadrant = assign_quadrant(
                verdict.score, is_correct=explanation.is_correct, threshold=self._threshold
            )
        return Sample(
            explanation=explanation,
            verdict=verdict,
            quadrant=quadrant,
            threshold=self._threshold,
        )

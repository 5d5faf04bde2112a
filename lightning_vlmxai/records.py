"""What flows through the house: probes, explanations, verdicts, samples and rounds.

Every record is frozen, slotted and keyword-only. Tensors in records live on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from torch import Tensor

from .calls import Call, TextCall

Fill = Literal["black", "blur", "grey", "mean"]
"""What stands where the mask takes the picture away."""

ControlKind = Literal["object", "whole", "elsewhere", "shuffled", "other label"]
"""How a picture with a known answer was made; see `trust.draw_controls`."""


class Quadrant(str, Enum):
    """Score crossed with correctness: one of the four outcomes of a judged sample."""

    CORRECT_HIGH = "correct_high"
    """Right, and attending to the object: understood."""
    CORRECT_LOW = "correct_low"
    """Right answer, wrong reason: look at the training data of that class."""
    WRONG_HIGH = "wrong_high"
    """Attends to something real and names it wrongly: confusable objects or a wrong label."""
    WRONG_LOW = "wrong_low"
    """Neither right nor attending to the object: not understood."""


class UnscoredReason(str, Enum):
    """Why a sample has no score. A failure is a value, never a low score."""

    AUTHENTICATION = "authentication"
    BAD_REQUEST = "bad_request"
    BLANK_SALIENCY = "blank_saliency"
    BROKEN_JSON = "broken_json"
    CLOSED = "closed"
    CONNECTION = "connection"
    CONTENT_FILTER = "content_filter"
    DEADLINE = "deadline"
    EMPTY_ANSWER = "empty_answer"
    FORBIDDEN = "forbidden"
    HTML_ANSWER = "html_answer"
    JUDGE_ERROR = "judge_error"
    NO_REFERENCE_MASK = "no_reference_mask"
    NOT_FOUND = "not_found"
    OUT_OF_RANGE = "out_of_range"
    OVER_BUDGET = "over_budget"
    PENDING = "pending"
    QUEUE_FULL = "queue_full"
    QUOTA_EXHAUSTED = "quota_exhausted"
    RATE_LIMIT = "rate_limit"
    REFUSAL = "refusal"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    TRUNCATED = "truncated"
    UNPARSEABLE = "unparseable"

    @property
    def is_setup_fault(self) -> bool:
        """Whether the cause is in the set-up, so that every later call would fail as well."""
        return self in _SETUP_FAULTS


_SETUP_FAULTS = frozenset({
    UnscoredReason.AUTHENTICATION, UnscoredReason.BAD_REQUEST, UnscoredReason.CONNECTION,
    UnscoredReason.FORBIDDEN, UnscoredReason.HTML_ANSWER, UnscoredReason.JUDGE_ERROR,
    UnscoredReason.NOT_FOUND, UnscoredReason.NO_REFERENCE_MASK, UnscoredReason.QUOTA_EXHAUSTED,
    UnscoredReason.TOO_LARGE,
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the validation predicted for a sample.

    Args:
        prediction: Predicted class.
        confidence: Its probability, in [0, 1].
        features: The picture's embedding, `[D]` float32, of which both are made once texts are
            known; None where they decide nothing.
    """

    prediction: int
    confidence: float
    features: Tensor | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One sample held out for explanation: a row of a batch that a validation saw.

    Args:
        index: Index in the data set where the loader's order tells it, else the row's place in
            the order of the validation.
        call: What the network was called with for this row, a batch of one, on the CPU.
        pixels: The un-normalised picture that the judge sees, `[3, H, W]`, float32 in [0, 1].
        target: Ground truth, an int64 scalar for a class; None where the data have none.
        reference_mask: Where the object is, `[H, W]` bool, if the data set tells.
        seen: What the validation predicted; None if it was not watched.
        file: Path or id, as batch or data set name it; None where none is sure.
        caption: The text that belongs to it, in words; None where there is none.
        text: The call that made that text's embedding, where the network's own did not.
    """

    index: int
    call: Call
    pixels: Tensor
    target: Tensor | None
    reference_mask: Tensor | None = None
    seen: Seen | None = None
    file: str | None = None
    caption: str | None = None
    text: TextCall | None = None

    @property
    def input(self) -> Tensor:
        """The picture that the network was given, `[C, H, W]`."""
        return self.call.images[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the model said about a probe, and where it looked.

    Args:
        probe_index: `Probe.index`.
        label: True class; -1 where there is none.
        label_name: Its name.
        prediction: Predicted class.
        prediction_name: Its name.
        confidence: Probability of the predicted class, in [0, 1].
        is_correct: Whether the prediction counts as right; None where the data have no labels.
        pixels: `Probe.pixels`, `[3, H, W]`, float32 in [0, 1].
        saliency: Saliency map at picture size, `[H, W]`, float32 in [0, 1].
        mask: Eq. 1 of the saliency map, `[H, W]`, float32 in [0, 1]; attended where >= 0.5.
        reference_mask: `Probe.reference_mask`.
        is_blank: The map is zero, constant or not finite: there is nothing to judge.
        fill: What stands where the mask takes the picture away.
        part: Which of the probe's explanations this is: the explained label, where each predicted
            label has one; None where a probe has one.
        faithfulness: Figures of the saliency map, by name; None where one is not defined, empty
            where none was measured.
        file: `Probe.file`. No judge is told.
        words: Of the predicted caption, each with what it adds to the cosine; empty if not known.
    """

    probe_index: int
    label: int
    label_name: str
    prediction: int
    prediction_name: str
    confidence: float
    is_correct: bool | None
    pixels: Tensor
    saliency: Tensor
    mask: Tensor
    reference_mask: Tensor | None = None
    is_blank: bool = False
    fill: Fill = "black"
    part: int | None = None
    faithfulness: Mapping[str, float | None] = field(default_factory=dict)
    file: str | None = None
    words: tuple[tuple[str, float], ...] = ()

    @property
    def key(self) -> int | tuple[int, int]:
        """What tells it from the others of a round, and is the same in each."""
        return self.probe_index if self.part is None else (self.probe_index, self.part)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRequest:
    """What a judge may know about an explanation: never the true label.

    Args:
        probe_index: `Probe.index`, for bookkeeping.
        label_name: Name of the *predicted* class.
        pixels: `Probe.pixels`, `[3, H, W]`, float32 in [0, 1]. A judge makes its picture from
            these at the moment it needs it, so that a waiting request holds no copy.
        mask: Eq. 1, `[H, W]`, float32 in [0, 1].
        saliency: Saliency map at picture size, `[H, W]`, float32 in [0, 1], for an overlay.
        fill: What stands where the mask takes the picture away.
        reference_mask: Where the object is, `[H, W]` bool; only embedded judges look at it.
        round_number: `Round.number`.
        stage: `Round.stage`.
    """

    probe_index: int
    label_name: str
    pixels: Tensor
    mask: Tensor
    saliency: Tensor | None = None
    fill: Fill = "black"
    reference_mask: Tensor | None = None
    round_number: int = 0
    stage: str = "fit"

    @property
    def scope(self) -> str:
        """The round by stage and number: what a broken set-up and a budget are counted by."""
        return f"{self.stage} round {self.round_number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a verdict cost.

    Args:
        calls: Requests sent to a server, retries among them.
        tokens: Tokens that the server counted, prompt and answer together.
        cost_usd: Price in US dollars; None where no price is known.
    """

    calls: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judge's answer: scored, or unscored with a reason. Make one with the two class methods.

    Args:
        score: Attention score in [0, 5]; None if unscored.
        evaluation: Where the attention lies, in words.
        justification: Why this score.
        reason: Why there is no score; None if scored.
        detail: What exactly happened, for a person.
        usage: What it cost.
        latency_s: Seconds from request to answer.
        spread: Largest minus smallest score where a judge was asked several times, in [0, 5].
        is_cached: The answer was given, and paid for, before.
        is_reused: An earlier verdict stands: the probe was not drawn to be judged in this round.
        asked: Which lines of the judge's log tell how it came about, by their `id`.
        attends_to: Phrases for what is attended to, each with whether it is a part of the named
            object, None where that isn't said; None of a judge that tells none.
    """

    score: float | None
    evaluation: str = ""
    justification: str = ""
    reason: UnscoredReason | None = None
    detail: str = ""
    usage: Usage = field(default_factory=Usage)
    latency_s: float = 0.0
    spread: float | None = None
    is_cached: bool = False
    is_reused: bool = False
    asked: tuple[str, ...] = field(default=(), compare=False)
    attends_to: tuple[tuple[str, bool | None], ...] | None = None

    def __post_init__(self) -> None:
        if (self.score is None) == (self.reason is None):
            raise ValueError("A verdict has either a score or a reason for having none.")
        if self.score is not None and not 0.0 <= self.score <= 5.0:
            raise ValueError(f"Expected `score` to be in [0, 5], got {self.score}.")

    @classmethod
    def scored(
        cls,
        score: float,
        *,
        evaluation: str = "",
        justification: str = "",
        usage: Usage | None = None,
        latency_s: float = 0.0,
        attends_to: tuple[tuple[str, bool | None], ...] | None = None,
    ) -> Verdict:
        """Return a verdict with a score in [0, 5].

        Example:
            >>> Verdict.scored(4, evaluation="On the cat.").score
            4.0
        """
        return cls(
            score=float(score),
            evaluation=evaluation,
            justification=justification,
            usage=usage or Usage(),
            latency_s=latency_s,
            attends_to=attends_to,
        )

    @classmethod
    def unscored(
        cls,
        reason: UnscoredReason,
        detail: str = "",
        *,
        usage: Usage | None = None,
        latency_s: float = 0.0,
    ) -> Verdict:
        """Return a verdict without a score, and why.

        Example:
            >>> Verdict.unscored(UnscoredReason.TIMEOUT).score is None
            True
        """
        return cls(
            score=None, reason=reason, detail=detail, usage=usage or Usage(), latency_s=latency_s
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A picture whose answer is known, to test a judge with.

    Args:
        kind: How it was made: what is known, and what no judge is told.
        request: What a judge is told, as of any other picture.
    """

    kind: ControlKind
    request: JudgeRequest

    @property
    def is_good(self) -> bool:
        """Whether the right answer is High."""
        return self.kind in ("object", "whole")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedControl:
    """A control with its verdict. It counts in no rate."""

    control: Control
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An explanation with its verdict.

    Args:
        explanation: What was judged.
        verdict: The judge's answer.
        quadrant: None where the verdict is unscored, or nothing is known of a label.
        attention_drift: 1 - IoU of the mask with the probe's last one, in [0, 1]; None at first.
        centre_shift: Distance of the mask's centre of mass from that of the probe's last one, over
            the picture's diagonal, in [0, 1]; None at first.
        score_drift: Absolute difference from its last score, in [0, 5]; None without one of both.
        threshold: From which the score is High.
        inclusion: Probability of being judged in its round, in (0, 1]; else an earlier one stands.
        expected_score: What past verdicts made one expect, in [0, 5]; None where that is 1.
    """

    explanation: Explanation
    verdict: Verdict
    quadrant: Quadrant | None
    attention_drift: float | None = None
    centre_shift: float | None = None
    score_drift: float | None = None
    threshold: float = 2.5
    inclusion: float = 1.0
    expected_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One explained validation: all its samples and figures.

    Args:
        number: Counts from 0 over the run.
        stage: "fit", "validate" or "test".
        epoch: Epoch that was explained.
        step: At which Lightning logs that validation.
        fingerprint: Of the probe set.
        samples: In probe order.
        metrics: Name (without prefix) to value. An empty denominator has no entry.
        missing: Number of probes that could not be explained: they count as unscored.
        failure: Why; empty if none.
        controls: Pictures with known answers that were judged beside the samples.
        finding: What the run comes to by this round, in sentences, the most important first.
    """

    number: int
    stage: str
    epoch: int
    step: int
    fingerprint: str
    samples: tuple[Sample, ...]
    metrics: Mapping[str, float]
    missing: int = 0
    failure: str = ""
    controls: tuple[JudgedControl, ...] = ()
    finding: tuple[str, ...] = ()

    @property
    def judged(self) -> int:
        """Number of samples with a score."""
        return sum(sample.verdict.score is not None for sample in self.samples)

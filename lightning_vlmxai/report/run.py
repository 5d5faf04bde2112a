"""What a run folder holds, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..records import Quadrant
from .costs import CallTotals
from .values import number, text

STAGES = ("fit", "validate", "test", "predict")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSample:
    """A line of `samples.jsonl`. What the line does not say is None, empty or False.

    Args:
        part: Which of the probe's explanations this is; None where it has one.
        file: Path or id of the probe, as batch or data set named it; empty where none is sure.
        asked: Lines of the judge's log that tell how the verdict came about, by their `id`.
        reference_mask: Path of the reference mask.
        late_score: Score that came after the deadline: shown, and in no figure.
        image: Path of what the judge saw, in the run folder.
        saliency: Path of the saliency map.
        picture: Path of the whole picture.
        measures: What was measured beside the judge, as "reference/iou" or "faithfulness/deletion".
        spread: Largest minus smallest score where the judge was asked several times.
        is_borderline: The score is within `spread` of the threshold; None where that isn't known.
        partly: Of a Correct-Low sample, what was measured where the kept region lies on the object
            and covers little of it; empty of all others.
        rank: Number of the rank whose files have it; None where that isn't known.
        row: Its row in that rank's file of probabilities; None where it has none.
        groups: What the user had kept of the row, by name.
        label: Number of the true class.
        prediction: Number of the predicted class.
        words: Of the predicted caption, each with what it adds to the cosine; empty of all others.
        attends_to: What the judge saw, each with whether it is a part of the named object.
        inclusion: Probability with which it was to be judged in its round, in (0, 1].
        expected_score: What its past verdicts made one expect, where `inclusion` is below 1.
    """

    stage: str
    number: int
    probe: int
    fingerprint: str
    label_name: str
    prediction_name: str
    confidence: float | None
    is_correct: bool | None
    score: float | None
    quadrant: Quadrant | None
    reason: str
    detail: str
    evaluation: str
    justification: str
    attention_drift: float | None
    is_cached: bool
    is_reused: bool
    calls: int
    tokens: int
    cost_usd: float | None
    latency_s: float | None
    image: str
    saliency: str
    picture: str
    part: int | None = None
    file: str = ""
    asked: tuple[str, ...] = ()
    reference_mask: str = ""
    late_score: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict, hash=False)
    spread: float | None = None
    is_borderline: bool | None = None
    partly: str = ""
    rank: int | None = None
    row: int | None = None
    groups: Mapping[str, str] = field(default_factory=dict, hash=False)
    label: int | None = None
    prediction: int | None = None
    words: tuple[tuple[str, float], ...] = ()
    attends_to: tuple[tuple[str, bool | None], ...] = ()
    inclusion: float = 1.0
    expected_score: float | None = None

    @property
    def stands(self) -> bool:
        """Whether its verdict is one of an earlier round, of another mask: none was drawn."""
        return self.is_reused and self.inclusion < 1

    @property
    def place(self) -> tuple[int, int | None]:
        """What tells it from the others of its round."""
        return self.probe, self.part


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRound:
    """A line of `rounds.jsonl` with its samples, in probe order."""

    stage: str
    number: int
    epoch: int | None
    step: int | None
    fingerprint: str
    probes: int
    metrics: Mapping[str, float]
    samples: tuple[RunSample, ...]

    @property
    def key(self) -> str:
        """Name of the round in a page's addresses."""
        return f"{self.stage}-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run folder.

    Args:
        path: Of the folder.
        settings: `run.json`.
        rounds: Fit, then validate, test and predict; by number.
        calls: What the judge's log adds up to; None without a log.
        notices: What is missing or broken, in sentences.
        gates: Lines of `gate.jsonl`: when a gate ended the run, and why.
        is_audit: A trained model on a whole data set, rather than probes while it trained.
        shortcuts: `shortcuts.json`: the last look for them; empty if there was none.
    """

    path: Path
    settings: Mapping[str, Any]
    rounds: tuple[RunRound, ...]
    calls: CallTotals | None
    notices: tuple[str, ...]
    gates: tuple[Mapping[str, Any], ...] = ()
    is_audit: bool = False
    shortcuts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def threshold(self) -> float:
        """High from this score on."""
        threshold = number(self.settings.get("threshold"))
        return 2.5 if threshold is None else threshold

    @property
    def curve(self) -> tuple[RunRound, ...]:
        """The rounds that curves are drawn of: those of the fit, else of the first stage."""
        stage = next((s for s in STAGES if any(r.stage == s for r in self.rounds)), "")
        return tuple(r for r in self.rounds if r.stage == (stage or r.stage))

    @property
    def fingerprint(self) -> str:
        """Of the probe set of the curve's last round."""
        last = self.curve[-1].fingerprint if self.curve else ""
        return last or text(self.settings.get("fingerprint"))

"""Reads a run folder, however old, incomplete or cut off, into plain records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, expected
from ..records import Quadrant
from ..rounds import assign_quadrant, is_borderline
from ..trust import say_partly
from .costs import CallTotals, total_calls
from .text import in_folder, visible
from .values import measures as _measures
from .values import number as _number
from .values import text as _text
from .values import whole as _whole

RUN_FILES = ("run.json", "rounds.jsonl", "samples.jsonl")
"""Any of these makes a folder a run folder."""
_CALLS = "judge_calls.jsonl"
STAGES = ("fit", "validate", "test")

_Key = tuple[str, int]
_Samples = dict[int, dict[int | None, "RunSample"]]


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
        rounds: Fit, then validate, then test; by number.
        calls: What the judge's log adds up to; None without a log.
        notices: What is missing or broken, in sentences.
        gates: Lines of `gate.jsonl`: when a gate ended the run, and why.
    """

    path: Path
    settings: Mapping[str, Any]
    rounds: tuple[RunRound, ...]
    calls: CallTotals | None
    notices: tuple[str, ...]
    gates: tuple[Mapping[str, Any], ...] = ()

    @property
    def threshold(self) -> float:
        """High from this score on."""
        threshold = _number(self.settings.get("threshold"))
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
        return last or _text(self.settings.get("fingerprint"))


@dataclass(slots=True)
class _Reading:
    path: Path
    notices: list[str] = field(default_factory=list)

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the objects of a file of JSON lines; say which lines are none."""
        try:
            file = in_folder(self.path, name).open("rb")
        except OSError:
            return
        broken, is_cut = 0, False
        with file:
            for raw in file:
                try:
                    record = json.loads(raw)
                except (ValueError, RecursionError):
                    record = None
                if isinstance(record, dict):
                    yield record
                elif raw.strip():
                    broken, is_cut = broken + 1, not raw.endswith(b"\n")
        if is_cut:
            broken -= 1
            self.notices.append(f"The last line of {name} is cut off and was left out.")
        if broken:
            lines = "1 line" if broken == 1 else f"{broken:,} lines"
            was = "was" if broken == 1 else "were"
            self.notices.append(f"{lines} of {name} can't be read and {was} left out.")

    def settings(self) -> dict[str, Any]:
        try:
            settings = json.loads(in_folder(self.path, "run.json").read_bytes())
        except OSError:
            self.notices.append("run.json is missing: how the run was made is not known.")
            return {}
        except (ValueError, RecursionError):
            settings = None
        if isinstance(settings, dict):
            return settings
        self.notices.append("run.json can't be read: how the run was made is not known.")
        return {}


def read_calls(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a run folder's log of calls; none where there is no log."""
    yield from _Reading(path).lines(_CALLS)


def is_run_dir(path: Path) -> bool:
    """Return whether a folder holds a run."""
    return any((path / name).is_file() for name in RUN_FILES)


def find_run_dir(path: Path) -> Path:
    """Return the run folder that a path names: itself, or the newest `vlmxai` folder in it.

    Raises:
        ConfigurationError: If there is none.
    """
    if is_run_dir(path):
        return path
    inside = [folder for folder in path.glob("vlmxai*") if is_run_dir(folder)]
    if inside:
        return max(inside, key=_last_change)
    raise ConfigurationError(
        expected(
            "run",
            f"a folder with {', '.join(RUN_FILES)}",
            f"{str(path)!r}, which {'holds none of them' if path.is_dir() else 'is no folder'}",
            "Pass the vlmxai folder beside the run's logs; the callback names it at the start",
        )
    )


def _last_change(folder: Path) -> float:
    return max((folder / name).stat().st_mtime for name in RUN_FILES if (folder / name).exists())


def read_run(path: Path) -> Run:
    """Return what a run folder holds; what is missing or broken becomes a notice, not an error.

    Where a resumed run wrote a round again, the last lines of a (stage, round, probe) stand.

    Args:
        path: Of the run folder.
    """
    reading = _Reading(path)
    settings = reading.settings()
    threshold = _number(settings.get("threshold"))
    samples: dict[_Key, _Samples] = {}
    last: RunSample | None = None
    for line in reading.lines("samples.jsonl"):
        sample = _sample(line, 2.5 if threshold is None else threshold)
        of_probe = samples.setdefault((sample.stage, sample.number), {})
        if last is None or not _is_beside(last, sample):
            of_probe[sample.probe] = {}  # a probe's lines stand together: these are written anew
        of_probe[sample.probe][sample.part] = last = sample
    heads, order = _heads(reading)
    for line in reading.lines("late.jsonl"):
        _add_late(line, samples)
    for key in samples.keys() - heads.keys():
        heads[key] = {}
    rounds = tuple(
        _round(key, heads[key], samples.get(key, {})) for key in sorted(heads, key=_rank)
    )
    _note_gaps(reading, rounds, order)
    return Run(
        path=path,
        settings=settings,
        rounds=rounds,
        calls=total_calls(reading.lines(_CALLS)) if (path / _CALLS).is_file() else None,
        gates=tuple(reading.lines("gate.jsonl")),
        notices=tuple(reading.notices),
    )


def _is_beside(last: RunSample, sample: RunSample) -> bool:
    """Return whether a line is of the same probe, round and writing as the last one."""
    mine, other = (
        (s.stage, s.number, s.fingerprint, s.probe, s.part is None) for s in (last, sample)
    )
    return mine == other and last.part != sample.part


def _heads(reading: _Reading) -> tuple[dict[_Key, dict[str, Any]], list[_Key]]:
    heads: dict[_Key, dict[str, Any]] = {}
    order: list[_Key] = []
    for line in reading.lines("rounds.jsonl"):
        key = (_text(line.get("stage")) or "fit", _whole(line.get("number")) or 0)
        heads[key] = line
        order.append(key)
    return heads, order


def _rank(key: _Key) -> tuple[int, str, int]:
    stage, number = key
    return (STAGES.index(stage) if stage in STAGES else len(STAGES), stage, number)


def _round(key: _Key, head: dict[str, Any], of_probe: _Samples) -> RunRound:
    fingerprint = _text(head.get("fingerprint"))
    # A resumed run may have had other probes: those of the round's last line count.
    samples = tuple(
        sample
        for probe in sorted(of_probe)
        for sample in of_probe[probe].values()
        if not fingerprint or sample.fingerprint in ("", fingerprint)
    )
    known = {"number", "epoch", "step", "judged", "probes"}
    return RunRound(
        stage=key[0],
        number=key[1],
        epoch=_whole(head.get("epoch")),
        step=_whole(head.get("step")),
        fingerprint=fingerprint or (samples[-1].fingerprint if samples else ""),
        probes=_whole(head.get("probes")) or len(samples),
        metrics={
            "judged": float(_whole(head.get("judged")) or 0),
            **{
                name: value
                for name in head.keys() - known
                if (value := _number(head[name])) is not None
            },
        },
        samples=samples,
    )


def _sample(line: dict[str, Any], threshold: float) -> RunSample:
    score, is_correct = _number(line.get("score")), line.get("is_correct")
    if not isinstance(is_correct, bool):
        is_correct = None
    quadrant = None
    if score is not None:
        try:
            quadrant = Quadrant(line.get("quadrant"))
        except ValueError:
            if is_correct is not None:
                quadrant = assign_quadrant(score, is_correct=is_correct, threshold=threshold)
    image, probe = _text(line.get("image")), _whole(line.get("probe")) or 0
    spread, measures = _number(line.get("spread")), _measures(line)
    asked = line.get("asked")
    stage = _text(line.get("stage")) or "fit"
    return RunSample(
        stage=stage,
        number=_whole(line.get("round")) or 0,
        probe=probe,
        part=_whole(line.get("part")),
        file=_text(line.get("file")).encode("utf-8", "replace").decode(),
        fingerprint=_text(line.get("fingerprint")),
        label_name=visible(_text(line.get("label_name", line.get("label"))), 200),
        prediction_name=visible(_text(line.get("prediction_name", line.get("prediction"))), 200),
        asked=tuple(map(_text, asked)) if isinstance(asked, list) else (),
        reference_mask=_text(line.get("reference_mask")),
        confidence=_number(line.get("confidence")),
        is_correct=is_correct,
        score=score,
        quadrant=quadrant,
        reason=visible(_text(line.get("reason")), 80) if score is None else "",
        detail=visible(_text(line.get("detail"))),
        evaluation=visible(_text(line.get("evaluation"))),
        justification=visible(_text(line.get("justification"))),
        attention_drift=_number(line.get("attention_drift")),
        is_cached=line.get("is_cached") is True,
        is_reused=line.get("is_reused") is True,
        calls=_whole(line.get("calls")) or 0,
        tokens=_whole(line.get("tokens")) or 0,
        cost_usd=_number(line.get("cost_usd")),
        latency_s=_number(line.get("latency_s")),
        image=image,
        saliency=_text(line.get("saliency")),
        # Folders written before lines told the picture's path have it all the same.
        picture=_text(line.get("picture")) or f"images/{stage}/{probe:06d}.png",
        measures=measures,
        spread=spread,
        is_borderline=None if score is None else is_borderline(score, spread, threshold),
        partly=say_partly(measures) if quadrant is Quadrant.CORRECT_LOW else "",
    )


def _add_late(line: dict[str, Any], samples: dict[_Key, _Samples]) -> None:
    late = _sample(line, 2.5)
    of_probe = samples.get((late.stage, late.number), {})
    own = of_probe.get(late.probe, {}).get(late.part)
    if own is not None and own.score is None and late.score is not None:
        of_probe[late.probe][late.part] = replace(
            own,
            late_score=late.score,
            evaluation=late.evaluation,
            justification=late.justification,
            asked=late.asked,
        )


def _note_gaps(reading: _Reading, rounds: tuple[RunRound, ...], order: list[_Key]) -> None:
    if not rounds:
        reading.notices.append("No round has been written yet.")
    elif not any(r.samples for r in rounds):
        reading.notices.append("samples.jsonl is missing or empty: only the rounds' figures stand.")
    if rounds and not order:
        reading.notices.append("rounds.jsonl is missing or empty: rounds were found by samples.")
    for stage in {key[0] for key in order}:
        numbers = [number for name, number in order if name == stage]
        left = sorted({n for n in numbers if n > numbers[-1]})
        if left:
            reading.notices.append(
                f"Rounds {left[0]} to {left[-1]} of the {visible(stage, 40)} were written before "
                f"the run was resumed; the resumed run has come to round {numbers[-1]}."
            )

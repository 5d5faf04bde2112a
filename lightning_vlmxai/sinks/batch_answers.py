"""Answers of a batch filled into an audit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..judges import BatchResults, tell_attended
from ..records import UnscoredReason, Verdict
from ..rounds import assign_quadrant
from .audit_folder import open_whole, read_lines
from .lines import dump_line

STAGES = ("validate", "test", "predict")


@dataclass(slots=True, kw_only=True)
class Filled:
    """What became of an audit's samples that waited for answers.

    Args:
        scored: Have a score now.
        failed: Have an answer without a score, by reason.
        missing: Wait on: an answer to one of their questions is not there.
        before: Had a score before.
        unknown: Answers to questions that no sample asked.
        open_keys: Questions of the samples that have no score.
    """

    scored: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    before: int = 0
    unknown: int = 0
    open_keys: set[str] = field(default_factory=set)


def fill_answers(run_dir: Path, results: BatchResults, *, threshold: float) -> Filled:
    """Append a line to `answers.jsonl` for each sample whose answers came, and say what became.

    Samples that have a score keep it, so that results may be read again, and in parts.

    Args:
        run_dir: Of the audit.
        results: Of its questions, perhaps of others.
        threshold: High means `score >= threshold`.
    """
    filled, known = Filled(), set[str]()
    with open_whole(run_dir / "answers.jsonl") as file:
        for stage in STAGES:
            latest: dict[tuple[int, int | None], dict[str, Any]] = {}
            for line in read_lines(run_dir, stage):
                key = int(line["probe"]), line.get("part")
                if key not in latest or latest[key]["score"] is None or line["score"] is not None:
                    latest[key] = _short(line)
            for line in read_lines(run_dir, stage):
                key = int(line["probe"]), line.get("part")
                if latest.get(key) != _short(line):
                    continue
                keys = [k for k in line.get("asked") or () if len(str(k)) == 64]
                known.update(keys)
                verdict = results.verdict_of(keys)
                if line["score"] is not None:
                    filled.before += bool(keys)
                elif verdict is None or not keys:
                    is_waiting = line.get("reason") == UnscoredReason.PENDING.value
                    filled.missing += is_waiting
                    filled.open_keys.update(keys)
                else:
                    _count(filled, verdict, keys)
                    if line.get("reason") != (verdict.reason and verdict.reason.value):
                        file.write(dump_line(_with(line, verdict, threshold)).encode())
                latest.pop(key, None)
    filled.unknown = len(results.verdicts.keys() - known)
    return filled


def _count(filled: Filled, verdict: Verdict, keys: list[str]) -> None:
    if verdict.reason is None:
        filled.scored += 1
    else:
        filled.failed[verdict.reason.value] += 1
        filled.open_keys.update(keys)


def _short(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line.get(name) for name in ("score", "reason", "detail", "asked")}


def _with(line: dict[str, Any], verdict: Verdict, threshold: float) -> dict[str, Any]:
    """Return a sample's line with a verdict."""
    quadrant = None
    if verdict.score is not None and isinstance(line.get("is_correct"), bool):
        quadrant = assign_quadrant(
            verdict.score, is_correct=line["is_correct"], threshold=threshold
        ).value
    return {
        **line,
        "score": verdict.score,
        "quadrant": quadrant,
        "reason": None if verdict.reason is None else verdict.reason.value,
        "detail": verdict.detail,
        "evaluation": verdict.evaluation,
        "justification": verdict.justification,
        "attends_to": tell_attended(verdict.attends_to),
        "spread": verdict.spread,
        "calls": verdict.usage.calls,
        "tokens": verdict.usage.tokens,
        "cost_usd": verdict.usage.cost_usd,
    }

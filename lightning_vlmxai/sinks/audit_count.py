"""What an audit's lines add up to, in one pass and little memory."""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..records import Quadrant
from ..rounds import figures_of
from .audit_folder import open_whole, read_lines
from .lines import dump_line


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCount:
    """The figures of an audit's stage.

    Args:
        samples: How many there are; of several explained labels each is one.
        judged: How many of them have a score.
        reasons: Why the others have none.
        metrics: As `round_metrics` names them.
        fingerprint: Of all samples' identities and pictures, whatever their order.
    """

    samples: int
    judged: int
    reasons: Counter[str]
    metrics: dict[str, float]
    fingerprint: str


def count_audit(path: Path, stage: str, *, missing: int = 0) -> AuditCount:
    """Return what an audit's lines come to.

    A sample counts once: a line with a score is not replaced by one without, else a later one
    stands. What calls have cost is summed up over all lines.

    Args:
        path: Of the run folder.
        stage: Of the audit.
        missing: How many rows could not be explained.
    """
    kept: dict[tuple[int, int | None], tuple[float | None, str, bool | None]] = {}
    pictures: set[int] = set()
    total, calls, tokens, is_priced = 0, 0, 0, True
    costs = array("d")
    for line in read_lines(path, stage):
        key = int(line["probe"]), line.get("part")
        score = line.get("score")
        before = kept.get(key)
        if before is None or before[0] is None or score is not None:
            told = line.get("quadrant") if score is not None else line.get("reason")
            kept[key] = score, str(told or ""), line.get("is_correct")
        if key[0] not in pictures:
            pictures.add(key[0])
            digest = hashlib.sha256(f"{key[0]}:{line.get('pixels')}".encode()).digest()
            total = (total + int.from_bytes(digest[:16], "big")) % 2**128
        calls += int(line.get("calls") or 0)
        tokens += int(line.get("tokens") or 0)
        cost = line.get("cost_usd")
        is_priced &= cost is not None
        costs.append(cost or 0.0)
    scores = [score for score, _, _ in kept.values() if score is not None]
    quadrants = {q.value: q for q in Quadrant}
    count = Counter(
        quadrants[told] for score, told, _ in kept.values() if score is not None and told
    )
    metrics: dict[str, Any] = figures_of(count, scores)
    right = [is_correct for _, _, is_correct in kept.values() if is_correct is not None]
    if right:
        metrics["accuracy"] = sum(right) / len(right)
    if kept or missing:
        metrics["coverage"] = len(scores) / (len(kept) + missing)
    metrics["unscored"] = float(len(kept) + missing - len(scores))
    metrics["calls"], metrics["tokens"] = float(calls), float(tokens)
    if is_priced:
        metrics["cost"] = math.fsum(costs)
    return AuditCount(
        samples=len(kept),
        judged=len(scores),
        reasons=Counter(told for score, told, _ in kept.values() if score is None),
        metrics=metrics,
        fingerprint=f"{total:032x}"[:16],
    )


def close_audit(
    path: Path, stage: str, *, epoch: int, step: int, missing: int
) -> AuditCount | None:
    """Append what an audit's stage comes to to `rounds.jsonl`, and return it; None of nothing.

    Args:
        path: Of the run folder.
        stage: Of the audit.
        epoch: Of the model.
        step: Likewise.
        missing: How many rows could not be explained.
    """
    count = count_audit(path, stage, missing=missing)
    if not count.samples:
        return None
    head = {
        "number": 0,
        "stage": stage,
        "epoch": epoch,
        "step": step,
        "fingerprint": "",
        "pictures": count.fingerprint,
        "judged": count.judged,
        "probes": count.samples + missing,
        "missing": missing,
        "failure": "the step called no network for them" if missing else "",
    }
    with open_whole(path / "rounds.jsonl") as file:
        file.write(dump_line({**head, **count.metrics}).encode())
    return count


def close_again(path: Path) -> None:
    """Write anew what each stage of an audit comes to that was closed before."""
    heads: dict[str, dict[str, Any]] = {}
    if (path / "rounds.jsonl").is_file():
        for raw in (path / "rounds.jsonl").read_bytes().splitlines():
            with suppress(ValueError):
                head = json.loads(raw)
                heads[head["stage"]] = head
    for stage, head in heads.items():
        known = {name: int(head.get(name) or 0) for name in ("epoch", "step", "missing")}
        close_audit(path, stage, **known)

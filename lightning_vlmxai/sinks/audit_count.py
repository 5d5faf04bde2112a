"""What an audit's lines add up to, in one pass and little memory."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..records import Quadrant
from ..rounds import figures_of
from .audit_folder import read_lines


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

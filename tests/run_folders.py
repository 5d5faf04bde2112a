"""Run folders made by the real sink, and what is in them counted the slow, literal way."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lightning_vlmxai.records import (
    Explanation,
    Quadrant,
    Round,
    Sample,
    UnscoredReason,
    Usage,
    Verdict,
)
from lightning_vlmxai.rounds.quadrants import assign_quadrant, round_metrics
from lightning_vlmxai.sinks import RunFolderSink

HOSTILE_NAME = "</script><script>window.pwned=1</script>"
HOSTILE_WORDS = (
    '<img src=x onerror="window.pwned=1"> **bold** [a](javascript:window.pwned=1) \x1b[31mred '
    "\u202eevil</script><script>window.pwned=1</script>" + "x" * 10_000 + " the end"
)
CLASSES = ("cat", "dog", HOSTILE_NAME)
PROBES, ROUNDS, SILENT = 12, 5, 2
SETTINGS = {
    "model": "TinyNet",
    "judge": "scripted",
    "method": "gradcam",
    "target_layer": "features.3",
    "alpha": 15.0,
    "beta": 0.6,
    "threshold": 2.5,
    "lag": 1,
}


def score_of(probe: int, number: int) -> float | None:
    """Return the score of the probe at this position; round `SILENT` has none."""
    if number == SILENT or (probe + 2 * number) % 9 == 8:
        return None
    return (probe * 7 + number * 5) % 11 / 2


def make_round(
    number: int,
    *,
    probes: int = PROBES,
    side: int = 24,
    stage: str = "fit",
    fingerprint: str = "f00d",
    score: Callable[[int, int], float | None] = score_of,
) -> Round:
    """Return a round of textured pictures; every third probe is of the same class."""
    generator = torch.Generator().manual_seed(number)
    samples = []
    for position in range(probes):
        name, is_correct = CLASSES[position % 3], (position + number) % 4 != 0
        saliency = torch.rand(side, side, generator=generator)
        explanation = Explanation(
            probe_index=3 * position,
            label=position % 3,
            label_name=name,
            prediction=position % 3 if is_correct else 9,
            prediction_name=name if is_correct else "other",
            confidence=(position + 1) / (probes + 1),
            is_correct=is_correct,
            pixels=torch.rand(3, side, side, generator=generator),
            saliency=saliency,
            mask=(saliency > 0.5).float(),
        )
        value = score(position, number)
        if value is None:
            reason = UnscoredReason.DEADLINE if number == SILENT else UnscoredReason.TIMEOUT
            verdict = Verdict.unscored(reason, "no answer", usage=Usage(calls=2))
        else:
            verdict = Verdict.scored(
                value,
                evaluation=HOSTILE_WORDS if position == 1 else f"Seen {position} in {number}.",
                justification="So.",
                usage=Usage(calls=1, tokens=100, cost_usd=0.001),
                latency_s=1.0 + position,
            )
            verdict = replace(verdict, is_reused=position == 0, is_cached=position == 11)
        samples.append(
            Sample(
                explanation=explanation,
                verdict=verdict,
                quadrant=None if value is None else assign_quadrant(value, is_correct=is_correct),
                attention_drift=None if number == 0 else position / probes,
            )
        )
    return Round(
        number=number,
        stage=stage,
        epoch=number,
        step=10 * (number + 1),
        fingerprint=fingerprint,
        samples=tuple(samples),
        metrics=round_metrics(samples),
    )


def write_run(path: Path, rounds: Sequence[Round] | None = None, **settings: object) -> list[Round]:
    """Write rounds (five by default) into a run folder; return them."""
    rounds = [make_round(number) for number in range(ROUNDS)] if rounds is None else list(rounds)
    sink = RunFolderSink(path, {**SETTINGS, **settings})
    for closed in rounds:
        sink.write(closed)
    return rounds


def unpack(page: str) -> dict[str, Any]:
    """Return the data that a page's scripts show."""
    (packed,) = re.findall(r'id="data">([^<]*)<', page)
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return data


def count(closed: Round, label: str | None = None) -> dict[str, int]:
    """Return the judged samples of each quadrant, of one class or of all, counted one by one."""
    counts = {quadrant.value: 0 for quadrant in Quadrant}
    for sample in closed.samples:
        e, score = sample.explanation, sample.verdict.score
        if score is None or (label is not None and e.label_name != label):
            continue
        key = f"{'correct' if e.is_correct else 'wrong'}_{'high' if score >= 2.5 else 'low'}"
        counts[key] += 1
    return counts

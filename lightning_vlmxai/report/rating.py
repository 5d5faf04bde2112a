"""What people rate: samples of a round, drawn at random with known weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from typing import Any

from ..trust import draw_sample
from .run import Run, RunRound, RunSample

SIZES = (20, 30, 60, 100, 200)
"""How many samples a page offers to rate; all of them as well, where they are few."""
_NEWEST = 10
"""Rounds of each stage that a page offers to rate."""


def name_sample(sample: RunSample) -> str:
    """Return what a file of ratings calls a sample: round and probe, and the part if it has one."""
    name = f"{sample.stage}-{sample.number}/{sample.probe}"
    return name if sample.part is None else f"{name}/{sample.part}"


def list_rateable(of: RunRound) -> list[RunSample]:
    """Return the samples that the rates of a round are made of: judged, and right or wrong."""
    return [sample for sample in of.samples if sample.quadrant is not None]


def digest_round(of: RunRound) -> str:
    """Return 16 hexadecimal digits that tell a round of this run from those of others.

    Two runs on the same probes have one fingerprint, but other predictions, other verdicts and
    other masked pictures: ratings of the one are no ratings of the other.
    """
    told = [
        (s.probe, s.part, s.prediction_name, s.is_correct, s.confidence, s.score)
        for s in of.samples
    ]
    return hashlib.sha256(json.dumps([of.key, of.fingerprint, told]).encode()).hexdigest()[:16]


def describe_draws(
    run: Run, pictures: Container[str], numbers: dict[int, int]
) -> list[dict[str, Any]]:
    """Return what a page's scripts need to have people rate the newest rounds.

    The draw is seeded with the round's digest, so that every build of a page draws the same.

    Args:
        run: The run.
        pictures: Paths of the pictures that there are; what has none can't be rated.
        numbers: Of each sample in the page, by its `id`.
    """
    judged = [of for of in run.rounds if list_rateable(of)]
    newest = [
        of
        for stage in dict.fromkeys(of.stage for of in judged)
        for of in [of for of in judged if of.stage == stage][-_NEWEST:]
    ]
    return [_describe(of, pictures, numbers, run.rounds.index(of)) for of in newest]


def _describe(
    of: RunRound, pictures: Container[str], numbers: dict[int, int], place: int
) -> dict[str, Any]:
    samples = list_rateable(of)
    shown = [sample for sample in samples if sample.image in pictures]
    quadrants = [sample.quadrant for sample in shown]
    classes = [sample.label_name for sample in shown]
    digest = digest_round(of)
    sizes = [size for size in SIZES if size < len(shown)]
    if shown and len(shown) <= SIZES[-1]:
        sizes.append(len(shown))
    draws = []
    for size in sizes:
        drawn = draw_sample(quadrants, classes, size, seed=int(digest, 16))
        draws.append(
            {
                "size": size,
                "samples": [numbers[id(shown[member.index])] for member in drawn],
                "weights": [round(member.weight, 6) for member in drawn],
            }
        )
    return {
        "round": place,
        "digest": digest,
        "judged": len(samples),
        "hidden": len(samples) - len(shown),
        "draws": draws,
    }

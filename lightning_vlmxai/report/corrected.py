"""A round's rates three times: by the judge, corrected by people's ratings, by these alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..records import Quadrant
from ..trust import CorrectedRate, corrected_rate
from .rating import list_rateable, name_sample
from .ratings import Ratings, pool_ratings
from .run import Run, RunRound

_LOW = (Quadrant.CORRECT_LOW, Quadrant.WRONG_LOW)
FEW = 30
"""Ratings below which little can be concluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A corrected rate of a round.

    Args:
        name: What is counted.
        quadrant: Of which it is the rate among the right or the wrong ones.
        rate: None if nobody rated one of these samples.
        raters: How many people.
    """

    name: str
    quadrant: Quadrant
    rate: CorrectedRate | None
    raters: int


def correct_round(
    of: RunRound, ratings: Sequence[Ratings], threshold: float
) -> tuple[list[Corrected], list[str]]:
    """Return the corrected rates of Low given right and given wrong, and what to know of them.

    Whether a prediction is right is known and needs no correction.

    Args:
        of: The round.
        ratings: Of this round.
        threshold: High from this score on, for people as for the judge.
    """
    used, others = pool_ratings(ratings)
    notes = [
        f"{one.rater} rated another draw; the corrected rates are of that of "
        f"{', '.join(r.rater for r in used)}, which has the most ratings."
        for one in others
    ]
    if used and used[0].size is None:
        notes.append("All samples are taken to have had the same chance of being rated.")
    every = list_rateable(of)
    unkept = sum(not sample.image for sample in every)
    if used and unkept:
        notes.append(
            f"{unkept:,} of {len(every):,} judged samples have no picture to rate: corrected rates "
            "are of all as far as these are like those whose pictures were kept."
        )
    skipped = max((one.skipped for one in used), default=0)
    if skipped:
        notes.append(f"Up to {skipped} samples were skipped, as a rater could not tell.")
    found = []
    for quadrant in _LOW:
        is_right = quadrant is Quadrant.CORRECT_LOW
        samples = [s for s in list_rateable(of) if s.is_correct is is_right]
        names = [name_sample(sample) for sample in samples]
        given = [[one.scores[name] for one in used if name in one.scores] for name in names]
        low = [
            sum(score < threshold for score in scores) / len(scores) if scores else None
            for scores in given
        ]
        rate = None
        if any(share is not None for share in low):
            rate = corrected_rate(
                [sample.quadrant in _LOW for sample in samples],
                low,
                weights=[
                    next((one.weights[name] for one in used if name in one.weights), 1.0)
                    for name in names
                ],
                probes=names,
            )
        found.append(
            Corrected(
                name=f"Low, of the {'right' if is_right else 'wrong'} ones",
                quadrant=quadrant,
                rate=rate,
                raters=len(used),
            )
        )
    number = len({name for one in used for name in one.scores})
    if number < FEW:
        notes.append(
            f"{number} rated samples: too few to correct a rate to better than some 15 points, or "
            f"to tell two judges apart. Rate {FEW} and more."
        )
    return found, notes


def correct_run(
    run: Run, ratings: Sequence[Ratings]
) -> dict[str, tuple[list[Corrected], list[str]]]:
    """Return `correct_round` of each round that people rated, by its key."""
    told = run.settings.get("threshold")
    threshold = float(told) if isinstance(told, (int, float)) else 2.5
    return {
        of.key: correct_round(of, own, threshold)
        for of in run.rounds
        if (own := [one for one in ratings if one.round == of.key])
    }


def describe_corrected(
    corrected: dict[str, tuple[list[Corrected], list[str]]],
) -> dict[str, dict[str, Any]]:
    """Return corrected rates as a page's scripts read them."""
    return {
        key: {"rows": [_describe(row) for row in rows], "notes": notes}
        for key, (rows, notes) in corrected.items()
    }


def _describe(row: Corrected) -> dict[str, Any]:
    told: dict[str, Any] = {"name": row.name, "quadrant": list(Quadrant).index(row.quadrant)}
    if row.rate is None:
        return told
    rate = row.rate
    return told | {
        "judge": [rate.judge, *rate.judge_interval],
        "corrected": [rate.corrected, *rate.interval],
        "people": [rate.people, *rate.people_interval],
        "rated": rate.rated,
        "raters": row.raters,
        "power": rate.power,
    }

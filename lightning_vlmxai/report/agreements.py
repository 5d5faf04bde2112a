"""Who agrees with whom about a round: people, judges and reference masks."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConfigurationError, expected
from ..rounds import Interval
from ..trust import AGREEMENT, Agreed, agreement, krippendorff_alpha
from .corrected import FEW
from .html import write_page
from .rating import digest_round, list_rateable, name_sample
from .ratings import Ratings
from .run import Run, RunRound, RunSample
from .text import in_folder, one_line
from .values import number, text, whole

FILE = "agreement.json"
MASKS = {
    "iou": "IoU",
    "dice": "Dice",
    "pixel_accuracy": "pixel accuracy",
    "f1": "F1 (is Dice, of binary masks)",
}
_SAME = 2.0
"""Mean difference of two 8-bit pictures up to which they are one picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """How far two agree, or several.

    Args:
        kind: "people", "judge", "judges" or "masks".
        first: Who.
        second: Who.
        number: Samples that both scored.
        figures: By name; `alpha` for several.
        note: What to know of it.
    """

    kind: str
    first: str
    second: str
    number: int
    figures: Mapping[str, Agreed]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreements:
    """All pairs of a round.

    Args:
        round: Its key.
        digest: Of the round.
        pairs: People first.
        notes: What can't be concluded, in sentences.
    """

    round: str
    digest: str
    pairs: Sequence[Pair]
    notes: Sequence[str] = field(default_factory=tuple)


def agree_round(
    run: Run, of: RunRound, ratings: Sequence[Ratings], other: Run | None = None
) -> Agreements:
    """Return who agrees with whom about a round.

    Args:
        run: The run.
        of: A round of it.
        ratings: Of this round.
        other: A run of another judge on the same probes.

    Raises:
        ConfigurationError: If the other run has other probes, or no such round.
    """
    every = list_rateable(of)
    judge = {name_sample(s): s.score for s in every if s.score is not None and not s.stands}
    name = one_line(text(run.settings.get("judge")), 40) or "judge"
    judges = {name: judge}
    notes = []
    if earlier := sum(s.stands for s in every):
        notes.append(f"{earlier} verdicts of earlier rounds, of other masks, are left out.")
    if other is not None:
        second, told = _judge_of(run, of, other)
        notes += told
        other_name = one_line(text(other.settings.get("judge")), 40) or "judge"
        judges[f"{other_name} (second)" if other_name == name else other_name] = second
    pairs = [
        _pair("people", a.rater, b.rater, a.scores, b.scores, *_weights(a, b))
        for a, b in itertools.combinations(ratings, 2)
    ]
    if len(ratings) > 2:
        pairs.append(_all_people(ratings))
    for who, scores in judges.items():
        pairs += [
            _pair("judge", who, one.rater, scores, one.scores, one.weights) for one in ratings
        ]
        if len(ratings) > 1:
            mean, weights, note = _mean_of_people(ratings)
            pairs.append(_pair("judge", who, "people's mean", scores, mean, weights, note))
    if len(judges) == 2:
        (a, first), (b, second) = judges.items()
        pairs.append(_pair("judges", a, b, first, second))
    pairs += _with_masks(of, name, judge)
    if not any(pair.kind == "masks" for pair in pairs):
        notes.append("No reference masks are in this round's lines: the judge is not held to any.")
    few = [p for p in pairs if p.number < FEW]
    if few:
        notes.append(
            f"Fewer than {FEW} samples: {'; '.join(_who(pair) for pair in few)}. What can't be "
            "concluded from so few: which of two judges is better, whether a judge agrees as well "
            "as people do, and that a figure has changed."
        )
    return Agreements(round=of.key, digest=digest_round(of), pairs=pairs, notes=notes)


def _who(pair: Pair) -> str:
    return f"{pair.first} and {pair.second} ({pair.number})"


def _pair(
    kind: str,
    first: str,
    second: str,
    of_first: Mapping[str, float],
    of_second: Mapping[str, float],
    weights: Mapping[str, float] | None = None,
    note: str = "",
    *,
    figures: Sequence[str] = AGREEMENT,
) -> Pair:
    shared = [name for name in of_first if name in of_second]
    found: Mapping[str, Agreed] = dict.fromkeys(figures, Agreed(value=None, why="nothing shared"))
    if shared:
        found = agreement(
            [of_first[name] for name in shared],
            [of_second[name] for name in shared],
            weights=None if weights is None else [weights[name] for name in shared],
            probes=[_probe(name) for name in shared],
            figures=figures,
        )
    return Pair(kind=kind, first=first, second=second, number=len(shared), figures=found, note=note)


def _probe(name: str) -> str:
    return "/".join(name.split("/")[:2])


def _weights(*ratings: Ratings) -> tuple[Mapping[str, float] | None, str]:
    """Return the weights of samples that all of these drew; none where their draws differ."""
    if len({one.size for one in ratings}) > 1:
        return None, "of different draws, so unweighted"
    return {name: w for one in ratings for name, w in one.weights.items()}, ""


def _mean_of_people(
    ratings: Sequence[Ratings],
) -> tuple[dict[str, float], Mapping[str, float] | None, str]:
    names = dict.fromkeys(name for one in ratings for name in one.scores)
    given = {name: [o.scores[name] for o in ratings if name in o.scores] for name in names}
    weights, note = _weights(*ratings)
    return {name: math.fsum(of) / len(of) for name, of in given.items()}, weights, note


def _all_people(ratings: Sequence[Ratings]) -> Pair:
    names = list(dict.fromkeys(name for one in ratings for name in one.scores))
    scores = [[one.scores.get(name, math.nan) for name in names] for one in ratings]
    weights, note = _weights(*ratings)
    alpha = krippendorff_alpha(
        scores,
        weights=None if weights is None else [weights[name] for name in names],
        probes=[_probe(name) for name in names],
    )
    shared = sum(sum(name in one.scores for one in ratings) > 1 for name in names)
    return Pair(
        kind="people",
        first=f"all {len(ratings)} people",
        second="one another",
        number=shared,
        figures={"alpha": alpha},
        note=note,
    )


def _with_masks(of: RunRound, name: str, judge: Mapping[str, float]) -> list[Pair]:
    samples = [s for s in list_rateable(of) if "reference/iou" in s.measures]
    return [
        _pair(
            "masks",
            name,
            f"reference masks, {long}",
            judge,
            {
                name_sample(s): s.measures[f"reference/{'dice' if key == 'f1' else key}"]
                for s in samples
            },
            figures=("pearson", "spearman"),
        )
        for key, long in MASKS.items()
        if samples
    ]


def _judge_of(run: Run, of: RunRound, other: Run) -> tuple[dict[str, float], list[str]]:
    """Return another judge's scores of the same pictures and labels, and what was left out."""
    twin = next((o for o in other.rounds if o.key == of.key and list_rateable(o)), None)
    if twin is None or twin.fingerprint != of.fingerprint:
        raise ConfigurationError(
            expected(
                "the second run",
                f"one with a judged round {of.key} of the same probes",
                "no such round" if twin is None else f"probes {twin.fingerprint}",
                "Run both judges on the same data with one seed and one probe_size",
            )
        )
    mine = {name_sample(s): s for s in list_rateable(of)}
    found: dict[str, float] = {}
    left = {"another prediction": 0, "another picture": 0, "a picture missing": 0}
    for sample in list_rateable(twin):
        own = mine.get(name_sample(sample))
        if own is None or sample.score is None or sample.stands:
            continue
        if own.prediction_name != sample.prediction_name:
            left["another prediction"] += 1
            continue
        apart = _difference((run.path, own), (other.path, sample))
        if apart is None or apart > _SAME:
            left["a picture missing" if apart is None else "another picture"] += 1
        else:
            found[name_sample(sample)] = sample.score
    told = [f"{n} with {why}" for why, n in left.items() if n]
    if told:
        told = [f"Of the second judge's samples were left out: {', '.join(told)}."]
    return found, told


def _difference(first: tuple[Path, RunSample], second: tuple[Path, RunSample]) -> float | None:
    """Return the mean difference of two judged pictures in 8-bit steps; None if one is missing."""
    a, b = _open(*first), _open(*second)
    if a is None or b is None:
        return None
    return float(np.abs(a - b).mean()) if a.shape == b.shape else math.inf


def _open(root: Path, sample: RunSample) -> NDArray[np.float64] | None:
    try:
        with Image.open(in_folder(root, sample.image), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"), dtype=np.float64)
    except (OSError, ValueError, SyntaxError):
        return None


def write_agreements(run_dir: Path, found: Sequence[Agreements]) -> Path:
    """Write what a report shows of agreement into the run folder; that of other rounds stays."""
    kept = _load(run_dir) | {of.round: asdict(of) for of in found}
    return write_page(json.dumps({"rounds": list(kept.values())}, indent=1) + "\n", run_dir / FILE)


def load_agreements(run: Run) -> list[Agreements]:
    """Return what `write_agreements` wrote of the rounds as they are now."""
    digests = {of.key: digest_round(of) for of in run.rounds}
    return [
        Agreements(
            round=key,
            digest=digests[key],
            pairs=[_to_pair(p) for p in told.get("pairs") or () if isinstance(p, dict)],
            notes=[one_line(text(note), 600) for note in told.get("notes") or ()],
        )
        for key, told in _load(run.path).items()
        if key in digests and told.get("digest") == digests[key]
    ]


def _load(run_dir: Path) -> dict[str, dict[str, Any]]:
    try:
        rounds = json.loads(in_folder(run_dir, FILE).read_bytes())["rounds"]
        return {text(of["round"]): of for of in rounds}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def _to_pair(told: Mapping[str, Any]) -> Pair:
    figures = told.get("figures")
    return Pair(
        kind=text(told.get("kind")),
        first=one_line(text(told.get("first"))),
        second=one_line(text(told.get("second"))),
        number=whole(told.get("number")) or 0,
        figures={
            text(name): _to_agreed(of)
            for name, of in (figures.items() if isinstance(figures, dict) else ())
            if isinstance(of, dict)
        },
        note=one_line(text(told.get("note"))),
    )


def _to_agreed(told: Mapping[str, Any]) -> Agreed:
    raw = told.get("interval")
    ends = [number(end) for end in raw] if isinstance(raw, list) else []
    return Agreed(
        value=number(told.get("value")),
        interval=Interval(*ends) if len(ends) == 2 and None not in ends else None,  # type: ignore[arg-type]
        why=one_line(text(told.get("why"))),
    )

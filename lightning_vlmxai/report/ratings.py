"""Files of people's ratings: read, with a reason for each line left out, and kept."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, expected
from .html import write_page
from .rating import digest_round, list_rateable, name_sample
from .run import Run, RunRound
from .text import in_folder, one_line
from .values import number, text, whole

FORMAT = "vlmxai-ratings"
FOLDER = "ratings"
"""In the run folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """One person's scores of one round's samples.

    Args:
        rater: Who.
        round: Key of the round.
        scores: Name of a sample to its score in [0, 5].
        weights: One over each sample's chance of being drawn, up to a factor.
        size: Of the draw; None where the samples were not drawn by the report's page, so that
            equal chances are assumed.
        skipped: Samples that the rater could not tell.
    """

    rater: str
    round: str
    scores: Mapping[str, float]
    weights: Mapping[str, float]
    size: int | None = None
    skipped: int = 0


def read_ratings(
    path: Path, run: Run, round_key: str | None = None
) -> tuple[Ratings, tuple[str, ...]]:
    """Return the ratings of a file, and in sentences what was left out of it or assumed.

    Args:
        path: JSON from the report's page, or CSV with the columns `sample` and `score`.
        run: That the ratings are of.
        round_key: Of the round that a CSV with bare probe numbers means.

    Raises:
        ConfigurationError: If it can't be read, is of another run, or no line is left.
    """
    try:
        raw = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(path, f"{error}", "Pass the file that the Rate page downloads") from None
    try:
        file = json.loads(raw)
    except (ValueError, RecursionError):
        return _read_csv(path, raw, run, round_key)
    return _read_json(path, file, run)


def store_ratings(run_dir: Path, ratings: Ratings, run: Run) -> Path:
    """Write ratings into the run folder, over older ones of the same person and round."""
    of = next(of for of in run.rounds if of.key == ratings.round)
    file = {
        "format": FORMAT,
        "version": 1,
        "rater": ratings.rater,
        "round": ratings.round,
        "digest": digest_round(of),
        "draw": None if ratings.size is None else {"size": ratings.size},
        "ratings": [
            {"sample": name, "score": score, "weight": ratings.weights[name]}
            for name, score in ratings.scores.items()
        ],
        "skipped": ratings.skipped,
    }
    name = re.sub(r"[^\w.-]+", "-", f"{ratings.round}-{ratings.rater}").strip("-.")
    return write_page(json.dumps(file, indent=1) + "\n", run_dir / FOLDER / f"{name}.json")


def load_ratings(run: Run) -> tuple[list[Ratings], list[str]]:
    """Return the ratings that a run folder keeps, and what of them can't be used, in sentences."""
    found: list[Ratings] = []
    notices: list[str] = []
    for path in sorted((run.path / FOLDER).glob("*.json")):
        try:
            file = json.loads(in_folder(run.path, f"{FOLDER}/{path.name}").read_bytes())
            ratings, told = _read_json(path, file, run)
        except (OSError, ValueError, RecursionError) as error:  # ConfigurationError among them
            notices.append(one_line(f"{FOLDER}/{path.name} was left out: {error}", 400))
            continue
        found.append(ratings)
        notices += told
    return found, notices


def pool_ratings(ratings: Sequence[Ratings]) -> tuple[list[Ratings], list[Ratings]]:
    """Return those of one draw, with the most rated samples, and the rest.

    Samples of two draws have other chances together than in either; those of one draw come to all
    in one order, so that what several people rated of it is a random part of it.
    """
    of_draw: defaultdict[int | None, list[Ratings]] = defaultdict(list)
    for one in ratings:
        of_draw[one.size].append(one)
    if not of_draw:
        return [], []
    # A draw with known chances goes before an assumed one, if as many are rated.
    best = max(
        of_draw.items(),
        key=lambda item: (len(set().union(*(r.scores for r in item[1]))), bool(item[0])),
    )[1]
    return best, [one for one in ratings if one not in best]


def _read_json(path: Path, file: Any, run: Run) -> tuple[Ratings, tuple[str, ...]]:
    if not isinstance(file, dict) or file.get("format") != FORMAT or file.get("version") != 1:
        raise _refused(path, "other JSON", "Pass the file that the Rate page downloads")
    key = text(file.get("round"))
    of = next((of for of in run.rounds if of.key == key), None)
    if of is None or digest_round(of) != file.get("digest"):
        raise ConfigurationError(
            expected(
                one_line(path.name),
                "ratings of this run",
                f"ratings of another run's {one_line(key)!r}, or of a round that was written anew",
                f"Pass the run folder whose report they were made in, instead of {run.path}",
            )
        )
    rows: list[Any] = file["ratings"] if isinstance(file.get("ratings"), list) else []
    lines = [row if isinstance(row, dict) else {} for row in rows]
    scores, told = _keep(path, [(text(r.get("sample")), r.get("score")) for r in lines], of)
    draw = file.get("draw")
    size = whole(draw.get("size")) if isinstance(draw, dict) else None
    weights = {text(r.get("sample")): number(r.get("weight")) for r in lines}
    known = {name: weight for name in scores if (weight := weights[name]) and weight > 0}
    if len(known) < len(scores):
        left = [name for name in scores if name not in known]
        told.append(f"{path.name}: without a weight above 0, left out: {_list(left)}.")
        scores = {name: scores[name] for name in known}
    skipped = file.get("skipped")
    ratings = Ratings(
        rater=one_line(text(file.get("rater")), 40) or path.stem,
        round=key,
        scores=scores,
        weights=known,
        size=size,
        skipped=len(skipped) if isinstance(skipped, list) else whole(skipped) or 0,
    )
    return _some_left(path, ratings, told)


def _read_csv(
    path: Path, raw: str, run: Run, round_key: str | None
) -> tuple[Ratings, tuple[str, ...]]:
    first = raw.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(raw), delimiter=";" if ";" in first else ",")
    columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
    if not {"sample", "score"} <= set(columns):
        raise _refused(
            path,
            f"neither such JSON nor CSV with these columns ({one_line(first)!r})",
            "Let its first line be: sample,score",
        )
    reader.fieldnames = columns
    rows = [((row["sample"] or "").strip(), (row["score"] or "").strip()) for row in reader]
    known = {name_sample(sample) for of in run.rounds for sample in of.samples}
    named = Counter(name.split("/")[0] for name, _ in rows if name in known)
    if len(named) > 1:
        parts = ", ".join(f"{key} ({n})" for key, n in named.items())
        raise _refused(path, f"ratings of several rounds: {parts}", "Pass a file for each round")
    judged = [of for of in run.rounds if list_rateable(of)]
    key = next(iter(named), round_key or (judged[0].key if len(judged) == 1 else None))
    of = next((of for of in judged if of.key == key), None)
    if of is None:
        keys = ", ".join(of.key for of in judged) or "none"
        raise _refused(
            path,
            f"samples of {'no' if key is None else one_line(key)} round (judged: {keys})",
            f"Write samples as {judged[-1].key if judged else 'fit-0'}/12, or pass "
            f"--round {judged[-1].key if judged else 'fit-0'}",
        )
    whole_names = [(n if n in known else f"{of.key}/{n}", n, score) for n, score in rows]
    scores, told = _keep(path, [(full, _to_number(score)) for full, _, score in whole_names], of)
    told.append(
        f"{path.name}: a CSV tells no weights; all samples are taken to have had the same chance."
    )
    return _some_left(
        path,
        Ratings(rater=path.stem, round=of.key, scores=scores, weights=dict.fromkeys(scores, 1.0)),
        told,
    )


def _keep(
    path: Path, rows: Sequence[tuple[str, Any]], of: RunRound
) -> tuple[dict[str, float], list[str]]:
    """Return the scores that can be used, and who was left out and why."""
    known = {name_sample(sample) for sample in list_rateable(of)}
    every = {name_sample(sample) for sample in of.samples}
    times = Counter(name for name, _ in rows)
    kept: dict[str, float] = {}
    left: defaultdict[str, list[str]] = defaultdict(list)
    for name, raw in rows:
        score = number(raw)
        if times[name] > 1:
            left["rated more than once"].append(name)
        elif name not in every:
            left[f"no sample of {of.key}"].append(name or "(no name)")
        elif name not in known:
            left["not judged, so in no rate"].append(name)
        elif score is None or not 0 <= score <= 5:
            left["without a score from 0 to 5"].append(name)
        else:
            kept[name] = score
    return kept, [f"{path.name}: {why}, left out: {_list(names)}." for why, names in left.items()]


def _some_left(
    path: Path, ratings: Ratings, told: Sequence[str]
) -> tuple[Ratings, tuple[str, ...]]:
    if not ratings.scores:
        why = " ".join(line for line in told if "left out" in line) or "no line"
        raise _refused(path, f"no rating that can be used ({why})", "Rate 30 samples and more")
    return ratings, tuple(told)


def _list(names: Sequence[str]) -> str:
    shown = [one_line(name, 40) for name in dict.fromkeys(names)]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return ", ".join(shown[:20]) + more


def _to_number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _refused(path: Path, got: str, remedy: str) -> ConfigurationError:
    rule = "a file of ratings: JSON from the report's Rate page, or CSV with sample,score"
    return ConfigurationError(expected(one_line(str(path), 200), rule, got, remedy))


def find_twins(ratings: Sequence[Ratings]) -> Iterator[tuple[Ratings, Ratings]]:
    """Yield the pairs of one round that are the same throughout, as of one file passed twice."""
    for place, one in enumerate(ratings):
        for other in ratings[place + 1 :]:
            if one.round == other.round and len(one.scores) >= 5 and one.scores == other.scores:
                yield one, other

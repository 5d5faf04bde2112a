"""What the judge was asked about each sample and what it said, from the log of its calls."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from ..judges import ReferenceMaskJudge
from .reader import read_calls
from .run import Run, RunSample
from .text import in_folder, one_line, visible
from .values import number, text, whole

MAX_CHARACTERS = 4_000_000
"""Of answers in one page; the newest rounds' are kept."""
_PROMPTS = "judge_prompts"
_LONGEST = 20_000


def describe_asked(run: Run) -> dict[str, Any]:
    """Return what a page's script needs to show the judge's side of its samples.

    A sample names its lines of the log by their ids, and a cached answer the key of the call that
    it was paid with: nothing is joined by a guess.

    Args:
        run: The run; `of` is in the order of its rounds' samples.
    """
    wanted = {name for of in run.rounds for sample in of.samples for name in sample.asked}
    lines: dict[str, tuple[Mapping[str, Any], Mapping[str, Any] | None]] = {}
    paid: dict[str, Mapping[str, Any]] = {}
    for line in read_calls(run.path):
        key = text(line.get("key"))
        if line.get("cached") is not True and key:
            paid[key] = line
        if text(line.get("id")) in wanted:
            # The answer that the cache held by then: a later call of the same key is another.
            lines[text(line.get("id"))] = line, paid.get(key)
    told: dict[str, dict[str, Any]] = {}
    prompts: dict[str, Any] = {}
    left = MAX_CHARACTERS
    for of in reversed(run.rounds):
        for sample in of.samples:
            for name in sample.asked:
                own = lines.get(name)
                if own is None or name in told or left < 0:
                    continue
                made = _describe(*own)
                left -= sum(len(answer) for answer in made["answers"]) + 200
                if left < 0:
                    break
                told[name] = made
                version = made["prompt"]
                if version and version not in prompts:
                    prompts[version] = _read_prompt(run.path, version)
    return {
        "lines": told,
        "prompts": {version: prompt for version, prompt in prompts.items() if prompt},
        "none": _why_none(run),
        "of": [_list_ids(sample, lines, told) for of in run.rounds for sample in of.samples],
    }


def _list_ids(sample: RunSample, there: Container[str], told: Container[str]) -> list[str] | None:
    """Return a sample's lines: None where the log has none, empty where the page lacks some."""
    own = [name for name in sample.asked if name in there]
    if not own:
        return None
    return own if all(name in told for name in own) else []


def _why_none(run: Run) -> str:
    """Return what to say of a sample without a line."""
    if text(run.settings.get("judge")) == ReferenceMaskJudge.name:
        return "The reference judge compares masks; it has no prompt."
    return "This folder's log does not hold it."


def _describe(line: Mapping[str, Any], paid: Mapping[str, Any] | None) -> dict[str, Any]:
    is_cached = line.get("cached") is True
    if paid is not None and paid.get("score") != line.get("score"):
        paid = None  # the cache was another run's, or was written to from elsewhere
    source: Mapping[str, Any] | None = paid if is_cached else line
    answers = source.get("answers") if source is not None else None
    return {
        "stage": one_line(text(line.get("stage"))),
        "round": whole(line.get("round")),
        "model": one_line(text(line.get("model")), 200),
        "prompt": one_line(text(line.get("prompt"))),
        "label": visible(text(line.get("label")), 200),
        "format": one_line(text(line.get("answer_format"))),
        "status": whole(line.get("status")),
        "tries": whole(line.get("tries")),
        "tokens": whole(line.get("tokens")),
        "cost": number(line.get("cost_usd")),
        "latency": number(line.get("latency_s")),
        "score": number(line.get("score")),
        "reason": one_line(text(line.get("reason"))),
        "problem": visible(text((source or {}).get("problem")), 1000),
        "cached": is_cached,
        "paid": None if not is_cached or paid is None else _round_of(paid),
        "answers": [visible(text(a)) for a in answers] if isinstance(answers, list) else [],
    }


def _round_of(line: Mapping[str, Any]) -> str:
    return one_line(f"{text(line.get('stage'))} {text(line.get('round'))}")


def _read_prompt(path: Path, version: str) -> dict[str, str] | None:
    try:
        raw = in_folder(path, f"{_PROMPTS}/{Path(version).name}.json").read_bytes()
        prompt = json.loads(raw)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(prompt, dict):
        return None
    return {name: visible(text(prompt.get(name)), _LONGEST) for name in ("template", "reask")}

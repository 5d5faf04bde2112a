"""From a server's words to an answer, or to the reason why there is none. Pure functions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..records import UnscoredReason
from .loose_json import Fields, find_objects, holders
from .prompts import neutralize_label

ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "evaluation": {"type": "string", "description": "Where the attention lies, and why."},
        "justification": {"type": "string", "description": "Why this score."},
        "score": {"type": "number", "description": "From 0 to 5."},
        "attends_to": {
            "type": "array",
            "description": "What is shown clearly, at most three things.",
            "items": {
                "type": "object",
                "properties": {"what": {"type": "string"}, "on_object": {"type": "boolean"}},
                "required": ["what", "on_object"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["evaluation", "justification", "score", "attends_to"],
    "additionalProperties": False,
}
"""JSON schema of an answer. Not every server enforces bounds, so they are checked here."""

MOST_PHRASES = 3
"""Things of one picture that are kept."""
_FLAGS = {"true": True, "false": False}

_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_SCORE = re.compile(
    rf"({_NUMBER})(?:\s*(?:/|out of)\s*({_NUMBER}))?\.?(?:\s*\((?!\s*out of)[^()\d/]*\))?\.?",
    re.IGNORECASE,
)
_JSON_BEGINS = re.compile(r"\{\s*\"")
_IN_TEXT = re.compile(
    r"\b(?:score|rating)\b[\s\"'*_]*"
    r"(?P<scale>\(\s*(?:from )?0\s*(?:-|\u2013|to)\s*(?P<top>\d+)\s*\)|\(out of (?P<of>\d+)\))?"
    r"[\s\"'*_]*(?:[:=]|is|of)?[\s\"'*_]*"
    rf"(?P<score>{_NUMBER}(?:\s*(?:/|out of)\s*{_NUMBER})?)"
    rf"(?P<range>\s*(?:-|\u2013|to|or)\s*{_NUMBER})?",
    re.IGNORECASE,
)
_HEADINGS = re.compile(
    r"^[\s#*_]*(evaluation|justification|score|rating)\b[\s*_]*[:=]", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A judgement as the model gave it; `score` is in [0, 5], `attends_to` as in `Verdict`."""

    evaluation: str
    justification: str
    score: float
    attends_to: tuple[tuple[str, bool | None], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """Why words are no answer. `problem` ends the sentence "That answer can't be used: ...".

    `score` is the one that was out of range.
    """

    reason: UnscoredReason
    problem: str
    score: float | None = None


def read_answer(text: str) -> Answer | Unusable:
    """Return the one judgement that a text holds, or why there is none.

    Read are: a JSON object, alone, in a code fence, amid prose or inside another; failing that,
    prose that names its score ("Score: 4/5"). Nothing is guessed: no rescaling ("8/10"), no words
    for numbers, no choice between two different scores.

    Example:
        >>> read_answer('{"evaluation": "On it.", "justification": "All.", "score": "4/5"}').score
        4.0
        >>> read_answer("Score: 3 or 4").reason.value
        'unparseable'
    """
    text = text.strip()
    found = [one for outer in find_objects(text) for one in holders(outer, "score")]
    if not found and _JSON_BEGINS.search(text):
        # Not read as prose: a number at the place where JSON broke off may have lost its digits.
        return _unparseable("its JSON is broken or has no score")
    if not found:
        return _read_prose(text)
    answers = [_read_object(obj) for obj in found]
    usable = {answer.score for answer in answers if isinstance(answer, Answer)}
    if len(answers) > 1 and (len(usable) > 1 or not all(isinstance(a, Answer) for a in answers)):
        return _unparseable("it holds several judgements")
    return answers[0]


def read_score(value: object) -> float | Unusable:
    """Return a score in [0, 5], or why the value is none.

    Example:
        >>> read_score("4.5"), read_score("4 out of 5")
        (4.5, 4.0)
        >>> read_score(10).reason.value
        'out_of_range'
    """
    if isinstance(value, str):
        match = _SCORE.fullmatch(value.strip())
        if match is None or (match[2] is not None and float(match[2]) != 5):
            return _unparseable(f"its score {_short(value)} is not a number from 0 to 5")
        score = float(match[1])
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        score = float(value)
    else:
        return _unparseable(f"its score {_short(value)} is not a number from 0 to 5")
    if not 0 <= score <= 5:
        return Unusable(
            reason=UnscoredReason.OUT_OF_RANGE,
            problem=f"its score {score:g} is not from 0 to 5",
            score=score,
        )
    return score


def read_attended(value: object) -> tuple[tuple[str, bool | None], ...] | None:
    """Return what a judge saw: phrases, each with whether it is a part of the named object.

    Nothing here costs a score: what is no phrase is left out. At most three are kept, without
    marks and markup, each of at most eight words and 60 characters.

    Returns:
        None where the answer has no such list; whether is None where that isn't said.

    Example:
        >>> read_attended([{"what": "<b>red dot</b>", "on_object": False}, "an ear"])
        (('b red dot /b', False), ('an ear', None))
        >>> read_attended("a red dot") is None
        True
    """
    if not isinstance(value, list):
        return None
    found: dict[str, bool | None] = {}
    for one in value:
        whole = one if isinstance(one, Mapping) else {"what": one}
        what, is_part = whole.get("what"), whole.get("on_object")
        phrase = neutralize_label(what) if isinstance(what, str) else ""
        if phrase and len(found) < MOST_PHRASES:
            found.setdefault(phrase, _FLAGS.get(str(is_part).strip().lower()))
    return tuple(found.items()) if found or not value else None


def tell_attended(
    attends_to: tuple[tuple[str, bool | None], ...] | None,
) -> list[dict[str, str | bool | None]] | None:
    """Return what `read_attended` reads as it is, in plain values."""
    if attends_to is None:
        return None
    return [{"what": what, "on_object": is_part} for what, is_part in attends_to]


def _read_object(found: Fields) -> Answer | Unusable:
    if found.contradicts:
        return _unparseable("it gives one key two values")
    score = read_score(found["score"])
    if isinstance(score, Unusable):
        return score
    words = {key: _to_words(found.get(key)) for key in ("evaluation", "justification")}
    for key, value in words.items():
        if not value:
            return _unparseable(f'"{key}" is missing or empty')
    return Answer(
        score=score,
        evaluation=_to_writable(words["evaluation"]),
        justification=_to_writable(words["justification"]),
        attends_to=read_attended(found.get("attends_to")),
    )


def _to_words(value: object) -> str:
    """Return what a model says of a picture: a text, or a whole object of them as one."""
    if isinstance(value, (dict, list)) and value:
        return json.dumps(value, ensure_ascii=False)
    return value.strip() if isinstance(value, str) else ""


def _read_prose(text: str) -> Answer | Unusable:
    matches = list(_IN_TEXT.finditer(text))
    if not matches:
        return _unparseable("it names no score")
    if any(match["range"] for match in matches):
        return _unparseable("it names a range of scores")
    tops = {top for match in matches for top in (match["top"], match["of"]) if top is not None}
    if tops - {"5"}:
        return _unparseable("it scores from 0 to " + ", ".join(sorted(tops)))
    scores = [read_score(match["score"]) for match in matches]
    if len({score if isinstance(score, float) else score.problem for score in scores}) > 1:
        return _unparseable("it names different scores")
    if isinstance(scores[0], Unusable):
        return scores[0]
    sections = _split_sections(text)
    evaluation = sections.get("evaluation", text)
    return Answer(
        score=scores[0], evaluation=evaluation, justification=sections.get("justification", "")
    )


def _split_sections(text: str) -> dict[str, str]:
    headings = list(_HEADINGS.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return {
        heading[1].lower(): text[heading.end() : end].strip(" *_\n")
        for heading, end in zip(headings, ends, strict=False)
    }


def _to_writable(text: str) -> str:
    """Return a text without the halves of characters that JSON can spell and no file can hold."""
    return text.encode("utf-8", "replace").decode().strip()


def _unparseable(problem: str) -> Unusable:
    return Unusable(reason=UnscoredReason.UNPARSEABLE, problem=problem)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."

"""What a reasoning model says aloud before it answers. Pure functions."""

from __future__ import annotations

import json
import re

_NAMES = r"think|thinking|thought|thoughts|reasoning|seed:think"
_TAG = re.compile(
    rf"<\s*(?P<a>/?)\s*(?:{_NAMES})\s*>|\[(?P<b>/?)THINK\]|\u25c1(?P<c>/?)think\u25b7",
    re.IGNORECASE,
)


def after_thoughts(text: str) -> str | None:
    """Return what a model says after the last of its thoughts; None if these have no end.

    Thoughts stand in `<think>`, `<thinking>`, `<thought>`, `<reasoning>`, `[THINK]` or Kimi's
    marks; servers often cut off the opening one. Marks inside an answer that is JSON as a whole
    are the answer's words.

    Example:
        >>> after_thoughts("Perhaps 0.</think>Score: 4")
        'Score: 4'
        >>> after_thoughts("<think>Perhaps 0. No:") is None
        True
    """
    tags = list(_TAG.finditer(text))
    if not tags or _is_json(text):
        return text.strip()
    last = tags[-1]
    if not (last["a"] or last["b"] or last["c"]):
        return None
    return text[last.end() :].strip()


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except (ValueError, RecursionError):
        return False

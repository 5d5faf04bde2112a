"""Text from models, judges and data sets: shown as what it is, whatever it holds."""

from __future__ import annotations

import re
from pathlib import Path

LIMIT = 20_000
"""Characters of one text that a page holds."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str, limit: int = LIMIT) -> str:
    """Return text in which no character acts: control and direction marks become visible signs.

    Args:
        text: Anything that a model, a judge or a data set said.
        limit: Characters kept; what is left out is counted at the end.

    Example:
        >>> visible("red" + chr(27) + "[31m" + chr(0x202E) + "txt")
        'red␛[31m⟨U+202E⟩txt'
        >>> visible("abcdef", limit=3)
        'abc… (3 characters more)'
    """
    more = len(text) - limit
    shown = _UNSEEN.sub(_sign, text[:limit].replace("\r\n", "\n"))
    return f"{shown}… ({more:,} characters more)" if more > 0 else shown


def one_line(text: str, limit: int = 80) -> str:
    """Return `visible` text in a line of `limit` characters.

    Example:
        >>> one_line("a" + chr(10) + "b")
        'a b'
    """
    shown = " ".join(visible(text[: 4 * limit]).split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _sign(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


def in_folder(root: Path, name: str) -> Path:
    """Return the path of a file in a folder; where it leads out of it, by a link, there is none.

    Raises:
        FileNotFoundError: If it leads out.
    """
    file = root / name
    if not file.resolve().is_relative_to(root.resolve()):
        raise FileNotFoundError(name)
    return file

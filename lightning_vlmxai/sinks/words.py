"""Words of judges, models and data sets, made safe to show. Nothing in them is trusted."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

LIMIT = 1000
"""Characters of one text that are shown."""


def printable(text: str) -> str:
    r"""Return one line of text: control, format and direction characters become spaces.

    Example:
        >>> printable("red\x1b[31m\n\u202efox")
        'red [31m fox'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def clamp(text: str, limit: int = LIMIT) -> str:
    """Return text of at most `limit` characters, and how many there were if it was cut.

    Example:
        >>> clamp("abcdef", limit=3)
        'abc… (6 characters)'
    """
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def escape_markdown(text: str) -> str:
    r"""Return one line that Markdown shows as it is, cut to `LIMIT` characters.

    Example:
        >>> escape_markdown("<b> *and* ~~more~~")
        '&lt;b&gt; \\*and\\* &#126;&#126;more&#126;&#126;'
    """
    plain = html.escape(clamp(printable(text)))
    escaped = "".join(f"\\{c}" if c in r"\`*_{}[]()+-.!|" else c for c in plain)
    # A tilde opens a code block and has no escape of its own. Neither has a number sign within an
    # entity, where Markdown would take it literally: it only means something at a line's start.
    escaped = escaped.replace("~", "&#126;")
    return f"\\{escaped}" if escaped.startswith("#") else escaped


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of untrusted cells."""
    lines = [head, ["---"] * len(head), *([escape_markdown(c) for c in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

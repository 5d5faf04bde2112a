"""A key is found in whatever notation a server, a proxy or a library below echoes it."""

from __future__ import annotations

import base64
import html.entities
import re
from collections.abc import Sequence
from functools import lru_cache

_SHORT, _TINY = 12, 8
"""Of fewer characters a half could be any word, and the code of the whole."""

_CODE = re.compile(r"[A-Za-z0-9+/_=-]")

_NAMES = {chr(point): name for name, point in html.entities.name2codepoint.items()}


def scrub(text: str, secrets: Sequence[str]) -> str:
    r"""Return a text with `***` wherever one of the secrets stands.

    A secret is found as it is, in the escapes of JSON and Python (``\u002b``, ``\/``, ``\x2b``,
    escaped again as well), of addresses (``%2B``, ``%252B``) and of HTML (``&#43;``, ``&plus;``),
    mixed as they may be; from 8 characters on in base64 at any offset and in hexadecimal too, and
    from 12 on where it was cut, if a half of it is left.

    Args:
        text: Of a server, say.
        secrets: Empty ones are passed over.

    Example:
        >>> scrub(r"You sent sk-a\u002bbc%2fd\/e12.", ["sk-a+bc/d/e12"])
        'You sent ***.'
    """
    for secret in secrets:
        if secret:
            as_text, as_code = _patterns(secret)
            for pattern in as_text:
                text = pattern.sub("***", text)
            text = _without_runs(text, as_code)
    return text


def _without_runs(text: str, pattern: re.Pattern[str]) -> str:
    """Return a text without the runs of base64 in which a pattern is found."""
    kept, done = [], 0
    for found in pattern.finditer(text):
        start, end = found.span()
        while start > done and _CODE.match(text[start - 1]):
            start -= 1
        while end < len(text) and _CODE.match(text[end]):
            end += 1
        if start >= done:
            kept += [text[done:start], "***"]
            done = end
    return "".join(kept) + text[done:]


@lru_cache(maxsize=64)
def _patterns(secret: str) -> tuple[list[re.Pattern[str]], re.Pattern[str]]:
    """Return what finds a secret as text, the whole of it first, and what finds it in code."""
    half = (len(secret) + 1) // 2
    pieces = [secret] if len(secret) >= _TINY else []
    if len(secret) >= _SHORT:
        pieces += [secret[:half], secret[len(secret) - half :]]
    patterns = [re.compile("".join(map(_notations, secret)))]
    if len(secret) >= _SHORT:
        # A half, and as much more of the key as follows or goes before: it was cut somewhere.
        rest = "".join(f"(?:{_notations(c)}" for c in secret[half:]) + ")?" * len(secret[half:])
        patterns.append(re.compile("".join(map(_notations, secret[:half])) + rest))
        patterns.append(re.compile("".join(map(_notations, secret[len(secret) - half :]))))
    coded = [form for piece in pieces for form in _encoded(piece)]
    return patterns, re.compile("|".join(coded) or r"(?!)")


def _notations(character: str) -> str:
    """Return a regular expression of a character in any escape."""
    plain = re.escape(character)
    codes = [f"{byte:02x}" for byte in character.encode()]
    percent = "".join(f"%(?:25){{0,4}}(?i:{code})" for code in codes)
    point = ord(character)
    forms = [
        plain,
        percent,
        rf"\\{{1,8}}u(?i:{point:04x})",
        rf"\\{{1,8}}x(?i:{point:02x})",
        rf"&(?:amp;){{0,4}}\#(?:0*{point}|(?i:x0*{point:x}));?",
    ]
    if character in _NAMES:
        forms.append(f"&(?:amp;){{0,4}}{_NAMES[character]};")
    if not character.isalnum():
        forms.append(rf"\\{{1,8}}{plain}")
    return f"(?:{'|'.join(forms)})"


def _encoded(piece: str) -> set[str]:
    """Return regular expressions of a text in base64, at any offset, and in hexadecimal.

    A text's base64 depends on what goes before and after only at its ends, which are left out.
    """
    data = piece.encode()
    forms = {f"(?i:{data.hex()})"}
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + data).decode()
        sure = coded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
        forms |= {re.escape(sure), re.escape(sure.replace("+", "-").replace("/", "_"))}
    return forms

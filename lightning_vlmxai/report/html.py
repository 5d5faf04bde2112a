"""One self-contained HTML file: templates, styles and scripts in, a page out."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ..records import Quadrant
from ..rounds import LETTERS, MEANINGS, NAMES, PALETTE
from .text import one_line

NOTHING = "\N{EN DASH}"
"""What stands where there is no value."""


def render_page(
    template: str,
    *,
    scripts: Sequence[str],
    data: Mapping[str, Any],
    pictures: Sequence[str],
    build: str | None = None,
    **values: object,
) -> str:
    """Return a page that makes no request but for the pictures that it does not hold.

    Args:
        template: Name of a template among the package's files.
        scripts: Names of scripts, in order; they run as one.
        data: What the scripts show. It is compressed, so that no text in it can end the script
            element that holds it.
        pictures: Sources of pictures.
        build: Name of this build, for a page that asks its server for newer ones.
        values: For the template, which escapes them.
    """
    names = (*scripts, "watch.js") if build else tuple(scripts)
    script = "(() => {\n" + "".join(_asset(name) for name in names) + "})();"
    style = _palette() + _asset("page.css")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        f"img-src data: 'self' file:; base-uri 'none'; form-action 'none'"
        + ("; connect-src 'self'" if build else "")
    )
    packed = base64.b64encode(gzip.compress(_dump(data).encode(), 6, mtime=0)).decode("ascii")
    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            style=Markup(style),  # noqa: S704 - the package's own file
            script=Markup(script),  # noqa: S704 - the package's own file
            packed=packed,
            pictures=Markup(_dump(pictures).replace("<", "\\u003c")),  # noqa: S704 - JSON without tags
            build=build,
            **values,
        )
    )


def write_page(page: str, out: Path) -> Path:
    """Write a page so that a reader sees the old one or the new one, never a part."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return out


def show_value(value: object) -> str:
    """Return a setting as a person writes it.

    Example:
        >>> show_value(None), show_value(15.0), show_value(["cat", "dog"])
        ('not given', '15', 'cat, dog')
    """
    if value is None or value == "" or value == []:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list) and not any(isinstance(v, (dict, list)) for v in value):
        return one_line(", ".join(show_value(v) for v in value[:200]), 2000)
    if isinstance(value, (dict, list)):
        return one_line(json.dumps(value), 2000)
    return one_line(str(value), 2000)


def _palette() -> str:
    """Return the quadrants' colours as CSS variables, by day and by night."""
    day = "".join(f"--{q.value}:{of.light};" for q, of in PALETTE.items())
    night = "".join(f"--{q.value}:{of.dark};" for q, of in PALETTE.items())
    return f":root{{{day}}}@media (prefers-color-scheme: dark){{:root{{{night}}}}}\n"


def _rate(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def show_dollars(value: float | None) -> str:
    """Return an amount to the cent, a small one to a hundredth of a cent; None is unknown."""
    if value is None:
        return "unknown price"
    return f"${value:.2f}" if value >= 1 or not value else f"${value:.4f}"


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} s"


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import FunctionLoader

    made = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        rate=_rate, signed=_signed, dollars=show_dollars, seconds=_seconds, value=show_value
    )
    told = [(q.value, LETTERS[q], NAMES[q], q, MEANINGS[q]) for q in Quadrant]
    made.globals.update(quadrants=told)
    return made

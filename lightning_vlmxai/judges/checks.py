"""Checks of a judge's arguments: each raises the one form of message."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigurationError, expected

_OURS = frozenset({"model", "messages", "response_format", "stream", "n", "extra_headers"})


def require(argument: str, rule: str, holds: bool, got: object, remedy: str) -> None:
    """Raise `ConfigurationError` unless something holds."""
    if not holds:
        raise ConfigurationError(expected(argument, rule, got, remedy))


def one_of(argument: str, value: str, allowed: Sequence[str]) -> None:
    """Raise `ConfigurationError` unless a value is among the allowed ones."""
    require(argument, f"one of {', '.join(allowed)}", value in allowed, repr(value), "Pass one")


def at_least(argument: str, value: int, least: int) -> None:
    """Raise `ConfigurationError` if a value is below the least."""
    require(argument, f"at least {least}", value >= least, value, f"Pass {argument}={least}")


def check_base_url(base_url: str | None) -> None:
    """Raise `ConfigurationError` if a URL is none, or holds a secret."""
    if base_url is None:
        return
    is_web = base_url.startswith(("http://", "https://"))
    require("base_url", "a URL", is_web, repr(base_url), "Begin it with http:// or https://")
    require(
        "base_url",
        "free of queries",
        "?" not in base_url,
        "one with a query",
        'Pass it as query={"api-version": "2024-10-21"}, and a key in it as '
        'headers={"api-key": "env:SOME_KEY"}',
    )
    require(
        "base_url",
        "free of user names and passwords",
        "@" not in base_url,
        "one with them",
        "Put the key into an environment variable and name that as `api_key_env`",
    )


def check_key_name(api_key_env: str | None) -> None:
    """Raise `ConfigurationError` if something else than a variable's name was passed."""
    # The value is not shown: it may be the key itself.
    require(
        "api_key_env",
        "the name of an environment variable, in capitals",
        api_key_env is None or re.fullmatch(r"[A-Z_][A-Z0-9_]*", api_key_env) is not None,
        "something else",
        "Put the key into the environment and pass the variable's name, such as OPENAI_API_KEY",
    )


def check_key(api_key_env: str, key: str) -> None:
    """Raise `ConfigurationError` if a variable holds no key, or one that can't be sent."""
    require(
        "api_key_env",
        "the name of an environment variable that holds the key",
        bool(key),
        f"{api_key_env}, which is not set",
        f"Run `export {api_key_env}=...`, name another variable, or pass "
        "api_key_env=None for a server that asks for no key",
    )
    require(
        "api_key_env",
        "the name of a variable that holds a key of printable ASCII characters",
        key.isascii() and key.isprintable(),
        f"{api_key_env}, whose value has others",
        "Copy the key again",
    )


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` if settings can't go into a request body."""
    taken = sorted(_OURS & settings.keys())
    require(
        "request",
        "free of what the judge itself sets",
        not taken,
        ", ".join(taken),
        "Leave these out",
    )
    try:
        json.dumps(settings)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            expected("request", "writable as JSON", error, "Pass plain values")
        ) from None

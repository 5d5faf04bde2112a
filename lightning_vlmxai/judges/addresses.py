"""Where a server may really be, and what it is sent beside the request: URLs, headers, queries."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlsplit, urlunsplit

from .checks import require

ENVIRONMENT = "env:"
"""How a value begins that is the name of an environment variable."""

_SECRET = re.compile(r"key|token|secret|auth|password|cookie|credential", re.IGNORECASE)
_ENDPOINTS = re.compile(r"(/chat/completions|/completions|/responses|/models)+$")
_VERSION = re.compile(r"/v\d[^/]*$")

ListModels = Callable[[str], Awaitable["list[str] | None"]]


def check_values(argument: str, values: Mapping[str, str], *, logged: bool) -> None:
    """Raise `ConfigurationError` if headers or queries can't be sent, or would show a secret.

    Args:
        argument: Its name.
        values: Name to value, or to "env:" and the name of an environment variable.
        logged: Whether they stand in URLs, which HTTP libraries log.
    """
    for name, value in values.items():
        require(argument, "texts by name", isinstance(value, str), repr(name), "Pass texts")
        is_hidden = value.startswith(ENVIRONMENT)
        if logged:
            require(
                argument,
                "free of secrets, which logs of URLs would show",
                not is_hidden and not _SECRET.search(name),
                repr(name),
                'Send it as a header: headers={"api-key": "env:SOME_KEY"}',
            )
            continue
        require(
            argument,
            "free of secrets, which configs would show",
            is_hidden or not _SECRET.search(name),
            f"{name!r} with a value of its own",
            f'Put it into an environment variable and pass {{{name!r}: "env:SOME_KEY"}}',
        )


def read_values(argument: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return headers with what the environment holds for them.

    Raises:
        ConfigurationError: If a variable is not set, or can't be sent.
    """
    read = {}
    for name, value in values.items():
        if value.startswith(ENVIRONMENT):
            variable = value.removeprefix(ENVIRONMENT)
            value = os.environ.get(variable, "").strip()
            require(
                argument,
                "made of variables that are set, to printable ASCII characters",
                bool(value) and value.isascii() and value.isprintable(),
                f"{variable}, which is not",
                f"Run `export {variable}=...`",
            )
        read[name] = value
    return read


def secret_names(values: Mapping[str, str]) -> list[str]:
    """Return the names of those that the environment holds."""
    return [name for name, value in values.items() if value.startswith(ENVIRONMENT)]


def show(url: str) -> str:
    """Return a URL without user name, password and query."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.port is not None:
        host = f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def candidates(base_url: str) -> list[str]:
    """Return base URLs of the same host that may be meant, the likeliest first.

    Example:
        >>> candidates("http://127.0.0.1:1234")[:2]
        ['http://127.0.0.1:1234', 'http://127.0.0.1:1234/v1']
        >>> candidates("http://host/v1/v1/chat/completions")[:2]
        ['http://host/v1/v1', 'http://host/v1']
    """
    parts = urlsplit(show(base_url.strip()))
    path = _ENDPOINTS.sub("", parts.path.replace("%20", "").replace(" ", "").rstrip("/"))
    bare = path
    while _VERSION.search(bare):
        bare = _VERSION.sub("", bare)
    paths = [path, f"{bare}/v1", f"{path}/v1", bare, f"{path}/openai", "/v1", "/api/v1"]
    return list(dict.fromkeys(urlunsplit((parts.scheme, parts.netloc, p, "", "")) for p in paths))


async def look_around(base_url: str, model: str, list_models: ListModels) -> str:
    """Return in words which base URL answers, and which of its models are nearest by name.

    Args:
        base_url: That was asked in vain.
        model: Likewise.
        list_models: Gives the models that a base URL lists, or None if it lists none.
    """
    called = f"called {show(base_url)}/chat/completions"
    tried = candidates(base_url)
    for url in tried:
        models = await list_models(url)
        if models is None:
            continue
        words = [called]
        if url != show(base_url):
            words.append(f'{url} lists models: pass base_url="{url}"')
        if models and model not in models:
            words.append(f"it has no model {model!r}; it has {_nearest(model, models)}")
        elif url == show(base_url):
            words.append("its list of models can be had, chat completions can't")
        return "; ".join(words)
    return f"{called}; no list of models at {', '.join(tried)}"


def _nearest(model: str, models: Sequence[str]) -> str:
    by_name = {name.lower(): name for name in models}
    near = difflib.get_close_matches(model.lower(), list(by_name), n=3, cutoff=0.4)
    shown = [by_name[name] for name in near] or list(models)[:3]
    more = len(models) - len(shown)
    return ", ".join(repr(name[:80]) for name in shown) + (f" and {more} more" if more > 0 else "")

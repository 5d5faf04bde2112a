"""What a dotted path names: a class, or a function that makes an object."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, expected


def import_named(option: str, path: str) -> Any:
    """Return what a dotted path names, from here or from what is installed.

    Args:
        option: Whose value the path is, for messages.
        path: As `package.module.Name` or `package.module:Name`.

    Raises:
        ConfigurationError: If there is no such thing.
    """
    module_name, _, name = path.replace(":", ".").rpartition(".")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            expected(
                option,
                "module.Name that can be imported from here",
                f"{path!r} ({error})",
                f"Pass --{option} my_{option}.Name, with my_{option}.py in this folder",
            )
        ) from None


def call_named(option: str, path: str, arguments: dict[str, Any]) -> Any:
    """Return what a class or function that a path names makes of arguments.

    Raises:
        ConfigurationError: If there is none, or it fails.
    """
    made = import_named(option, path)
    try:
        return made(**arguments)
    except Exception as error:
        raise ConfigurationError(
            expected(
                option,
                f"what can be made with the arguments {arguments}",
                f"{path!r}, which raised {type(error).__name__}: {error}",
                f"Pass them by name: --{option}-args.name value",
            )
        ) from error

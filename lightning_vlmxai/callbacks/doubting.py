"""What is not known or looks wrong, told once."""

from __future__ import annotations

import re

from lightning.pytorch.utilities import rank_zero_warn


class Doubts:
    """Warns once of each cause; numbers in a line are no part of it."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, line: str) -> None:
        """Warn of what a line says, unless it was told."""
        cause = re.sub(r"\d+", "", line)
        if cause not in self._told:
            self._told.add(cause)
            rank_zero_warn(f"vlmxai: {line}")

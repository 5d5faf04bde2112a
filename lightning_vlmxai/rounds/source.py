"""What a gate needs of a callback that has rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..records import Round


@runtime_checkable
class RoundSource(Protocol):
    """What `QuadrantStopping` needs of the callback that it listens to."""

    @property
    def latest_round(self) -> Round | None:
        """The last round whose verdicts are in; None before the first."""
        ...

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The full name of every metric that it may log."""
        ...

    @property
    def run_dir(self) -> Path | None:
        """Where its rounds are written; None before it has begun."""
        ...


@runtime_checkable
class ShortcutSource(Protocol):
    """A callback that can say what its latest round's right answers rest on."""

    def look_for_shortcuts(self, trainer: Any, pl_module: Any) -> None:
        """Look for shortcuts, if that was asked for; what fails costs a warning."""
        ...

"""What goes wrong beside the training is told once, and the training goes on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ..disk import tell_full
from ..errors import ModelChangedError

_log = logging.getLogger(__name__)


class Faults:
    """Passes over exceptions with one warning for each thing that failed and kind of error."""

    def __init__(self) -> None:
        self._told: set[tuple[str, type[Exception]]] = set()
        self.last = ""

    @contextmanager
    def passed_over(self, what: str, consequence: str) -> Iterator[None]:
        """Turn an exception into a warning; `last` says what it was, "" if there was none.

        Args:
            what: Was done, as the start of "... failed".
            consequence: What is left out for it.

        Raises:
            ModelChangedError: Always: the training itself is harmed.
        """
        self.last = ""
        try:
            yield
        except ModelChangedError:
            raise
        except Exception as error:
            self.last = _tell(error)
            _log.info("%s failed", what, exc_info=True)
            if not tell_full(error) and (what, type(error)) not in self._told:
                self._told.add((what, type(error)))
                warnings.warn(
                    f"vlmxai: {what} failed, {consequence}. Training goes on. {self.last} "
                    "(Further ones are not told; the log at level INFO has the traceback.)",
                    stacklevel=2,
                )


def _tell(error: Exception) -> str:
    """Return an error on one line; of one from a loader's process what was raised there.

    PyTorch hands it on with the traceback as a part of the message.
    """
    message, start = str(error), f"{type(error).__name__}: "
    if "\nOriginal Traceback " in message:
        lines = message.splitlines()
        frames = [place for place, line in enumerate(lines) if line.startswith("  ")]
        if frames and frames[-1] + 1 < len(lines):
            message, start = "\n".join(lines[frames[-1] + 1 :]), ""
    return start + " ".join(message.split())

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
            self.last = f"{type(error).__name__}: {error}"
            _log.info("%s failed", what, exc_info=True)
            if not tell_full(error) and (what, type(error)) not in self._told:
                self._told.add((what, type(error)))
                warnings.warn(
                    f"vlmxai: {what} failed, {consequence}. Training goes on. {self.last} "
                    "(Further ones are not told; the log at level INFO has the traceback.)",
                    stacklevel=2,
                )

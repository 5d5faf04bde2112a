"""Whether a judge answers on another scale than the one that it was told."""

from __future__ import annotations

import logging
import threading

_log = logging.getLogger(__name__)

_LEAST_ABOVE = 3
_LEAST_SHARE = 0.2


class ScaleWatch:
    """Notices a judge that scores from 0 to 10.

    One that gives scores above 5, up to 10, for a fifth of its first answers and three at least,
    of two different heights, is taken to do so. From then on a score of 5 or less means nothing
    either, unless the judge gave it after having been told the scale.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = 0
        self._above: list[float] = []
        self._counted = 0
        self.is_other = False

    def note(self, score: float) -> None:
        """Take in a first answer's score, in range or out of it."""
        with self._lock:
            self._seen += 1
            if 5 < score <= 10:
                self._above.append(score)
            elif not self.is_other:
                self._counted += 1
            enough = max(_LEAST_ABOVE, _LEAST_SHARE * self._seen)
            if not self.is_other and len(self._above) >= enough and len(set(self._above)) > 1:
                self.is_other = True
                _log.warning(
                    "The judge seems to score from 0 to 10: %d of its %d first answers are above "
                    "5. From now on only those count that it gave after having been told the "
                    "scale; %d scores from before may be on the other one. Try another `style` "
                    "or a stronger model.",
                    len(self._above),
                    self._seen,
                    self._counted,
                )

    PROBLEM = "your other scores are above 5, so that it is not clear on which scale this one is"
    """What an answer in range is told, once the other scale was found."""

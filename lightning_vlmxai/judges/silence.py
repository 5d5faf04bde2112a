"""What to do about a server that answers nothing. Runs in one event loop; knows no HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum

from ..records import UnscoredReason
from .flow import Fault

GRACE_S = 1.5
"""How long a round waits for the one call that asks whether a silent server is back."""


class Role(Enum):
    """What a call may do."""

    OPEN = "open"
    """Be made."""
    SCOUT = "scout"
    """Be made, as the one of its round that asks whether the server is back."""
    CLOSED = "closed"
    """Not be made."""


class Silence:
    """Remembers from round to round whether the server answers at all.

    It is silent once a call got no response and nobody else got one since that call was sent.
    Then one call a round scouts, the others of the round wait for what it finds, and whatever
    response comes ends the silence.

    Args:
        clock: Seconds, of any origin.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_at = -float("inf")
        self._since: float | None = None
        self._fault = Fault(reason=UnscoredReason.TIMEOUT, detail="")
        self._scouted: dict[str, asyncio.Future[None]] = {}

    @property
    def is_silent(self) -> bool:
        """Whether nothing was heard for long."""
        return self._since is not None

    @property
    def fault(self) -> Fault:
        """Why calls are not made, as the first that met the silence has it."""
        silent_s = self._clock() - (self._since or 0.0)
        detail = (
            f"{self._fault.detail}; nothing was heard of it for {silent_s:.0f} s, and one call a "
            "round asks whether it is back"
        )
        return Fault(reason=self._fault.reason, detail=detail)

    def hear(self) -> None:
        """Note a response, of whatever kind."""
        self._heard_at = self._clock()
        self._since = None
        for scope in list(self._scouted):
            self.scouted(scope)
        self._scouted.clear()

    def miss(self, scope: str, sent_at: float, fault: Fault) -> bool:
        """Note a call without any response; return whether that is where a silence begins.

        The call with which it begins is its round's scout.
        """
        if self.is_silent or sent_at < self._heard_at:
            return False
        self._since, self._fault = sent_at, fault
        self._scouted[scope] = asyncio.get_running_loop().create_future()
        return True

    async def admit(self, scope: str) -> Role:
        """Return what a call of a round may do, after its scout has come back."""
        if not self.is_silent:
            return Role.OPEN
        if scope not in self._scouted:
            self._scouted[scope] = asyncio.get_running_loop().create_future()
            return Role.SCOUT
        await asyncio.shield(self._scouted[scope])
        return Role.CLOSED if self.is_silent else Role.OPEN

    def scouted(self, scope: str) -> None:
        """Let a round's other calls know that its scout need not be waited for."""
        found = self._scouted.get(scope)
        if found is not None and not found.done():
            found.set_result(None)

"""How much a judge may spend, and an account of it that no crash and no second process escapes."""

from __future__ import annotations

import logging
import math
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ..disk import tell_full
from ..errors import ConfigurationError, expected
from ..records import UnscoredReason
from .checks import one_of, require
from .flow import Fault
from .shared_file import open_shared

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that a run, or each round, may take; beyond it verdicts are unscored(over_budget).

    Args:
        max_calls: Requests to the server, retries among them, those under way included.
        max_usd: US dollars by the price table. What is under way is held at its estimated cost,
            so the limit can be passed by no more than an estimate was too low.
        per: "run" or "round".

    Raises:
        ConfigurationError: If there is no limit, or an impossible one.

    Example:
        >>> Budget(max_calls=1000).per
        'run'
    """

    max_calls: int | None = None
    max_usd: float | None = None
    per: str = "run"

    def __post_init__(self) -> None:
        one_of("per", self.per, ("run", "round"))
        if self.max_calls is None and self.max_usd is None:
            raise ConfigurationError(
                expected("budget", "a limit", "none", "Pass max_calls, max_usd or both")
            )
        for name, limit in (("max_calls", self.max_calls), ("max_usd", self.max_usd)):
            holds = limit is None or (math.isfinite(limit) and limit >= 0)
            require(name, "0 or more", holds, limit, "Pass a larger limit")


class Ledger:
    """Takes every call from a budget before it is made, and corrects its cost afterwards.

    The account is a small SQLite file: one statement takes a call, so that the processes of one
    machine can't overdraw it together, and a run that is killed and resumed in the same folder
    goes on with what is left. What was under way when it was killed stays taken.

    Args:
        budget: To keep.
        path: Of the file; an account in memory, for this process alone, if None.
    """

    def __init__(self, budget: Budget, path: Path | None = None) -> None:
        self._budget = budget
        self._database = open_shared(":memory:" if path is None else path)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS account"
            " (scope TEXT PRIMARY KEY, calls INTEGER NOT NULL, usd REAL NOT NULL)"
        )

    def take(self, scope: str, usd: float) -> Fault | None:
        """Take one call of an estimated cost, or return why it may not be made.

        Args:
            scope: The round, for a budget per round.
            usd: Estimated cost in US dollars.
        """
        scope = self._scope_of(scope)
        calls = math.inf if self._budget.max_calls is None else self._budget.max_calls
        limit = math.inf if self._budget.max_usd is None else self._budget.max_usd
        try:
            self._database.execute("INSERT OR IGNORE INTO account VALUES (?, 0, 0.0)", (scope,))
            taken = self._database.execute(
                "UPDATE account SET calls = calls + 1, usd = usd + :usd"
                " WHERE scope = :scope AND calls < :calls AND usd + :usd <= :limit",
                {"scope": scope, "usd": usd, "calls": calls, "limit": limit},
            )
        except sqlite3.Error as error:  # nobody could say what is spent
            tell_full(error)
            detail = f"no call is made, for the account of the budget can't be written: {error}"
            return Fault(reason=UnscoredReason.OVER_BUDGET, detail=detail)
        if taken.rowcount == 1:
            return None
        spent_calls, spent_usd = self._spent(scope)
        return Fault(
            reason=UnscoredReason.OVER_BUDGET,
            detail=f"the budget of this {self._budget.per} is used up: {spent_calls} calls, "
            f"${spent_usd:.4f}",
        )

    def correct(self, scope: str, usd: float) -> None:
        """Add the difference, of either sign, between what a call cost and its estimate."""
        try:
            self._database.execute(
                "UPDATE account SET usd = MAX(0.0, usd + ?) WHERE scope = ?",
                (usd, self._scope_of(scope)),
            )
        except sqlite3.Error as error:  # the answer itself is good; its estimate stays taken
            if not tell_full(error):
                _log.warning("The account of the budget could not be corrected: %s", error)

    def spent(self, scope: str) -> tuple[int, float]:
        """Return the calls and the US dollars taken so far, those under way included."""
        return self._spent(self._scope_of(scope))

    def _spent(self, scope: str) -> tuple[int, float]:
        row = self._database.execute(
            "SELECT calls, usd FROM account WHERE scope = ?", (scope,)
        ).fetchone()
        return (0, 0.0) if row is None else (int(row[0]), float(row[1]))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _scope_of(self, scope: str) -> str:
        return "run" if self._budget.per == "run" else scope

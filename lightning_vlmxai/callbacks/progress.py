"""How far an audit has come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class AuditProgress:
    """Counts rows on one rank; read it at any time.

    Args:
        total: Rows that will come; None if that is not known.
        done: Rows that were judged before this run began.
        judged: Rows with a score, of this run.
        unscored: Rows without, of this run.
        repeated: Rows that were the same as others, or padding.
        pending: Rows that wait for their verdict.
        cost_usd: What this run's calls cost so far; None where a price is not known.
    """

    total: int | None = None
    done: int = 0
    judged: int = 0
    unscored: int = 0
    repeated: int = 0
    pending: int = 0
    cost_usd: float | None = 0.0

    @property
    def seen(self) -> int:
        """Rows that are through."""
        return self.done + self.judged + self.unscored + self.repeated

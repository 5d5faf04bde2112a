"""How an audit is run."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigurationError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """How an audit is run; see `VLMAuditCallback` for each."""

    threshold: float
    pictures: int
    max_pending: int
    groups: tuple[str, ...]
    faithfulness: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, is_right, rule, remedy in (
            ("threshold", 0 <= self.threshold <= 5, "in [0, 5]", "Pass threshold=2.5"),
            ("pictures", self.pictures >= 0, "at least 0", "Pass pictures=2000"),
            ("max_pending", self.max_pending >= 1, "at least 1", "Pass max_pending=128"),
        ):
            if not is_right:
                got = repr(getattr(self, name))
                raise ConfigurationError(expected(name, rule, got, remedy))

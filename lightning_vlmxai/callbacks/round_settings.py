"""How rounds are made, closed and counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from ..errors import ConfigurationError, expected

ISOLATIONS = ("auto", "borrow", "copy", "trust")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSettings:
    """How rounds are made, closed and counted; see `VLMExplainCallback` for each.

    Raises:
        ConfigurationError: For a value out of range.
    """

    threshold: float
    lag: int
    every_n_validations: int
    deadline_s: float
    watch_classes: tuple[str, ...]
    isolation: str = "auto"

    def __post_init__(self) -> None:
        for name, is_right, rule in (
            ("threshold", 0 <= self.threshold <= 5, "in [0, 5]"),
            ("lag", self.lag >= 0, "at least 0"),
            ("every_n_validations", self.every_n_validations >= 1, "at least 1"),
            ("deadline_s", self.deadline_s > 0, "positive"),
        ):
            if not is_right:
                got = repr(getattr(self, name))
                raise ConfigurationError(expected(name, rule, got, f"Pass {name} so"))
        if self.isolation not in ISOLATIONS:
            rule, got = f"one of {', '.join(ISOLATIONS)}", repr(self.isolation)
            remedy = 'Pass `isolation="auto"`'
            raise ConfigurationError(expected("isolation", rule, got, remedy))

    @property
    def pace(self) -> dict[str, int]:
        """When figures come: `lag` and `every_n_validations`."""
        return {"lag": self.lag, "every_n_validations": self.every_n_validations}


def warn_of_changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn of what makes curves before and after a checkpoint differ by itself.

    Args:
        saved: `fingerprint` of the probe set and `settings`, of the checkpoint.
        now: Likewise, of the run that goes on.
    """
    if saved["fingerprint"] != now["fingerprint"]:
        rank_zero_warn(
            "vlmxai: the probe set differs from the checkpoint's (fingerprint "
            f"{saved['fingerprint']}, now {now['fingerprint']}): curves before and after are not "
            "of the same samples, and rounds that were open are left out."
        )
    before, after = saved["settings"], now["settings"]
    changed = [
        f"{name} was {before[name]!r} and is {after[name]!r}"
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name]
    ]
    if changed:
        rank_zero_warn(
            f"vlmxai: settings differ from the checkpoint's ({'; '.join(changed)}): curves "
            "before and after can't be compared. Pass the same ones, or start a new run."
        )

"""How rounds are made, closed and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from ..errors import ConfigurationError, expected
from ..rounds import QUADRANT_METRICS, ROUND_METRICS, faithfulness_names
from ..sinks import metric_name
from ..trust import JUDGE_METRICS
from .measuring import check_figures

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
    watch_classes: Sequence[str]
    isolation: str = "auto"
    controls: int = 0
    faithfulness: Sequence[str] = ()
    find_shortcuts: bool = False
    seed: int = 0
    judged_share: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.watch_classes, str):
            got = repr(self.watch_classes)
            remedy = "Pass [name] for one class"
            raise ConfigurationError(expected("watch_classes", "a list of names", got, remedy))
        object.__setattr__(self, "watch_classes", tuple(self.watch_classes))
        for name, is_right, rule in (
            ("threshold", 0 <= self.threshold <= 5, "in [0, 5]"),
            ("lag", self.lag >= 0, "at least 0"),
            ("every_n_validations", self.every_n_validations >= 1, "at least 1"),
            ("deadline_s", self.deadline_s > 0, "positive"),
            ("judged_share", 0 < self.judged_share <= 1, "in (0, 1]"),
            ("controls", self.controls == 0 or self.controls >= 2, "0, or at least 2"),
        ):
            if not is_right:
                got = repr(getattr(self, name))
                raise ConfigurationError(expected(name, rule, got, f"Pass {name} so"))
        if self.isolation not in ISOLATIONS:
            rule, got = f"one of {', '.join(ISOLATIONS)}", repr(self.isolation)
            remedy = 'Pass `isolation="auto"`'
            raise ConfigurationError(expected("isolation", rule, got, remedy))

        object.__setattr__(self, "faithfulness", check_figures(self.faithfulness))

    @property
    def pace(self) -> dict[str, int]:
        """When figures come: `lag` and `every_n_validations`."""
        return {"lag": self.lag, "every_n_validations": self.every_n_validations}

    @property
    def extras(self) -> dict[str, float]:
        """What a run was asked for beyond the usual, by name: `judged_share` and `controls`."""
        share = {"judged_share": self.judged_share} if self.judged_share < 1 else {}
        return {**share, **({"controls": self.controls} if self.controls else {})}

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The full name of every metric that a run may log."""
        watched = (f"class/{c}/{name}" for c in self.watch_classes for name in QUADRANT_METRICS)
        judge = JUDGE_METRICS if self.controls else ()
        faithful = faithfulness_names(self.faithfulness)
        share = ("judged_share",) if self.judged_share < 1 else ()
        return tuple(map(metric_name, (*ROUND_METRICS, *share, *judge, *faithful, *watched)))


def rounds_that_go_on(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's rounds; warn of what makes curves before and after differ by itself.

    With another probe set there are none. With other settings no verdict of before stands for a
    probe: it answers another question.

    Args:
        saved: `fingerprint` of the probe set, `settings` and `rounds`, of the checkpoint.
        now: The first two, of the run that goes on.
    """
    rounds: dict[str, Any] = dict(saved["rounds"])
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
        rounds.pop("panel", None)
        rounds["open"] = [{**of, "chances": ()} for of in rounds["open"]]
    return rounds if saved["fingerprint"] == now["fingerprint"] else {}


def nothing_yet() -> dict[str, Any]:
    """Return the state of a callback that has seen no round."""
    return {
        "_latest_round": None,
        "_loaded": {},
        "_next_number": {"fit": 0, "validate": 0, "test": 0},
        "_validations": 0,
    }

"""Fits beyond the matrix, drawn by a seeded generator, and what has to become of each."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from neutral_fit import Combination
from neutral_parts import PARTS

AXES: Mapping[str, tuple[Any, ...]] = {
    "precision": ("32-true", "32-true", "bf16-mixed"),
    "norm": ("batch", "frozen", "held", "group"),
    "optimizer": ("sgd", "adam", "manual"),
    "compiled": ("", "", "", "given", "in place", "part", "function"),
    "averaging": ("", "", "ema", "mean"),
    "frozen": (False, True),
    "source": ("map", "datamodule", "stream", "two", "split"),
    "augment": ("", "global", "own"),
    "validate": ("epoch", "every 2 batches", "every 2 epochs", "limited"),
    "sanity": (2, 0),
    "checkpoint": ("", "saved", "resumed"),
    "logs": ("steps", "torchmetrics", "in forward"),
    "habit": ("", "counts", "replaces", "draws", "fills grad", "freezes", "hooks", "remembers"),
    "method": ("gradcam", "eigencam", "layercam", "scorecam", "rise"),
    "lag": (1, 0),
    "hook": ("", "", "method", "object"),
}


def draw(count: int, seed: int = 0) -> list[Combination]:
    """Return different combinations, the same for a seed; trust only where it is deserved."""
    chance = random.Random(seed)  # noqa: S311
    chosen: dict[Combination, None] = {}
    while len(chosen) < count:
        row: dict[str, Any] = {axis: chance.choice(values) for axis, values in AXES.items()}
        names = [n for n in PARTS if PARTS[n].is_copyable or not row["averaging"]]
        worst = chance.choice(("borrow", "copy", "copy", "refuse"))
        among = [n for n in names if worst in ("refuse", PARTS[n].outcome, "copy")]
        among = [n for n in among if worst == "refuse" or PARTS[n].outcome != "refuse"]
        among = [n for n in among if worst != "borrow" or PARTS[n].outcome == "borrow"]
        row["parts"] = tuple(sorted(chance.sample(among, chance.randint(0, 3))))
        row["isolation"] = chance.choice(("auto", "auto", "auto", "borrow", "copy", "trust"))
        combination = Combination(**row)
        if row["isolation"] != "trust" or needs(combination) == "borrow":
            chosen[combination] = None
    return list(chosen)


def needs(combination: Combination) -> str:
    """Return what a combination's parts and hook need: "borrow", "copy" or "refuse"."""
    outcomes = {PARTS[name].outcome for name in combination.parts}
    if combination.hook == "object":  # it is copied with the network that it hangs on
        outcomes.add("copy")
    return next((one for one in ("refuse", "copy") if one in outcomes), "borrow")


def expects(combination: Combination) -> str:
    """Return what has to become of it: "borrow", "copy" or "refuse"."""
    needed = needs(combination)
    if needed == "refuse" or (needed == "copy" and combination.isolation == "borrow"):
        return "refuse"
    return {"auto": needed, "copy": "copy"}.get(combination.isolation, "borrow")


def causes(combination: Combination) -> set[str]:
    """Return the names of which a refusal has to tell one."""
    needed = needs(combination)
    found = {
        PARTS[name].name or f"part_{name}"
        for name in combination.parts
        if PARTS[name].outcome == needed
    }
    return found | ({"_forward_hooks"} if needed == "copy" and combination.hook else set())


@contextmanager
def ways_told() -> Iterator[list[str]]:
    """Yield a list that gets the way of each line that tells of one: "borrow" or "copy"."""
    told: list[str] = []

    class Listener(logging.Handler):
        """Knows the two lines."""

        def emit(self, record: logging.LogRecord) -> None:
            line = record.getMessage()
            if line.startswith("vlmxai: the network is borrowed"):
                told.append("borrow")
            elif line.startswith("vlmxai: each round explains a copy"):
                told.append("copy")

    logger, listener = logging.getLogger("lightning.pytorch.utilities.rank_zero"), Listener()
    before = logger.level, logger.propagate
    logger.propagate = False
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        yield told
    finally:
        logger.level, logger.propagate = before
        logger.removeHandler(listener)

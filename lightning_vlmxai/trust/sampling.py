"""Draws the samples that people rate, each with a known chance. Pure functions."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ..errors import ConfigurationError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A member that was drawn.

    Args:
        index: Its place among the members.
        weight: One over its chance of being drawn, at least 1.
    """

    index: int
    weight: float


def draw_sample(
    groups: Sequence[Hashable], kinds: Sequence[Hashable], size: int, *, seed: int
) -> list[Sampled]:
    """Return a random sample of members, in random order.

    Groups are drawn from by the root of their size, so that rare ones are seen and their weights
    stay moderate; in a group all have one chance, and the kinds get their shares as evenly as
    whole numbers can. Order and chances do not depend on each other: whoever stops early has
    rated a random part of the sample, with the same weights up to a factor.

    Args:
        groups: Of each member, `[N]`; a quadrant.
        kinds: Of each member, `[N]`; a class.
        size: How many are drawn, from 1 to N.
        seed: The same seed draws the same; the smaller sample is mostly part of the larger.

    Raises:
        ConfigurationError: If the size is outside its range.

    Example:
        >>> drawn = draw_sample(["high"] * 16 + ["low"] * 4, ["cat", "dog"] * 10, 6, seed=0)
        >>> sorted((member.index, member.weight) for member in drawn)
        [(11, 4.0), (12, 4.0), (14, 4.0), (15, 4.0), (18, 2.0), (19, 2.0)]

    Source: systematic sampling with unequal chances: Madow, 1949, "On the theory of systematic
        sampling, II". Chances by the root of a group's size: Bankier, 1988, "Power allocations".
    """
    if not 1 <= size <= len(groups):
        raise ConfigurationError(
            expected("size", f"from 1 to {len(groups)}", size, f"Pass size={len(groups)}")
        )
    generator = random.Random(seed)  # noqa: S311 - no secret
    # All that is random is drawn before the size matters. Who is drawn and when are apart, or the
    # first of the sample would be no random part of it.
    rank, turn = ([generator.random() for _ in groups] for _ in range(2))
    start = generator.random()
    order_of_kinds = {kind: generator.random() for kind in dict.fromkeys(kinds)}
    chances = group_chances(Counter(groups), size)
    order_of_groups = {group: number for number, group in enumerate(chances)}

    def place(index: int) -> tuple[int, float, float]:
        return order_of_groups[groups[index]], order_of_kinds[kinds[index]], rank[index]

    listed = sorted(range(len(groups)), key=place)
    certain = [index for index in listed if chances[groups[index]] >= 1.0]
    others = [index for index in listed if chances[groups[index]] < 1.0]
    picked = take_systematically([chances[groups[index]] for index in others], start)
    drawn = sorted([*certain, *(others[place] for place in picked)], key=turn.__getitem__)
    return [Sampled(index=index, weight=max(1.0 / chances[groups[index]], 1.0)) for index in drawn]


def group_chances(sizes: Counter[Hashable], size: int) -> dict[Hashable, float]:
    """Return each group's chance in (0, 1]: by the root of its size, as far as it has members.

    Args:
        sizes: Number of members of each group.
        size: Of the sample; the chances of all members add up to it.
    """
    left, free = float(size), dict(sizes)
    chances: dict[Hashable, float] = dict.fromkeys(sizes, 1.0)
    while free:
        unit = left / math.fsum(math.sqrt(number) for number in free.values())
        full = [group for group, number in free.items() if unit >= math.sqrt(number) - 1e-9]
        if not full:
            return chances | {group: unit / math.sqrt(number) for group, number in free.items()}
        for group in full:
            left -= free.pop(group)
    return chances


def take_systematically(chances: Sequence[float], start: float) -> list[int]:
    """Return the places on whose stretch of a line, as long as their chance, a mark lies.

    Args:
        chances: Of each place, in (0, 1).
        start: Of the marks, in [0, 1); they are 1 apart. With a start that is even over [0, 1)
            each place is taken with its chance, exactly.
    """
    taken, end = [], 0.0
    for place, chance in enumerate(chances):
        begin, end = end, end + chance
        if math.ceil(end - start) > math.ceil(begin - start):
            taken.append(place)
    return taken

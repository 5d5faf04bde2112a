"""The draw of the samples that people rate: chances against exact counts."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.trust import draw_sample
from lightning_vlmxai.trust.sampling import group_chances, take_systematically

QUADRANTS = ["CH"] * 36 + ["CL"] * 4 + ["WH"] * 9 + ["WL"]
CLASSES = ["cat", "dog", "fox"] * 16 + ["cat", "dog"]
# By hand: roots 6, 2, 3, 1 of 12. With 6 drawn: 3 of 36, 1 of 4, 1.5 of 9, .5 of 1.
BY_HAND = {"CH": 3 / 36, "CL": 1 / 4, "WH": 1.5 / 9, "WL": 0.5}


def test_chances_are_those_by_hand() -> None:
    """By the root of a group's size; a group that would be more than whole gives to the others."""
    assert group_chances(Counter(QUADRANTS), 6) == pytest.approx(BY_HAND)
    # 18 drawn: 9, 3, 4.5 and 1.5 of 1; that one is whole, and 17 go by roots 6, 2, 3 of 11:
    # 9.27 of 36, 3.09 of 4, 4.64 of 9.
    rest = {"CH": 17 * 6 / 11 / 36, "CL": 17 * 2 / 11 / 4, "WH": 17 * 3 / 11 / 9}
    assert group_chances(Counter(QUADRANTS), 18) == pytest.approx({**rest, "WL": 1.0})
    assert group_chances(Counter(QUADRANTS), 50) == dict.fromkeys(BY_HAND, 1.0)


def test_each_place_is_taken_by_its_chance_exactly() -> None:
    """Counted over all starts of a grid that every stretch ends on."""
    chances = [Fraction(n, 24) for n in (2, 2, 6, 6, 4, 4, 12, 12)]  # 2 in all
    counts: Counter[int] = Counter()
    for k in range(24):
        taken = take_systematically([float(c) for c in chances], (k + 0.5) / 24)
        assert len(taken) == 2
        counts.update(taken)
    assert [Fraction(counts[place], 24) for place in range(8)] == chances


def test_a_member_is_drawn_as_often_as_its_weight_says() -> None:
    """Over 20,000 seeds, within four standard errors; every draw has the size that was asked."""
    seeds = 20_000
    counts: Counter[int] = Counter()
    for seed in range(seeds):
        drawn = draw_sample(QUADRANTS, CLASSES, 6, seed=seed)
        assert len({d.index for d in drawn}) == 6
        for d in drawn:
            assert d.weight == pytest.approx(1 / BY_HAND[QUADRANTS[d.index]])
            counts[d.index] += 1
    for index, quadrant in enumerate(QUADRANTS):
        chance = BY_HAND[quadrant]
        error = 4 * math.sqrt(chance * (1 - chance) / seeds)
        assert counts[index] / seeds == pytest.approx(chance, abs=error), index


def test_the_first_of_a_sample_are_a_random_part_of_it() -> None:
    """Who stops early keeps the weights up to a factor: each quadrant is first by its share."""
    seeds, stopped = 20_000, 2
    counts: Counter[str] = Counter()
    for seed in range(seeds):
        drawn = draw_sample(QUADRANTS, CLASSES, 6, seed=seed)[:stopped]
        counts.update(QUADRANTS[d.index] for d in drawn)
    for quadrant, number in Counter(QUADRANTS).items():
        share = BY_HAND[quadrant] * number / 6
        error = 4 * math.sqrt(share * (1 - share) / (stopped * seeds))
        assert counts[quadrant] / (stopped * seeds) == pytest.approx(share, abs=error), quadrant


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), min_size=1, max_size=80),
    st.data(),
)
def test_every_group_and_kind_gets_its_share(
    members: list[tuple[str, str]], data: st.DataObject
) -> None:
    """A group's number and a kind's in it are the expected ones, but for rounding."""
    groups, kinds = [m[0] for m in members], [m[1] for m in members]
    size = data.draw(st.integers(1, len(members)))
    drawn = draw_sample(groups, kinds, size, seed=data.draw(st.integers(0, 99)))
    assert len({d.index for d in drawn}) == len(drawn) == size
    chances = group_chances(Counter(groups), size)
    assert math.fsum(chances[g] for g in groups) == pytest.approx(size)
    for cut in (1, 2):
        found = Counter(members[d.index][:cut] for d in drawn)
        for stratum, number in Counter(m[:cut] for m in members).items():
            wanted = chances[stratum[0]] * number
            assert wanted - 1 - 1e-9 <= found[stratum] <= wanted + 1 + 1e-9


def test_a_draw_is_repeated_by_its_seed() -> None:
    """The whole order of it, and a larger one has most of the smaller one's."""
    first = draw_sample(QUADRANTS, CLASSES, 20, seed=7)
    assert first == draw_sample(QUADRANTS, CLASSES, 20, seed=7)
    assert first != draw_sample(QUADRANTS, CLASSES, 20, seed=8)
    larger = {d.index for d in draw_sample(QUADRANTS, CLASSES, 40, seed=7)}
    assert len(larger & {d.index for d in first}) >= 15


@pytest.mark.parametrize("size", [0, 51])
def test_a_size_that_can_not_be_drawn_is_refused(size: int) -> None:
    """With what can."""
    with pytest.raises(ConfigurationError, match=r"`size` to be from 1 to 50, got .* size=50"):
        draw_sample(QUADRANTS, CLASSES, size, seed=0)

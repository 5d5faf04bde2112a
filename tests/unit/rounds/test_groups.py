"""Groups of samples, against counts made one by one and scipy."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lightning_vlmxai.records import Quadrant
from lightning_vlmxai.rounds import Member, bin_confidence, compare_groups, holm

LOW, HIGH = Quadrant.CORRECT_LOW, Quadrant.CORRECT_HIGH
BAD, GOOD = Member(LOW, True, 1.0, is_low=True), Member(HIGH, True, 4.0, is_low=False)
WRONG, UNJUDGED = (
    Member(Quadrant.WRONG_LOW, False, 0.5, is_low=True),
    Member(None, False, None, is_low=False),
)


def members(shares: dict[str, tuple[int, int]]) -> tuple[list[str | None], list[Member]]:
    """Return samples of which so many of so many are Correct-Low in each group."""
    names: list[str | None] = []
    found = []
    for name, (low, total) in shares.items():
        names += [name] * total
        found += [BAD] * low + [GOOD] * (total - low)
    return names, found


def test_a_group_is_counted_sample_by_sample() -> None:
    """Rates are over the right and judged, accuracy over all; a sample in no group is in none."""
    names = ["a", "a", "a", "b", None, "a", "b"]
    own = [BAD, GOOD, UNJUDGED, WRONG, BAD, WRONG, UNJUDGED]
    groups = {group.name: group for group in compare_groups({"x": names}, own)["x"]}
    a, b = groups["a"], groups["b"]
    assert (a.samples, a.low, a.total, a.accuracy, a.average_score) == (4, 1, 2, 0.5, 5.5 / 3)
    assert (b.samples, b.low, b.total, b.accuracy, b.average_score) == (2, 0, 0, 0.0, 0.5)
    expected = stats.binomtest(1, 2).proportion_ci(method="wilson")
    assert a.interval is not None
    assert abs(a.interval.lower - expected.low) + abs(a.interval.upper - expected.high) < 1e-9


def test_the_planted_group_leads_and_three_samples_do_not() -> None:
    """3 of 3 have the highest rate, and the highest lower end: chance, among so many groups."""
    shares = {f"g{i}": (20, 100) for i in range(20)}
    found = compare_groups(
        {"site": (of := members({**shares, "tiny": (3, 3), "bad": (40, 100)}))[0]}, of[1]
    )["site"]
    assert [group.name for group in found if group.stands_out] == ["bad"] == [found[0].name]
    tiny = next(group for group in found if group.name == "tiny")
    assert tiny.interval is not None
    assert tiny.interval.lower > (found[0].interval or (1.0,))[0]  # and yet it doesn't lead


def test_p_values_are_scipys_corrected_for_all_groups_of_all_columns() -> None:
    """Nothing stands out, so that each is held against the others once."""
    names, own = members({"a": (4, 20), "b": (6, 20), "c": (2, 20)})
    other: list[str | None] = ["x", "y"] * 30
    found = compare_groups({"site": names, "day": other}, own)
    held, values = [], []
    for column, of in (("site", names), ("day", other)):
        for group in found[column]:
            lows = sum(s is BAD for s, name in zip(own, of, strict=True) if name == group.name)
            n = Counter(of)[group.name]
            table = [[lows, n - lows], [12 - lows, 60 - n - 12 + lows]]
            held.append(group)
            values.append(stats.fisher_exact(table).pvalue)
    for group, p in zip(held, holm(values), strict=True):
        assert abs(group.p - p) < 1e-9


def test_chance_seldom_stands_out() -> None:
    """Of 300 audits in which groups differ by chance alone at most 5 % name one."""
    draw, named = random.Random(7), 0  # noqa: S311
    for _ in range(300):
        own = [BAD if draw.random() < 0.2 else GOOD for _ in range(200)]
        names = [str(draw.randrange(8)) for _ in own]
        named += any(group.stands_out for group in compare_groups({"": names}, own)[""])
    assert named <= 15


def test_a_large_shortcut_hides_no_lesser_one() -> None:
    """What was found leaves the others."""
    shares = {**{f"g{i}": (1, 50) for i in range(6)}, "worst": (490, 500), "bad": (14, 50)}
    found = compare_groups({"": (of := members(shares))[0]}, of[1])[""]
    assert [group.name for group in found if group.stands_out] == ["worst", "bad"]


def test_a_group_is_not_worse_for_being_right_more_often() -> None:
    """Half of the right answers are Low in both; one is right four times as often."""
    names: list[str | None] = ["often"] * 400 + ["seldom"] * 400
    own = [BAD, GOOD] * 200 + ([BAD, GOOD] * 50 + [WRONG] * 300)
    found = compare_groups({"": names}, own)[""]
    assert {group.name: (group.low, group.total) for group in found} == {
        "often": (200, 400),
        "seldom": (50, 100),
    }
    assert not any(group.stands_out for group in found)


def test_what_most_groups_are_is_no_outlier() -> None:
    """Rates that rise group by group: no cascade down to the second best."""
    names, own = members({f"g{i}": (10 + 20 * i, 500) for i in range(10)})
    found = compare_groups({"": names}, own)[""]
    named = {group.name for group in found if group.stands_out}
    assert {"g6", "g7", "g8", "g9"} <= named
    assert named.isdisjoint({"g0", "g1", "g2", "g3"})


def test_bins_are_each_held_against_all_others_once() -> None:
    """They differ by degrees: those above the rest stand out, by scipy's p corrected."""
    lows = {f"g{i}": 10 + 20 * i for i in range(10)}
    names, own = members({name: (low, 500) for name, low in lows.items()})
    found = compare_groups({"": names}, own, is_graded=True)[""]
    total = sum(lows.values())
    tables = [[[low, 500 - low], [total - low, 4500 - total + low]] for low in lows.values()]
    values = holm([stats.fisher_exact(table).pvalue for table in tables])
    expected = {
        name
        for (name, low), p in zip(lows.items(), values, strict=True)
        if p <= 0.05 and low > total / 10
    }
    assert {group.name for group in found if group.stands_out} == expected


def test_without_labels_the_low_ones_are_counted() -> None:
    """Where nobody knows what is right."""
    own = [Member(None, None, 1.0, is_low=True)] * 3 + [Member(None, None, 4.0, is_low=False)]
    (group,) = compare_groups({"": ["a"] * 4}, own)[""]
    assert (group.low, group.total, group.accuracy) == (3, 4, None)


@given(st.lists(st.one_of(st.none(), st.integers(0, 1000).map(lambda n: n / 1000)), max_size=400))
def test_bins_of_confidence_have_equal_counts(values: list[float | None]) -> None:
    """As far as equal values allow: none of them is parted, and bins don't overlap."""
    bins = bin_confidence(values)
    inside: dict[str, list[float]] = {}
    for value, name in zip(values, bins, strict=True):
        assert (value is None) == (name is None)
        if value is not None and name is not None:
            inside.setdefault(name, []).append(value)
    ordered = sorted(inside.values())
    for first, second in itertools.pairwise(ordered):
        assert max(first) < min(second)
    known = [value for value in values if value is not None]
    assert len(ordered) <= max(1, min(10, len(known) // 20))
    if len(set(known)) == len(known) and known:
        assert max(map(len, ordered)) - min(map(len, ordered)) <= 1

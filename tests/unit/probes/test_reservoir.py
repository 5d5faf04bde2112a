"""Rows that pass by once, each class by its share."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vlmxai.probes.reservoir import ROOM, Reservoir, Ticket, choose_tickets, draw_of, plan


def pass_by(
    labels: list[int], size: int, *, seed: int = 0, floors: dict[int, int] | None = None
) -> tuple[list[Ticket], int]:
    """Return the rows that are chosen of a stream of labels, and the most that were held."""
    reservoir, most = Reservoir(size, seed=seed, floors=floors), 0
    for index, label in enumerate(labels):
        reservoir.offer([index], lambda label=label: [label], lambda _, index=index: index)
        most = max(most, len(reservoir.tickets))
    chosen = choose_tickets(reservoir.tickets, reservoir.counts, size, seed=seed, floors=floors)
    assert all(reservoir.take(ticket.index) == ticket.index for ticket in chosen)
    return chosen, most


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.integers(1, 40),
    st.integers(0, 5),
    st.booleans(),
)
def test_each_class_keeps_its_share_in_any_order(
    sizes: list[int], size: int, seed: int, is_sorted: bool
) -> None:
    """Within two (the rounding, and the cut to size), in memory for so many rows."""
    labels = [label for label, count in enumerate(sizes) for _ in range(count)]
    if not is_sorted:
        labels.sort(key=lambda label: hash((label, seed)) % 7)
        labels = labels[::2] + labels[1::2]
    chosen, most = pass_by(labels, size, seed=seed)
    assert most <= ROOM * size
    assert len(chosen) == len({t.index for t in chosen}) == min(size, len(labels))
    assert all(labels[ticket.index] == ticket.label for ticket in chosen)
    drawn = Counter(ticket.label for ticket in chosen)
    for label, count in enumerate(sizes):
        assert abs(drawn[label] - len(chosen) * count / len(labels)) < 2


def test_a_hundred_classes_leave_a_watched_one_its_floor() -> None:
    """64 probes of 100 classes: the watched class has its eight."""
    labels = [i % 100 for i in range(2000)]
    chosen, _ = pass_by(labels, 64, floors={17: 8})
    assert sum(ticket.label == 17 for ticket in chosen) == 8
    assert len(chosen) == 64
    without, _ = pass_by(labels, 64)
    assert sum(ticket.label == 17 for ticket in without) <= 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=3000), st.integers(1, 40))
def test_a_plan_is_what_would_be_chosen_of_all(labels: list[int], size: int) -> None:
    """Where everything could be held, both are one; a planned row is held, and no other."""
    tickets = plan(labels, size, seed=3, floors={4: 5})
    assert [t.label for t in tickets] == [labels[t.index] for t in tickets]
    if len(labels) <= ROOM * size:
        assert tickets == pass_by(labels, size, seed=3, floors={4: 5})[0]
    reservoir = Reservoir(size, seed=3, planned=tickets)
    reservoir.offer(range(len(labels)), lambda: 1 // 0, lambda row: row)  # type: ignore[arg-type, return-value]
    assert sorted(reservoir.tickets, key=lambda t: t.index) == tickets


def test_order_plays_no_part() -> None:
    """Forwards, backwards, and dealt out."""
    labels = [0] * 4000 + [1] * 2000 + [2] * 100
    chosen = []
    for order in (range(6100), range(6099, -1, -1), [i * 1009 % 6100 for i in range(6100)]):
        reservoir = Reservoir(32, seed=1)
        reservoir.offer(list(order), lambda order=order: [labels[i] for i in order], int)
        chosen.append(choose_tickets(reservoir.tickets, reservoir.counts, 32, seed=1))
    assert chosen[0] == chosen[1] == chosen[2] == plan(labels, 32, seed=1)


def test_two_ranks_choose_what_one_would() -> None:
    """Draws depend on seed and index alone."""
    labels = [i * i % 3 for i in range(600)]
    alone, _ = pass_by(labels, 30)
    parts = []
    for rank in range(2):
        reservoir = Reservoir(30, seed=0)
        for index in range(rank, 600, 2):
            reservoir.offer([index], lambda index=index: [labels[index]], lambda _: None)
        parts.append(reservoir)
    counts = parts[0].counts + parts[1].counts
    together = choose_tickets([t for part in parts for t in part.tickets], counts, 30, seed=0)
    assert together == alone


def test_a_row_that_comes_twice_counts_once() -> None:
    """As where a sampler fills up the last batch."""
    reservoir = Reservoir(4, seed=0)
    for index in (0, 1, 0):
        reservoir.offer([index], lambda: [0], lambda _: None)
    assert reservoir.counts == {0: 2}
    assert len(reservoir.tickets) == 2


def test_draws_are_uniform_and_depend_on_the_seed() -> None:
    """Mean and spread of many are those of the uniform distribution."""
    draws = [draw_of(0, index) for index in range(4000)]
    assert abs(sum(draws) / 4000 - 0.5) < 0.02
    assert abs(sum((d - 0.5) ** 2 for d in draws) / 4000 - 1 / 12) < 0.005
    assert draw_of(1, 0) != draw_of(0, 0)

"""Which pictures look like a cue, and how often each group is right."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_vlmxai.rounds import Interval
from lightning_vlmxai.shortcuts import (
    Change,
    Effect,
    Shortcut,
    TrainingList,
    TrainingPicture,
    count_groups,
    learn_cue,
)
from samples import make_sample


def test_likeness_is_the_cosine_of_the_most_alike_place() -> None:
    """Against loops over pictures, places and channels."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 4, 2, 2, generator=generator)
    others = torch.rand(5, 4, 3, 2, generator=generator)
    regions = torch.zeros(3, 4, 4, dtype=torch.bool)
    regions[0, :2, 2:] = regions[1, :2, 2:] = True  # the whole top right place
    regions[1, 2, 2] = True  # and a quarter of the one below
    cue = learn_cue(maps, regions, others)  # the third bears none
    centre = [float(others[:, c].mean()) for c in range(4)]
    first = [float(maps[0, c, 0, 1]) for c in range(4)]
    second = [float(maps[1, c, 0, 1] + maps[1, c, 1, 1] / 4) / 1.25 for c in range(4)]
    own = [(a + b) / 2 - m for a, b, m in zip(first, second, centre, strict=True)]
    for picture, found in zip(maps, cue.likeness(maps).tolist(), strict=True):
        cosines = []
        for row in range(2):
            for column in range(2):
                here = [float(picture[c, row, column]) - centre[c] for c in range(4)]
                dot = sum(a * b for a, b in zip(here, own, strict=True))
                cosines.append(dot / math.hypot(*here) / math.hypot(*own))
        assert found == pytest.approx(max(cosines), abs=1e-5)


def test_a_list_says_what_it_is() -> None:
    """All pictures, some of them, or none and why."""
    one = TrainingPicture(index=3, file=None, label=0, likeness=0.5)
    assert "all 1 training" in TrainingList(pictures=(one,), total=1).text
    assert "1 of 50,000 training" in TrainingList(pictures=(one,), total=50_000).text
    assert TrainingList(note="a stream").text == "No training pictures are listed: a stream."


def test_groups_are_counted_by_class_the_worst_first() -> None:
    """Of two zeros one is none without the cue; of three others two become zeros."""
    labels = {0: "zero", 1: "zero", 2: "one", 3: "one", 4: "two"}
    numbers = {"zero": 0, "one": 1, "two": 2}
    samples = [_sample(i, name, numbers[name]) for i, name in labels.items()]
    nothing = Interval(0.0, 0.0)
    erased = Effect(2, 1, 0, nothing, 0.0, 0.0, (Change(0, 0, 0, 0), Change(1, 0, 7, 0)))
    changes = (Change(2, 1, 0, 1), Change(3, 1, 1, 1), Change(4, 5, 0, 5))
    pasted = Effect(3, 2, 0, nothing, 0.0, 0.0, changes)
    found = count_groups(
        Shortcut(
            label="zero", number=0, low=2, right=2, other_low=0, other_right=3,
            erased=erased, pasted=pasted,
        ),
        samples,
    )  # fmt: skip
    assert [tuple(group) for group in found] == [
        ("two", "absent", 0, 1),
        ("two", "pasted", 0, 1),
        ("one", "pasted", 1, 2),
        ("zero", "erased", 1, 2),
        ("one", "absent", 2, 2),
        ("zero", "there", 2, 2),
    ]


def _sample(index: int, name: str, label: int):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    sample = make_sample(score=1.0)
    explanation = replace(sample.explanation, probe_index=index, label_name=name, label=label)
    return replace(sample, explanation=explanation)

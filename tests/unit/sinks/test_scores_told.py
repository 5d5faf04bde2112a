"""What captions and bands say of scores near the threshold and of partly attended objects."""

from __future__ import annotations

from dataclasses import replace

import torch

from lightning_vlmxai.records import Quadrant, Sample
from lightning_vlmxai.rounds import PALETTE
from lightning_vlmxai.sinks.pictures import QUADRANT_COLOURS, caption, describe
from lightning_vlmxai.sinks.sheets import ink_on, shade
from samples import make_sample


def masked(sample: Sample, rows: int, start: int = 0) -> Sample:
    """Return a sample whose object is the upper half, and some rows of it kept."""
    kept, reference = torch.zeros(8, 8), torch.zeros(8, 8, dtype=torch.bool)
    kept[start : start + rows], reference[:4] = 1.0, True
    explanation = replace(sample.explanation, mask=kept, reference_mask=reference)
    return replace(sample, explanation=explanation)


def test_a_low_score_is_never_told_as_the_threshold() -> None:
    """In captions and on bands, for the threshold that the run has."""
    low = make_sample(score=2.49)
    assert low.quadrant is Quadrant.CORRECT_LOW
    assert "score 2.49" in caption(low)
    assert describe(low)[2] == "score 2.49"
    assert describe(make_sample(score=2.51))[2] == "score 2.5"
    high = replace(make_sample(score=2.96), threshold=3.0)
    assert describe(high)[2] == "score 2.96"


def test_borderline_takes_the_word_of_the_score() -> None:
    """Within the judge's own spread; the judge that was asked once marks nothing."""
    sample = make_sample(score=2.0)
    assert describe(sample)[2] == "score 2.0"
    for spread, word in ((0.5, "borderline 2.0"), (0.4, "score 2.0"), (0.0, "score 2.0")):
        own = replace(sample, verdict=replace(sample.verdict, spread=spread))
        assert describe(own)[2] == word
        assert word in caption(own)


def test_partly_attended_is_told_of_correct_low_alone() -> None:
    """Where the kept rows lie on the object; not beside it, not of wrong or High samples."""
    told = (
        "partly attended: 100 % of the kept region lies on the object, 25 % of the object is kept"
    )
    assert told in caption(masked(make_sample(score=1.0), 1))
    others = [
        masked(make_sample(score=1.0), 1, 5),
        masked(make_sample(score=4.0), 1),
        masked(make_sample(score=1.0, is_correct=False), 1),
        make_sample(score=1.0),
        make_sample(score=None),
    ]
    assert not any("partly" in caption(sample) for sample in others)


def test_sheets_have_the_report_s_colours_and_ink_that_can_be_read() -> None:
    """Every shade of every quadrant, by WCAG's formula."""

    def luminance(colour: tuple[int, ...]) -> float:
        parts = [c / 255 for c in colour]
        red, green, blue = (
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for quadrant, colour in QUADRANT_COLOURS.items():
        assert "#" + bytes(colour).hex() == PALETTE[quadrant].light
        for percent in range(101):
            fill = shade(percent / 100, colour)
            high, low = sorted((luminance(fill), luminance(ink_on(fill))), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5

"""Tiles, montages, the filmstrip and the table of classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_vlmxai.explain.masking import apply_mask, overlay
from lightning_vlmxai.records import Quadrant, Sample, UnscoredReason
from lightning_vlmxai.sinks.pictures import (
    EDGE,
    GAP,
    HEAD,
    LINE,
    PAPER,
    QUADRANT_COLOURS,
    QUADRANT_TAGS,
    TILE,
    caption,
    examples,
    make_montage,
    tile,
)
from lightning_vlmxai.sinks.sheets import (
    EXAMPLES,
    FRAME,
    FRAMES,
    MAX_CLASSES,
    ROW,
    cell_left,
    choose_frames,
    class_rows,
    frame_left,
    make_class_table,
    make_filmstrip,
    montage_title,
    overview_sheets,
    round_sheets,
    row_top,
    shade,
)
from lightning_vlmxai.sinks.words import LIMIT, clamp, printable
from samples import make_round, make_sample

OVERVIEW = {"filmstrip", "classes"}
HOSTILE = "<script>alert(1)</script> **bold** \x1b[31m\u202e" + "x" * 10_000


def of_class(label: int, **settings: object) -> Sample:
    """Return a sample of a numbered class, whose name says the number."""
    sample = make_sample(label_name=f"class {label}", **settings)
    return replace(sample, explanation=replace(sample.explanation, label=label))


def coloured(sample: Sample, seed: int) -> Sample:
    """Return a sample with a picture, a map and a mask of their own."""
    draw = torch.Generator().manual_seed(seed)
    pixels, maps = torch.rand(3, 8, 8, generator=draw), torch.rand(2, 8, 8, generator=draw)
    changed = replace(sample.explanation, pixels=pixels, saliency=maps[0], mask=maps[1])
    return replace(sample, explanation=changed)


def seen(sheet: Image.Image, left: int, top: int, side: int) -> np.ndarray:
    """Return the pixels of an 8 x 8 picture that a sheet shows in a square, one a block."""
    block = side // 8
    centres = slice(block // 2, side, block)
    return np.asarray(sheet.crop((left, top, left + side, top + side)))[centres, centres]


def bytes_of(pixels: torch.Tensor) -> np.ndarray:
    """Return `[3, H, W]` in [0, 1] as 8-bit `[H, W, 3]`."""
    return np.rint(pixels.double().numpy().transpose(1, 2, 0) * 255).astype(np.uint8)


def test_examples_are_the_lowest_scores_first() -> None:
    """The worst Correct-Low samples are what a person should see, of equals the surest."""
    told = [(2.0, 0.9), (0.5, 0.6), (1.0, 0.5), (0.5, 0.8), (0.5, float("nan")), (4.0, 1.0)]
    samples = [
        replace(s, explanation=replace(s.explanation, confidence=confidence))
        for i, (score, confidence) in enumerate(told)
        for s in [make_sample(score=score, index=i)]
    ]
    shown = examples(make_round(*samples), Quadrant.CORRECT_LOW, limit=4)
    assert [s.explanation.probe_index for s in shown] == [3, 1, 4, 2]


def test_a_montage_shows_each_masked_picture_over_a_band_in_its_quadrants_colour() -> None:
    """Three tiles stand in two rows, each with the pixels that were judged."""
    samples = [coloured(make_sample(score=1, label_name=HOSTILE), seed) for seed in range(3)]
    sheet = make_montage(samples, "Correct-Low")
    colour = QUADRANT_COLOURS[Quadrant.CORRECT_LOW]
    step, height = TILE + GAP, (sheet.size[1] - HEAD - EDGE + GAP) // 2
    assert sheet.getpixel((EDGE + 5, HEAD // 2)) == colour
    for place, sample in enumerate(samples):
        left, top = EDGE + place % 2 * step, HEAD + place // 2 * height
        e = sample.explanation
        np.testing.assert_array_equal(
            seen(sheet, left, top, TILE), bytes_of(apply_mask(e.pixels, e.mask))
        )
        assert sheet.getpixel((left + 2, top + TILE + 9)) == colour
    assert sheet.getpixel((EDGE + step + 9, sheet.size[1] - 50)) == PAPER  # no fourth tile


def test_a_montage_has_a_line_more_where_a_file_is_known() -> None:
    """Of a path only the file's own name is drawn; where none is known, no room is left for it."""
    sample = coloured(make_sample(score=1), 0)
    filed = [
        replace(sample, explanation=replace(sample.explanation, file=file))
        for file in ("/photos/a/x.png", "/b/x.png", "x.pnm")
    ]
    plain, *sheets = (make_montage([sample, s]) for s in (sample, *filed))
    assert {sheet.height - plain.height for sheet in sheets} == {LINE}
    here, elsewhere, other = map(np.asarray, sheets)
    np.testing.assert_array_equal(here, elsewhere)
    assert (here != other).any()


def test_every_sheet_is_as_wide_as_tensorboard_shows_it() -> None:
    """One sample or many, one class or many, long names or short: letters are drawn 1 to 1."""
    few = [make_sample(score=1)]
    many = [
        of_class(i, score=i % 6, is_correct=i % 2 == 0) for i in range(40)
    ] + [make_sample(score=1, label_name=HOSTILE)]  # fmt: skip
    for samples in (few, many):
        sheets = round_sheets(make_round(*samples))
        assert {sheet.width for sheet in sheets.values()} == {350}
    assert set(sheets) == {*(f"examples/{tag}" for tag in QUADRANT_TAGS.values()), *OVERVIEW}


def test_a_montage_is_titled_with_what_it_leaves_out() -> None:
    """How many samples the quadrant has of how many judged, and how many of them are drawn."""
    samples = [make_sample(score=1, index=i) for i in range(EXAMPLES)]
    unscored = make_sample(index=90)
    titles = [
        montage_title(make_round(*shown, unscored), Quadrant.CORRECT_LOW)
        for shown in (samples, [*samples, make_sample(score=1, index=50), make_sample(score=5)])
    ]
    assert titles == [
        "Correct-Low · 6 of 6 judged · epoch 1",
        "Correct-Low · 7 of 8 judged · epoch 1 · 6 shown",
    ]


def test_a_tile_keeps_proportions() -> None:
    """A wide picture stands between two margins; a large one is made smaller."""
    wide = np.asarray(tile(Image.new("RGB", (40, 20), (255, 0, 0))))
    rows = (wide == (255, 0, 0)).all(axis=(1, 2))
    assert rows.tolist() == [False] * 42 + [True] * 84 + [False] * 42
    assert tile(Image.new("RGB", (900, 30))).size == (TILE, TILE)
    assert tile(Image.new("RGB", (900, 1))).size == (TILE, TILE)


def test_a_caption_says_label_prediction_confidence_and_score() -> None:
    """Scored and unscored, and in one printable line."""
    assert caption(make_sample(score=2, is_correct=False)) == "cat → other (75%) · score 2.0"
    unscored = make_sample(reason=UnscoredReason.REFUSAL)
    assert caption(unscored) == "cat → cat (75%) · unscored (refusal)"
    assert caption(make_sample(score=2, label_name="a\n\u202eb")).startswith("a b → a b (")


def test_a_filmstrip_shows_the_same_probes_in_every_round() -> None:
    """One of each class before a second of any, watched classes first, whatever the judge says."""
    labels = [3, 3, 1, 1, 2, 0, 0, 3]
    first = [of_class(label, score=1, index=10 + i) for i, label in enumerate(labels)]
    later = [of_class(label, is_correct=False, index=10 + i) for i, label in enumerate(labels)]
    chosen = [s.explanation.probe_index for s in choose_frames(first)]
    assert chosen == [15, 12, 14, 10, 16]
    assert len(chosen) == FRAMES
    assert [s.explanation.probe_index for s in choose_frames(later)] == chosen
    watched = choose_frames(later, ["class 3"])
    assert [s.explanation.probe_index for s in watched] == [10, 15, 12, 14, 11]


def test_a_filmstrip_has_picture_overlay_and_masked_picture_side_by_side() -> None:
    """Each row's columns are the pixels of that sample, over a band in its quadrant's colour."""
    frames = [coloured(make_sample(score=4), 0), coloured(make_sample(), 1)]
    frames[0] = replace(frames[0], attention_drift=0.5)
    sheet = make_filmstrip(make_round(*frames), frames)
    height = (sheet.size[1] - HEAD) // 2
    for row, sample in enumerate(frames):
        e, top = sample.explanation, HEAD + row * height
        columns = (e.pixels, overlay(e.pixels, e.saliency), apply_mask(e.pixels, e.mask))
        for column, pixels in enumerate(columns):
            shown = seen(sheet, frame_left(column), top, FRAME)
            np.testing.assert_array_equal(shown, bytes_of(pixels))
    stripes = [sheet.getpixel((EDGE + 2, HEAD + row * height + FRAME + 9)) for row in range(2)]
    assert stripes[0] == QUADRANT_COLOURS[Quadrant.CORRECT_HIGH]
    assert stripes[1] not in QUADRANT_COLOURS.values()


def test_a_map_that_is_no_number_is_shown_as_none() -> None:
    """A model that has diverged doesn't end the run in the sink."""
    sample = make_sample(reason=UnscoredReason.BLANK_SALIENCY)
    broken = replace(sample.explanation, saliency=torch.full((8, 8), float("nan")))
    sheets = overview_sheets(make_round(replace(sample, explanation=broken)))
    assert set(sheets) == OVERVIEW


def test_a_round_without_samples_has_no_sheets() -> None:
    """A rank set without probes draws nothing."""
    assert overview_sheets(make_round()) == {}


def test_class_rates_are_counted_over_judged_samples_worst_correct_low_first() -> None:
    """Counted by hand: a has 1 CL of 2, b 2 CL of 3 judged (4 probes), c none judged, d no CL."""
    samples = [
        make_sample(score=1, label_name="a"),
        make_sample(score=5, label_name="a"),
        make_sample(score=0, label_name="b"),
        make_sample(label_name="b"),
        make_sample(score=2, label_name="b"),
        make_sample(score=3, label_name="b", is_correct=False),
        make_sample(label_name="c"),
        make_sample(score=1, label_name="d", is_correct=False),
    ]
    rows = class_rows(samples)
    assert [(r.name, r.judged, r.probes) for r in rows] == [
        ("b", 3, 4), ("a", 2, 2), ("d", 1, 1), ("c", 0, 1),
    ]  # fmt: skip
    rates = [[r.rates.get(q) for q in Quadrant] for r in rows]
    assert rates[0] == pytest.approx([0, 2 / 3, 1 / 3, 0])
    assert rates[1] == [0.5, 0.5, 0, 0]
    assert rates[2] == [0, 0, 0, 1]
    assert rates[3] == [None] * 4
    sheet = make_class_table(make_round(*samples), rows)
    for number, row in enumerate(rates):
        for column, (rate, quadrant) in enumerate(zip(row, Quadrant, strict=True)):
            corner = (cell_left(column) + 3, row_top(number) + 3)
            grey = (228, 228, 231)
            wanted = grey if rate is None else shade(rate, QUADRANT_COLOURS[quadrant])
            assert sheet.getpixel(corner) == wanted


def test_a_shade_lies_between_white_and_the_colour() -> None:
    """The ends are exact and the middle is in the middle."""
    assert [shade(rate, (1, 101, 201)) for rate in (0, 0.5, 1)] == [
        (255, 255, 255), (128, 178, 228), (1, 101, 201),
    ]  # fmt: skip


def test_a_table_of_a_thousand_classes_is_cut() -> None:
    """The worst rows are shown and a last line counts the others."""
    samples = [of_class(i, score=1) for i in range(1000)]
    sheet = make_class_table(make_round(*samples), class_rows(samples))
    assert sheet.size[1] == row_top(MAX_CLASSES + 1) + EDGE
    assert row_top(MAX_CLASSES) == 3 * HEAD + MAX_CLASSES * ROW


def test_long_words_are_cut_and_say_how_long_they_were() -> None:
    """Nothing is lost silently, and nothing that would steer a terminal or the text is left."""
    told = clamp(printable(HOSTILE))
    assert told.endswith("x… (10,040 characters)")
    assert len(told) == LIMIT + len("… (10,040 characters)")
    assert "\x1b" not in told
    assert "\u202e" not in told

"""Pictures of a whole round: the filmstrip, the table of classes, a montage of each quadrant."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ..quadrants import quadrant_metrics
from ..records import Quadrant, Round, Sample
from .pictures import (
    GAP,
    INK,
    MARGIN,
    PAPER,
    QUADRANT_COLOURS,
    QUADRANT_TITLES,
    TILE,
    Colour,
    describe,
    draw_band,
    examples,
    load_font,
    make_montage,
    masked_image,
    overlay_image,
    shorten,
    tile,
    to_image,
)

FRAMES = 6
"""Probes of a filmstrip."""
MAX_CLASSES = 30
"""Rows of a table of classes."""
NAME, COUNT, CELL, ROW = 180, 76, 112, 28
"""Widths of the table's columns and height of its rows in pixels."""


def round_sheets(closed: Round, watch_classes: Collection[str] = ()) -> dict[str, Image.Image]:
    """Return all pictures of a round by name (without prefix); what has no sample has no picture.

    Args:
        closed: The round.
        watch_classes: Names of classes that come first in the filmstrip.
    """
    sheets = {
        f"samples/{quadrant.value}": make_montage(samples)
        for quadrant in Quadrant
        if (samples := examples(closed, quadrant))
    }
    return {**sheets, **overview_sheets(closed, watch_classes)}


def overview_sheets(closed: Round, watch_classes: Collection[str] = ()) -> dict[str, Image.Image]:
    """Return the filmstrip and the table of classes of a round, if it has samples."""
    if not closed.samples:
        return {}
    return {
        "filmstrip": make_filmstrip(closed, choose_frames(closed.samples, watch_classes)),
        "classes": make_class_table(closed, class_rows(closed.samples)),
    }


def choose_frames(samples: Sequence[Sample], watch_classes: Collection[str] = ()) -> list[Sample]:
    """Return the samples of a filmstrip: the first probe of each class, then the second, ...

    The choice rests on the labels alone, so that every round of a probe set, in a resumed run and
    in the next run too, shows the same probes, whatever the model and the judge say.

    Args:
        samples: Of a round, in probe order.
        watch_classes: Names of classes that come first.
    """
    turns: dict[int, int] = defaultdict(int)
    queue = []
    for position, sample in enumerate(samples):
        e = sample.explanation
        queue.append((turns[e.label], e.label_name not in watch_classes, e.label, position))
        turns[e.label] += 1
    return [samples[position] for *_, position in sorted(queue)[:FRAMES]]


def make_filmstrip(closed: Round, frames: Sequence[Sample]) -> Image.Image:
    """Return a row for each sample: its picture, its saliency map, its masked picture, a band.

    Args:
        closed: The round that the samples are of.
        frames: At least one.
    """
    head, band = 24, 200
    size = (3 * (TILE + GAP) + band + 2 * GAP, head + len(frames) * (TILE + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(sheet), load_font()
    lefts = [GAP + column * (TILE + GAP) for column in range(4)]
    titles = ("picture", "saliency", "masked", f"epoch {closed.epoch}, step {closed.step}")
    for left, title in zip(lefts, titles, strict=True):
        draw.text((left + 2, 4), title, font=font, fill=INK)
    for row, sample in enumerate(frames):
        top = head + GAP + row * (TILE + GAP)
        pictures = (to_image(sample.explanation.pixels), overlay_image(sample))
        for left, picture in zip(lefts, (*pictures, masked_image(sample)), strict=False):
            sheet.paste(tile(picture), (left, top))
        verdict, drift = sample.verdict, sample.attention_drift
        outcome = (
            QUADRANT_TITLES[sample.quadrant] if sample.quadrant is not None
            else verdict.reason.value if verdict.reason is not None
            else ""
        )  # fmt: skip
        lines = [*describe(sample), outcome]
        if drift is not None:
            lines.append(f"drift {drift:.2f}")
        draw_band(draw, (lefts[3], top, lefts[3] + band, top + TILE), sample, lines)
    return sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """The quadrants of one (true) class.

    Args:
        name: Of the class.
        judged: Samples with a score: the rates' denominator.
        probes: All samples.
        rates: In [0, 1]; empty where none was judged.
    """

    name: str
    judged: int
    probes: int
    rates: dict[Quadrant, float]


def class_rows(samples: Sequence[Sample]) -> list[ClassRow]:
    """Return the quadrants of each class, highest Correct-Low rate first, unjudged classes last."""
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        members[sample.explanation.label_name].append(sample)
    rows = []
    for name, own in members.items():
        metrics = quadrant_metrics(own)
        rates = {q: metrics[f"{q.value}_rate"] for q in Quadrant if metrics}
        judged = sum(sample.verdict.score is not None for sample in own)
        rows.append(ClassRow(name=name, judged=judged, probes=len(own), rates=rates))
    return sorted(rows, key=lambda r: (-r.rates.get(Quadrant.CORRECT_LOW, -1), -r.judged, r.name))


def make_class_table(closed: Round, rows: Sequence[ClassRow]) -> Image.Image:
    """Return a heat map of classes by quadrants: each cell's rate as a number and as a shade.

    Args:
        closed: The round that the rows are of.
        rows: The first `MAX_CLASSES` are shown.
    """
    shown = rows[:MAX_CLASSES]
    more = len(rows) - len(shown)
    width = NAME + COUNT + 4 * CELL + 2 * GAP
    sheet = Image.new("RGB", (width, (len(shown) + 2 + bool(more)) * ROW + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), load_font()

    def write(text: str, left: int, row: int, span: int, ink: Colour = INK, at: str = "mm") -> None:
        x = left + (span // 2 if at == "mm" else 6)
        fitting = shorten(text, font, span - 8)
        draw.text((x, row * ROW + ROW // 2), fitting, font=font, fill=ink, anchor=at)

    title = f"Rates of each class's judged probes (n), epoch {closed.epoch}, step {closed.step}"
    write(title, GAP, 0, width, at="lm")
    write("class", GAP, 1, NAME, at="lm")
    write("n", GAP + NAME, 1, COUNT)
    for column, quadrant in enumerate(Quadrant):
        write(QUADRANT_TITLES[quadrant], cell_left(column), 1, CELL)
    for number, row in enumerate(shown, start=2):
        write(row.name, GAP, number, NAME, at="lm")
        count = str(row.judged) if row.judged == row.probes else f"{row.judged} of {row.probes}"
        write(count, GAP + NAME, number, COUNT)
        for column, quadrant in enumerate(Quadrant):
            left, top = cell_left(column), number * ROW
            rate = row.rates.get(quadrant)
            fill = MARGIN if rate is None else shade(rate, QUADRANT_COLOURS[quadrant])
            draw.rectangle((left + 1, top + 1, left + CELL - 2, top + ROW - 2), fill=fill)
            ink = PAPER if _luminance(fill) < 0.3 else INK
            write("not judged" if rate is None else f"{rate:.2f}", left, number, CELL, ink)
    if more:
        write(
            f"and {more} classes with lower Correct-Low rates", GAP, len(shown) + 2, width, at="lm"
        )
    return sheet


def cell_left(column: int) -> int:
    """Return where a quadrant's column of the class table starts."""
    return GAP + NAME + COUNT + column * CELL


def shade(rate: float, colour: Colour) -> Colour:
    """Return white for 0, the colour for 1, and what lies between them in between."""
    red, green, blue = (round(255 + (c - 255) * rate) for c in colour)
    return red, green, blue


def _luminance(colour: Colour) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2, to a gamma of 2.2)."""
    red, green, blue = (math.pow(c / 255, 2.2) for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

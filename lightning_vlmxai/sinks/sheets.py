"""Pictures of a whole round: the filmstrip, the table of classes, a montage of each quadrant."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ..records import Quadrant, Round, Sample
from ..rounds import Answer, quadrant_metrics, response_of
from .pictures import (
    EDGE,
    GAP,
    HEAD,
    INK,
    LINE,
    MARGIN,
    PAPER,
    QUADRANT_COLOURS,
    QUADRANT_TAGS,
    QUADRANT_TITLES,
    WIDTH,
    Colour,
    band_height,
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

EXAMPLES = 6
"""Samples of a montage."""
FRAMES, FRAME = 5, (WIDTH - 2 * EDGE - GAP) // 3
"""Probes of a filmstrip, and the side of its pictures in pixels."""
MAX_CLASSES = 30
"""Rows of a table of classes."""
COUNT, CELL, ROW = 52, 48, 22
NAME = WIDTH - 2 * EDGE - COUNT - 4 * CELL
"""Widths of the table's columns and height of its rows in pixels."""


def round_sheets(closed: Round, watch_classes: Collection[str] = ()) -> dict[str, Image.Image]:
    """Return all pictures of a round by name (without prefix); what has no sample has no picture.

    Args:
        closed: The round.
        watch_classes: Names of classes that come first in the filmstrip.
    """
    sheets = {
        f"examples/{tag}": make_montage(samples, montage_title(closed, quadrant))
        for quadrant, tag in QUADRANT_TAGS.items()
        if (samples := examples(closed, quadrant, EXAMPLES))
    }
    return {**sheets, **overview_sheets(closed, watch_classes)}


def montage_title(closed: Round, quadrant: Quadrant) -> str:
    """Return whose samples a montage shows, how many there are and of how many."""
    count = sum(sample.quadrant is quadrant for sample in closed.samples)
    told = f"{QUADRANT_TITLES[quadrant]} · {count} of {closed.judged} judged · epoch {closed.epoch}"
    return told if count <= EXAMPLES else f"{told} · {EXAMPLES} shown"


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
    height = FRAME + band_height(2) + GAP
    sheet = Image.new("RGB", (WIDTH, HEAD + len(frames) * height), PAPER)
    draw, font = ImageDraw.Draw(sheet), load_font()
    lefts = [frame_left(column) for column in range(3)]
    titles = (f"epoch {closed.epoch}", "saliency", "what was judged")
    for left, title in zip(lefts, titles, strict=True):
        draw.text((left + 2, 5), title, font=font, fill=INK)
    for row, sample in enumerate(frames):
        top = HEAD + row * height
        pictures = (to_image(sample.explanation.pixels), overlay_image(sample))
        for left, picture in zip(lefts, (*pictures, masked_image(sample)), strict=True):
            sheet.paste(tile(picture, FRAME), (left, top))
        band = (EDGE, top + FRAME, WIDTH - EDGE, top + FRAME + band_height(2))
        draw_band(draw, band, sample, _describe_frame(sample))
    return sheet


def frame_left(column: int) -> int:
    """Return where a column of the filmstrip starts."""
    return EDGE + column * (FRAME + GAP // 2)


def _describe_frame(sample: Sample) -> tuple[str, str]:
    label, prediction, score = describe(sample)
    verdict, drift = sample.verdict, sample.attention_drift
    if sample.quadrant is not None:
        outcome = [score, QUADRANT_TITLES[sample.quadrant]]
    else:
        outcome = [score, verdict.reason.value.replace("_", " ") if verdict.reason else ""]
    if verdict.is_reused:
        outcome.append("earlier verdict")
    if drift is not None:
        outcome.append(f"drift {drift:.2f}")
    return (
        " · ".join(
            shorten(text, load_font(), (WIDTH - 2 * EDGE) // 2 - 16) for text in (label, prediction)
        ),
        " · ".join((*outcome, f"#{sample.explanation.probe_index}")),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """The quadrants of one (true) class.

    Args:
        name: Of the class.
        judged: Samples with a score: the rates' denominator.
        probes: All samples.
        rates: In [0, 1]; empty where none was judged, or nothing is known of labels.
    """

    name: str
    judged: int
    probes: int
    rates: dict[Quadrant, float]


def class_rows(samples: Sequence[Sample]) -> list[ClassRow]:
    """Return the quadrants of each class, highest Correct-Low rate first, unjudged classes last."""
    response = response_of(map(Answer.of, samples))
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        members[sample.explanation.label_name].append(sample)
    rows = []
    for name, own in members.items():
        metrics = quadrant_metrics(own, response)
        rates = {q: metrics[key] for q in Quadrant if (key := f"{q.value}_rate") in metrics}
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
    sheet = Image.new("RGB", (WIDTH, row_top(len(shown) + bool(more)) + EDGE), PAPER)
    draw, font = ImageDraw.Draw(sheet), load_font()

    def write(text: str, left: int, top: int, span: int, ink: Colour = INK) -> None:
        """Write in the middle of a cell."""
        place = (left + span // 2, top + ROW // 2)
        draw.text(place, shorten(text, font, span - 4), font=font, fill=ink, anchor="mm")

    def name(text: str, top: int, span: int = NAME) -> None:
        """Write at the left."""
        place = (EDGE + 2, top + ROW // 2)
        draw.text(place, shorten(text, font, span - 8), font=font, fill=INK, anchor="lm")

    name(f"rates over n judged probes, epoch {closed.epoch}", 0, WIDTH)
    name("class", 2 * HEAD)
    write("n", EDGE + NAME, 2 * HEAD, COUNT)
    for column, quadrant in enumerate(Quadrant):
        for line, word in enumerate(QUADRANT_TITLES[quadrant].split("-")):
            write(word, cell_left(column), HEAD + 8 + line * LINE, CELL)
    for number, row in enumerate(shown):
        top = row_top(number)
        name(row.name, top)
        count = str(row.judged) if row.judged == row.probes else f"{row.judged} of {row.probes}"
        write(count, EDGE + NAME, top, COUNT)
        for column, quadrant in enumerate(Quadrant):
            left, rate = cell_left(column), row.rates.get(quadrant)
            fill = MARGIN if rate is None else shade(rate, QUADRANT_COLOURS[quadrant])
            draw.rectangle((left + 1, top + 1, left + CELL - 2, top + ROW - 2), fill=fill)
            write("-" if rate is None else f"{rate:.2f}", left, top, CELL, ink_on(fill))
    if more:
        name(f"and {more} more classes", row_top(len(shown)), WIDTH)
    return sheet


def row_top(number: int) -> int:
    """Return where a row of the class table starts, below its title and its head."""
    return 3 * HEAD + number * ROW


def cell_left(column: int) -> int:
    """Return where a quadrant's column of the class table starts."""
    return EDGE + NAME + COUNT + column * CELL


def shade(rate: float, colour: Colour) -> Colour:
    """Return white for 0, the colour for 1, and what lies between them in between."""
    red, green, blue = (round(255 + (c - 255) * rate) for c in colour)
    return red, green, blue


def ink_on(fill: Colour) -> Colour:
    """Return white or black, whichever has the greater contrast: at least 4.5 on any colour."""
    return PAPER if _luminance(fill) < 0.179 else (0, 0, 0)


def _luminance(colour: Colour) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2, to a gamma of 2.2)."""
    red, green, blue = (math.pow(c / 255, 2.2) for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

"""Pictures of samples: what was seen, and tiles over a band that says what they are."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from functools import cache
from pathlib import PurePath

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..explain import apply_mask, overlay
from ..records import Quadrant, Round, Sample
from ..rounds import NAMES, PALETTE, is_borderline, show_score
from ..trust import mask_agreement, say_partly
from .words import printable

WIDTH = 350
"""Pixels of every sheet: so wide TensorBoard shows a picture, and without smoothing, so that
letters on a sheet of another width are broken."""
EDGE, GAP = 4, 6
TILE = (WIDTH - 2 * EDGE - GAP) // 2
"""Side of a tile's picture in pixels: two stand in a row."""
PAPER, INK, BAND, MARGIN = (255, 255, 255), (24, 24, 27), (24, 24, 27), (228, 228, 231)
HEAD, LINE = 28, 16
"""Heights of a sheet's title and of a line of text in pixels."""
_STRIPE = 6

Colour = tuple[int, int, int]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

QUADRANT_COLOURS: dict[Quadrant, Colour] = {q: of.rgb for q, of in PALETTE.items()}
"""The report's, as on white."""

QUADRANT_TITLES = NAMES
"""As the README writes them: "Correct-Low"."""

QUADRANT_TAGS = {
    Quadrant.CORRECT_LOW: "1_correct_low",
    Quadrant.WRONG_HIGH: "2_wrong_high",
    Quadrant.WRONG_LOW: "3_wrong_low",
    Quadrant.CORRECT_HIGH: "4_correct_high",
}
"""Last parts of names: dashboards sort by them, and what is to be looked at stands first."""


@cache
def load_font() -> Font:
    """Return the font of all sheets: a system's that knows many scripts, else Pillow's own."""
    for name in ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf", "arial.ttf"):
        with contextlib.suppress(OSError):  # not installed here
            return ImageFont.truetype(name, 12)
    return ImageFont.load_default(13)


def to_image(pixels: Tensor) -> Image.Image:
    """Return a picture `[3, H, W]` with values in [0, 1] as an 8-bit RGB image."""
    return Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).contiguous().numpy())


def masked_image(sample: Sample) -> Image.Image:
    """Return what the judge saw of a sample."""
    e = sample.explanation
    return to_image(apply_mask(e.pixels, e.mask, fill=e.fill))


def overlay_image(sample: Sample) -> Image.Image:
    """Return a sample's picture under its saliency map: red is most salient, blue least."""
    e = sample.explanation
    return to_image(overlay(e.pixels, e.saliency))


def tile(image: Image.Image, side: int = TILE) -> Image.Image:
    """Return a picture in a square of so many pixels, its proportions and its pixels kept.

    A small picture is enlarged without smoothing, so that its pixels are those that were seen.
    """
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    square = Image.new("RGB", (side, side), MARGIN)
    square.paste(image.resize(size, how), ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def caption(sample: Sample) -> str:
    """Return label, prediction and score in one line, and the file's own name where it is known."""
    e, verdict = sample.explanation, sample.verdict
    score = (
        " · ".join(filter(None, (tell_score(sample), tell_partly(sample))))
        if verdict.score is not None
        else f"unscored ({verdict.reason.value if verdict.reason else ''})"
    )
    names = f"{printable(e.label_name)} → {printable(e.prediction_name)}"
    file = f" · {printable(PurePath(e.file).name)}" if e.file else ""
    return f"{names} ({e.confidence:.0%}) · {score}{file}"


def tell_score(sample: Sample) -> str:
    """Return the score on its side of the threshold, marked where the judge's spread crosses it."""
    score, threshold = sample.verdict.score, sample.threshold
    if score is None:
        return "unscored"
    is_close = is_borderline(score, sample.verdict.spread, threshold)
    return f"{'borderline' if is_close else 'score'} {show_score(score, threshold)}"


def tell_partly(sample: Sample) -> str:
    """Return what was measured of a partly attended Correct-Low sample; empty of all others."""
    e = sample.explanation
    if sample.quadrant is not Quadrant.CORRECT_LOW or e.reference_mask is None:
        return ""
    return say_partly(mask_agreement(e.mask, e.reference_mask)) if e.reference_mask.any() else ""


def examples(closed: Round, quadrant: Quadrant, limit: int = 9) -> list[Sample]:
    """Return the samples of a quadrant, at most `limit`: lowest score, then most sure, first."""

    def severity(sample: Sample) -> tuple[float, float]:
        confidence = sample.explanation.confidence
        return sample.verdict.score or 0.0, -confidence if math.isfinite(confidence) else 0.0

    return sorted((s for s in closed.samples if s.quadrant is quadrant), key=severity)[:limit]


def describe(sample: Sample) -> tuple[str, str, str]:
    """Return label, prediction and score, each with its name before it."""
    e = sample.explanation
    return (
        f"label {e.label_name}",
        f"pred. {e.prediction_name} {e.confidence:.0%}",
        tell_score(sample),
    )


def band_height(lines: int) -> int:
    """Return the height of a band of so many lines in pixels."""
    return LINE * lines + 8


def draw_band(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], sample: Sample, lines: Sequence[str]
) -> None:
    """Write lines on a dark band with a stripe in the colour of the sample's quadrant.

    Args:
        draw: Of the sheet.
        box: Left, top, right and bottom of the band, the last two exclusive.
        sample: Whose quadrant is shown.
        lines: Cut to the band's width.
    """
    left, top, right, bottom = box
    font = load_font()
    draw.rectangle((left, top, right - 1, bottom - 1), fill=BAND)
    if sample.quadrant is not None:
        stripe = (left, top, left + _STRIPE - 1, bottom - 1)
        draw.rectangle(stripe, fill=QUADRANT_COLOURS[sample.quadrant])
    for line, text in enumerate(lines):
        place = (left + _STRIPE + 6, top + 3 + LINE * line)
        fitting = shorten(text, font, right - left - _STRIPE - 10)
        draw.text(place, fitting, font=font, fill=(250, 250, 250))


def make_montage(samples: Sequence[Sample], title: str = "") -> Image.Image:
    """Return tiles of masked pictures in rows of two, each over a band that says what it is.

    Args:
        samples: At least one, all of one quadrant.
        title: Stands above, beside the quadrant's colour.
    """
    files = [PurePath(s.explanation.file or "").name for s in samples]
    lines = 3 + any(files)
    height = TILE + band_height(lines)
    size = (WIDTH, HEAD - GAP + -(-len(samples) // 2) * (height + GAP) + EDGE)
    sheet = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(sheet), load_font()
    quadrant = samples[0].quadrant
    if quadrant is not None:
        draw.rectangle((EDGE, 8, EDGE + 11, 19), fill=QUADRANT_COLOURS[quadrant])
    fitting = shorten(title, font, WIDTH - 2 * EDGE - 18)
    draw.text((EDGE + 18, HEAD // 2), fitting, font=font, fill=INK, anchor="lm")
    for position, (sample, file) in enumerate(zip(samples, files, strict=True)):
        left = EDGE + position % 2 * (TILE + GAP)
        top = HEAD + position // 2 * (height + GAP)
        sheet.paste(tile(masked_image(sample)), (left, top))
        label, prediction, score = describe(sample)
        told = (label, prediction, f"{score} · #{sample.explanation.probe_index}", file)
        draw_band(draw, (left, top + TILE, left + TILE, top + height), sample, told[:lines])
    return sheet


def shorten(text: str, font: Font, width: int) -> str:
    """Return one line of text that is at most `width` pixels wide, an ellipsis where it was cut."""
    text = printable(text[:200])
    while font.getlength(text) > width:
        text = text[:-2] + "…"
    return text

"""Pictures of samples: tiles with a readable band, montages of a quadrant."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..masking import apply_mask
from ..records import Quadrant, Round, Sample

TILE = 160
"""Side of a tile's picture in pixels."""
_BAND, _GAP, _COLUMNS = 60, 4, 4


def to_image(pixels: Tensor) -> Image.Image:
    """Return a picture `[3, H, W]` with values in [0, 1] as an 8-bit RGB image."""
    return Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).contiguous().numpy())


def masked_image(sample: Sample) -> Image.Image:
    """Return what the judge saw of a sample."""
    e = sample.explanation
    return to_image(apply_mask(e.pixels, e.mask, fill=e.fill))


def caption(sample: Sample) -> str:
    """Return label, prediction and score in one line."""
    e, verdict = sample.explanation, sample.verdict
    score = (
        f"score {verdict.score:.1f}"
        if verdict.score is not None
        else f"unscored ({verdict.reason.value if verdict.reason else ''})"
    )
    return f"{e.label_name} → {e.prediction_name} ({e.confidence:.0%}) · {score}"


def examples(closed: Round, quadrant: Quadrant, limit: int = 8) -> list[Sample]:
    """Return the samples of a quadrant, lowest score first, at most `limit`."""
    members = [sample for sample in closed.samples if sample.quadrant is quadrant]
    return sorted(members, key=lambda sample: sample.verdict.score or 0.0)[:limit]


def make_montage(samples: Sequence[Sample]) -> Image.Image:
    """Return tiles of masked pictures in rows of four, each over a band that says what it is.

    Args:
        samples: At least one.
    """
    columns = min(_COLUMNS, len(samples))
    rows = -(-len(samples) // columns)
    sheet = Image.new(
        "RGB",
        (columns * (TILE + _GAP) + _GAP, rows * (TILE + _BAND + _GAP) + _GAP),
        (255, 255, 255),
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for position, sample in enumerate(samples):
        left = _GAP + position % columns * (TILE + _GAP)
        top = _GAP + position // columns * (TILE + _BAND + _GAP)
        sheet.paste(
            masked_image(sample).resize((TILE, TILE), Image.Resampling.BILINEAR), (left, top)
        )
        draw.rectangle(
            (left, top + TILE, left + TILE - 1, top + TILE + _BAND - 1), fill=(24, 24, 27)
        )
        e, verdict = sample.explanation, sample.verdict
        score = "unscored" if verdict.score is None else f"score {verdict.score:.1f}"
        lines = (f"label {e.label_name}", f"pred. {e.prediction_name}", score)
        for line, text in enumerate(lines):
            draw.text(
                (left + 6, top + TILE + 3 + 18 * line),
                _shorten(text, font, TILE - 12),
                font=font,
                fill=(250, 250, 250),
            )
    return sheet


def _shorten(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    text = "".join(c if c.isprintable() else " " for c in text[:200])
    while font.getlength(text) > width:
        text = text[:-2] + "…"
    return text

"""What lines and pictures of a run folder are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..judges import tell_attended
from ..records import Explanation, Round, Sample
from ..trust import mask_agreement


def describe_sample(closed: Round, sample: Sample) -> dict[str, Any]:
    """Return a line of `samples.jsonl`, without its pictures."""
    e, v = sample.explanation, sample.verdict
    return {
        "round": closed.number,
        "stage": closed.stage,
        "epoch": closed.epoch,
        "step": closed.step,
        "fingerprint": closed.fingerprint,
        "probe": e.probe_index,
        "part": e.part,
        "file": e.file,
        "label": None if e.is_correct is None else e.label,
        "label_name": "" if e.is_correct is None else e.label_name,
        "prediction": e.prediction,
        "prediction_name": e.prediction_name,
        "confidence": e.confidence if math.isfinite(e.confidence) else None,
        "is_correct": e.is_correct,
        "score": v.score,
        "quadrant": None if sample.quadrant is None else sample.quadrant.value,
        "reason": None if v.reason is None else v.reason.value,
        "detail": v.detail,
        "evaluation": v.evaluation,
        "justification": v.justification,
        "attends_to": tell_attended(v.attends_to),
        "attention_drift": sample.attention_drift,
        "centre_shift": sample.centre_shift,
        "score_drift": sample.score_drift,
        "spread": v.spread,
        "asked": list(v.asked),
        "is_cached": v.is_cached,
        "is_reused": v.is_reused,
        **(
            {"inclusion": sample.inclusion, "expected_score": sample.expected_score}
            if sample.inclusion < 1
            else {}
        ),
        "calls": v.usage.calls,
        "tokens": v.usage.tokens,
        "cost_usd": v.usage.cost_usd,
        "latency_s": v.latency_s,
        "reference": _compare(e),
        **({"faithfulness": dict(e.faithfulness)} if e.faithfulness else {}),
        **({"words": [list(word) for word in e.words]} if e.words else {}),
    }


def _compare(e: Explanation) -> dict[str, float] | None:
    if e.reference_mask is None or not e.reference_mask.any():
        return None
    return mask_agreement(e.mask, e.reference_mask)


def dump_line(record: Mapping[str, Any]) -> str:
    """Return a record as a line of JSON."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a picture as PNG."""
    # Three times as fast as the default level, for files a few per cent larger.
    image.save(path, compress_level=2)


def to_grey_image(saliency: Tensor) -> Image.Image:
    """Return a saliency map `[H, W]` with values in [0, 1] as an 8-bit grey image."""
    # A broken model's map may hold what is no number.
    grey = saliency.float().nan_to_num(0.0).clamp(0, 1) * 255
    return Image.fromarray(grey.round().byte().contiguous().numpy())

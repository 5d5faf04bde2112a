"""Records made by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_vlmxai.calls import Call
from lightning_vlmxai.records import (
    Explanation,
    Probe,
    Round,
    Sample,
    UnscoredReason,
    Usage,
    Verdict,
)
from lightning_vlmxai.rounds.quadrants import assign_quadrant, round_metrics


def make_probe(
    index: int, image: Tensor, target: object = 0, *, pixels: Tensor | None = None
) -> Probe:
    """Return the probe of a network that is given pictures alone."""
    return Probe(
        index=index,
        call=Call.of_images(image[None]),
        pixels=image if pixels is None else pixels,
        target=torch.as_tensor(target),
    )


def make_explanation(
    index: int = 0,
    *,
    is_correct: bool = True,
    label_name: str = "cat",
    mask: Tensor | None = None,
    is_blank: bool = False,
) -> Explanation:
    """Return an explanation of an 8 x 8 picture."""
    return Explanation(
        probe_index=index,
        label=0,
        label_name=label_name,
        prediction=0 if is_correct else 1,
        prediction_name=label_name if is_correct else "other",
        confidence=0.75,
        is_correct=is_correct,
        pixels=torch.full((3, 8, 8), 0.5),
        saliency=torch.ones(8, 8),
        mask=torch.ones(8, 8) if mask is None else mask,
        is_blank=is_blank,
    )


def make_sample(
    *,
    score: float | None = None,
    is_correct: bool = True,
    reason: UnscoredReason | None = None,
    label_name: str = "cat",
    attention_drift: float | None = None,
    usage: Usage | None = None,
    index: int = 0,
    evaluation: str = "",
) -> Sample:
    """Return a scored or unscored sample."""
    if score is None:
        verdict = Verdict.unscored(reason or UnscoredReason.TIMEOUT, "slow", usage=usage)
        quadrant = None
    else:
        verdict = Verdict.scored(score, evaluation=evaluation, usage=usage)
        quadrant = assign_quadrant(score, is_correct=is_correct)
    return Sample(
        explanation=make_explanation(index, is_correct=is_correct, label_name=label_name),
        verdict=verdict,
        quadrant=quadrant,
        attention_drift=attention_drift,
    )


def make_round(
    *samples: Sample,
    number: int = 3,
    stage: str = "fit",
    step: int = 7,
    watch_classes: tuple[str, ...] = (),
) -> Round:
    """Return a closed round of these samples."""
    return Round(
        number=number,
        stage=stage,
        epoch=1,
        step=step,
        fingerprint="f00",
        samples=samples,
        metrics=round_metrics(samples, watch_classes=watch_classes),
    )

"""What the paper reports, and how these scripts put their own figures beside it."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Sequence
from statistics import fmean, stdev

import lightning
import torch
from rich.console import Console

from lightning_vlmxai.rounds import wilson_interval

SOURCE = "Nguyen, Pham, Ngo and Hy, arXiv 2508.20227 and its longer version (2025)"

BIAS_CORRELATION = 0.70
"""|r| of err and the kind of training, 31 cat and dog classifiers, 20 training pictures each."""

QUADRANTS = {
    "classification": {
        "resnet18": (64.2, 4.9, 17.6, 13.2, 3.45),
        "convnext_tiny": (66.2, 28.4, 2.9, 2.5, 3.00),
        "maxvit_t": (67.1, 23.0, 6.9, 2.9, 3.14),
        "efficientnet_b1": (74.0, 14.2, 7.4, 4.4, 3.43),
    },
    "segmentation": {
        "deeplabv3_resnet50": (76.9, 5.4, 10.8, 6.9, 3.98),
        "deeplabv3_resnet101": (80.9, 4.9, 7.8, 6.4, 3.94),
        "lraspp_mobilenet_v3_large": (66.2, 6.4, 12.3, 15.2, 3.52),
        "fcn_resnet50": (71.1, 5.9, 14.7, 8.3, 3.73),
    },
}
"""Correct-High, Correct-Low, Wrong-High, Wrong-Low in %, average score; ImageNet and VOC."""

_JUDGES = ("human", "iou", "dice", "pixel_accuracy")
JUDGES = {
    name: dict(zip(_JUDGES, told, strict=True))
    for name, told in {
        "Gemini-2.5-pro, masked": (0.78, 0.37, 0.37, 0.34),
        "Gemini-2.5-pro, overlay": (0.75, 0.36, 0.36, 0.36),
        "Gemini-2.5-flash-lite, masked": (0.67, 0.31, 0.31, 0.33),
        "Gemini-2.5-flash-lite, overlay": (0.64, 0.28, 0.29, 0.29),
        "Gemma-3-27b, masked": (0.65, 0.31, 0.31, 0.28),
        "Gemma-3-27b, overlay": (0.51, 0.22, 0.23, 0.26),
        "deletion & insertion": (0.46, 0.29, 0.28, 0.33),
        "Average Drop": (0.34, 0.22, 0.22, 0.19),
        "AOPC": (0.11, 0.21, 0.21, 0.11),
    }.items()
}
"""Pearson of score and reference, 700 COCO pictures, ResNet18 with Grad-CAM."""

MASKS = {
    "(25, 0.4), Gemini-2.5-flash-lite": {"human": 0.64},
    "(15, 0.6), Gemini-2.5-flash-lite": {"human": 0.67},
    "(25, 0.7), Gemini-2.5-flash-lite": {"human": 0.66},
    "overlay, Gemini-2.5-flash-lite": {"human": 0.64},
    "(25, 0.4), Gemini-1.5-flash": {"human": 0.50},
    "(15, 0.6), Gemini-1.5-flash": {"human": 0.64},
    "(25, 0.7), Gemini-1.5-flash": {"human": 0.63},
    "overlay, Gemini-1.5-flash": {"human": 0.41},
}
"""Alpha and beta of the mask; the second judge is the first version's."""

PROMPTS = {
    "original, Gemma-3-27b": {"human": 0.651, "iou": 0.316},
    "extended, Gemma-3-27b": {"human": 0.640, "iou": 0.306},
    "concise, Gemma-3-27b": {"human": 0.651, "iou": 0.301},
}

LABELS = {
    "COCO, 700 pictures": {
        "Wrong-High": (0.829, 0.924, 0.864, 0.893),
        "confident learning": (0.864, 0.871, 0.981, 0.922),
        "prune by noise rate": (0.898, 0.915, 0.967, 0.940),
        "low self-confidence": (0.884, 0.881, 0.993, 0.934),
        "low normalised margin": (0.855, 0.866, 0.975, 0.917),
    },
    "ImageNet, 518 pictures": {
        "Wrong-High": (0.828, 0.843, 0.932, 0.885),
        "confident learning": (0.735, 0.758, 0.924, 0.832),
        "prune by noise rate": (0.723, 0.722, 0.994, 0.836),
        "low self-confidence": (0.742, 0.762, 0.929, 0.837),
        "low normalised margin": (0.716, 0.747, 0.911, 0.821),
    },
}
"""Accuracy, precision, recall and F1, positive = the label is fine; Tables 5 and 6."""

console = Console(highlight=False)


def show_rate(having: int, total: int) -> str:
    """Return a share in % with its 95 % Wilson interval; a dash where there is nothing.

    Example:
        >>> show_rate(5, 20), show_rate(0, 0)
        ('25.0 (11.2 to 46.9)', '-')
    """
    if not total:
        return "-"
    lower, upper = wilson_interval(having, total)
    return f"{100 * having / total:.1f} ({100 * lower:.1f} to {100 * upper:.1f})"


def show_mean(values: Sequence[float]) -> str:
    """Return a mean with its 95 % interval (normal); without one of fewer than two values.

    Example:
        >>> show_mean([1.0, 3.0]), show_mean([2.0]), show_mean([])
        ('2.00 (0.04 to 3.96)', '2.00', '-')
    """
    if not values:
        return "-"
    mean = fmean(values)
    if len(values) < 2:
        return f"{mean:.2f}"
    half = 1.96 * stdev(values) / math.sqrt(len(values))
    return f"{mean:.2f} ({mean - half:.2f} to {mean + half:.2f})"


def say_machine() -> None:
    """Print what this ran on."""
    console.print(
        f"Ran on {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, lightning {lightning.__version__}.",
        soft_wrap=True,
    )


def stop(message: str) -> None:
    """End the script with a message, status 2."""
    print(message, file=sys.stderr)
    raise SystemExit(2)

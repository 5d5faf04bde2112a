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

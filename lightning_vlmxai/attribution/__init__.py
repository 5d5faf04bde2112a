"""Saliency maps of a live model: leaf capture, CAM formulas, target layers."""

from .capture import Capture, capture
from .layers import find_target_layer, resolve_target_layer
from .methods import METHODS, normalize_saliency

__all__ = [
    "METHODS",
    "Capture",
    "capture",
    "find_target_layer",
    "normalize_saliency",
    "resolve_target_layer",
]

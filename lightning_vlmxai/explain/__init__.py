"""A live model and probes go in; explanations come out, and the model as it was."""

from .explainer import Explainer, make_request
from .live import LiveModel, isolated_generators, isolated_rng
from .masking import apply_mask, mask_iou, overlay

__all__ = [
    "Explainer",
    "LiveModel",
    "apply_mask",
    "isolated_generators",
    "isolated_rng",
    "make_request",
    "mask_iou",
    "overlay",
]

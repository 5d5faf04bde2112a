"""A live model and probes go in; explanations come out, and the model as it was."""

from .explainer import Explainer, ask_with_gradients, make_request
from .live import LiveModel, isolated_generators, isolated_rng
from .masking import apply_mask, mask_iou, overlay
from .proof import find_disagreements, share_agreed
from .watch import Watch

__all__ = [
    "Explainer",
    "LiveModel",
    "Watch",
    "apply_mask",
    "ask_with_gradients",
    "find_disagreements",
    "isolated_generators",
    "isolated_rng",
    "make_request",
    "mask_iou",
    "overlay",
    "share_agreed",
]

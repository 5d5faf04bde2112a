"""A live model and probes go in; explanations come out, and the model as it was."""

from .binding import Bound, bind
from .caption_words import explain_captions
from .explainer import Explainer, default_method
from .fingerprint import fingerprint_weights
from .isolation import Changes, Proof, copy_module, name_few
from .known_targets import KnownTargets
from .live import LiveModel
from .map_health import MapHealth, look_at_health
from .masking import apply_mask, mask_iou, overlay, soft_mask
from .pointing import find_fault, spread
from .proof import disagreement, find_disagreements, share_agreed
from .requests import ask_with_another_picture, ask_with_gradients, make_request
from .rng import isolated_generators, isolated_rng
from .watch import Called, Watch
from .watch_texts import IMAGE_METHODS, TextWatch

__all__ = [
    "IMAGE_METHODS",
    "Bound",
    "Called",
    "Changes",
    "Explainer",
    "KnownTargets",
    "LiveModel",
    "MapHealth",
    "Proof",
    "TextWatch",
    "Watch",
    "apply_mask",
    "ask_with_another_picture",
    "ask_with_gradients",
    "bind",
    "copy_module",
    "default_method",
    "disagreement",
    "explain_captions",
    "find_disagreements",
    "find_fault",
    "fingerprint_weights",
    "isolated_generators",
    "isolated_rng",
    "look_at_health",
    "make_request",
    "mask_iou",
    "name_few",
    "overlay",
    "share_agreed",
    "soft_mask",
    "spread",
]

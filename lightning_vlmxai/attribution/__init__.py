"""A live model and inputs go in; saliency maps come out."""

from .attribute import LAYERLESS, METHODS, OF_ATTENTION, attribute, find_method
from .capture import Capture, capture
from .grids import Reshape, fold
from .head import find_head, randomized, seen_by_head
from .hooks import Place, put
from .layers import Target, candidates, find_target_layer, locate, resolve_target_layer
from .methods import normalize_saliency
from .perturbation import Perturbation
from .pointing import Losses, find_losses
from .subject import Attribution, Subject
from .words import TextTower, Words, explain_words, find_text_tower

__all__ = [
    "LAYERLESS",
    "METHODS",
    "OF_ATTENTION",
    "Attribution",
    "Capture",
    "Losses",
    "Perturbation",
    "Place",
    "Reshape",
    "Subject",
    "Target",
    "TextTower",
    "Words",
    "attribute",
    "candidates",
    "capture",
    "explain_words",
    "find_head",
    "find_losses",
    "find_method",
    "find_target_layer",
    "find_text_tower",
    "fold",
    "locate",
    "normalize_saliency",
    "put",
    "randomized",
    "resolve_target_layer",
    "seen_by_head",
]

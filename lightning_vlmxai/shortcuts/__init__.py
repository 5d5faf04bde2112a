"""Judged samples and the live model go in; the cue a class rests on, and its effect, come out."""

from .finding import LIMIT, Shortcut, find_shortcuts, rests_elsewhere, spoken_of, try_cause
from .interventions import Change, Effect, draw_elsewhere, erase, erase_effect, paste, paste_effect
from .likeness import Likeness, measure_likeness
from .places import Box, Place, find_place
from .topics import (
    Spoken,
    Topic,
    find_topics,
    normalize_phrase,
    ratio_interval,
)

__all__ = [
    "LIMIT",
    "Box",
    "Change",
    "Effect",
    "Likeness",
    "Place",
    "Shortcut",
    "Spoken",
    "Topic",
    "draw_elsewhere",
    "erase",
    "erase_effect",
    "find_place",
    "find_shortcuts",
    "find_topics",
    "measure_likeness",
    "normalize_phrase",
    "paste",
    "paste_effect",
    "ratio_interval",
    "rests_elsewhere",
    "spoken_of",
    "try_cause",
]

"""Judged samples and the live model go in; the cue a class rests on, and its effect, come out."""

from .finding import (
    LIMIT,
    Shortcut,
    cue_region,
    find_shortcuts,
    rests_elsewhere,
    right_classes,
    spoken_of,
    try_cause,
)
from .groups import Group, count_groups
from .interventions import Change, Effect, draw_elsewhere, erase, erase_effect, paste, paste_effect
from .likeness import Likeness, measure_likeness
from .places import Box, Place, find_place
from .shown import Shown
from .topics import (
    Spoken,
    Topic,
    find_topics,
    normalize_phrase,
    ratio_interval,
)
from .training import Cue, TrainingList, TrainingPicture, learn_cue

__all__ = [
    "LIMIT",
    "Box",
    "Change",
    "Cue",
    "Effect",
    "Group",
    "Likeness",
    "Place",
    "Shortcut",
    "Shown",
    "Spoken",
    "Topic",
    "TrainingList",
    "TrainingPicture",
    "count_groups",
    "cue_region",
    "draw_elsewhere",
    "erase",
    "erase_effect",
    "find_place",
    "find_shortcuts",
    "find_topics",
    "learn_cue",
    "measure_likeness",
    "normalize_phrase",
    "paste",
    "paste_effect",
    "ratio_interval",
    "rests_elsewhere",
    "right_classes",
    "spoken_of",
    "try_cause",
]

"""A validation's batches go in, as they pass by; the fixed probe set of the rounds comes out."""

from .collector import ProbeCollector
from .loaders import Loaded
from .making import mask_values
from .names import choose_names, find_names
from .normalizations import Normalization
from .passed import Passed
from .pictures import read_picture
from .probe_set import ProbeSet, ProbeSettings
from .reference_masks import understand
from .samples import Item, unpack_dense, unpack_for, unpack_item, unpack_unlabelled
from .stream import ProbeStream, Streamed
from .training_rows import TrainingRow, TrainingRows

__all__ = [
    "Item",
    "Loaded",
    "Normalization",
    "Passed",
    "ProbeCollector",
    "ProbeSet",
    "ProbeSettings",
    "ProbeStream",
    "Streamed",
    "TrainingRow",
    "TrainingRows",
    "choose_names",
    "find_names",
    "mask_values",
    "read_picture",
    "understand",
    "unpack_dense",
    "unpack_for",
    "unpack_item",
    "unpack_unlabelled",
]

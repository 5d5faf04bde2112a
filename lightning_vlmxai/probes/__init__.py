"""A validation's batches go in, as they pass by; the fixed probe set of the rounds comes out."""

from .collector import ProbeCollector
from .loaders import Loaded
from .normalizations import Normalization
from .probe_set import ProbeSet, ProbeSettings
from .samples import Item, unpack_dense, unpack_item

__all__ = [
    "Item",
    "Loaded",
    "Normalization",
    "ProbeCollector",
    "ProbeSet",
    "ProbeSettings",
    "unpack_dense",
    "unpack_item",
]

"""The batches of a validation go by; the fixed probe set that the rounds explain comes out."""

from .datasets import Normalization, find_dataset
from .probe_set import ProbeCollector, ProbeSet, ProbeSettings
from .samples import Item, unpack_dense, unpack_item

__all__ = [
    "Item",
    "Normalization",
    "ProbeCollector",
    "ProbeSet",
    "ProbeSettings",
    "find_dataset",
    "unpack_dense",
    "unpack_item",
]

"""A validation data set goes in; the fixed probe set that the rounds explain comes out."""

from .datasets import Normalization, find_dataset
from .probe_set import ProbeReader, ProbeSet
from .samples import Item, unpack_item

__all__ = [
    "Item",
    "Normalization",
    "ProbeReader",
    "ProbeSet",
    "find_dataset",
    "unpack_item",
]

"""Small networks of every kind, and pictures whose class stands in one of 24 cells."""

from .data import CELL, CLASSES, GRID, draw
from .models import MINIS
from .training import hit_rate, train

__all__ = ["CELL", "CLASSES", "GRID", "MINIS", "draw", "hit_rate", "train"]

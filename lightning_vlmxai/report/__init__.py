"""A run folder as a page to look through, and as a table in the terminal."""

from .compare import write_comparison
from .page import write_report

__all__ = ["write_comparison", "write_report"]

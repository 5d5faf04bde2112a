"""A run folder as a page to look through, and as a table in the terminal."""

from .compare import write_comparison
from .page import write_report
from .summary import print_summary
from .watch import ReportServer

__all__ = ["ReportServer", "print_summary", "write_comparison", "write_report"]

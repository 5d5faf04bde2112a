"""A run folder goes in; a page to look through, or a table in the terminal, comes out."""

from .compare import make_comparison, write_comparison
from .page import make_report, write_report
from .pictures import PictureCache
from .reader import find_run_dir, is_run_dir
from .summary import print_summary
from .watch import ReportServer

__all__ = [
    "PictureCache",
    "ReportServer",
    "find_run_dir",
    "is_run_dir",
    "make_comparison",
    "make_report",
    "print_summary",
    "write_comparison",
    "write_report",
]

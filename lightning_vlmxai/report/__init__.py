"""A run folder goes in; a page to look through, or a table in the terminal, comes out."""

from .agreements import Agreements, Pair, agree_round, write_agreements
from .compare import make_comparison, say_comparison, write_comparison
from .corrected import Corrected, correct_run
from .export import (
    FORMATS,
    SORTS,
    UNSCORED,
    Filters,
    choose_rounds,
    list_rows,
    write_rows,
    write_table,
)
from .findings import History
from .grouping import GROUP_COLUMNS, group_round, list_group_rows
from .label_page import METHOD_NAMES, write_label_page
from .labels import LabelledRound, Suspect, list_suspects, read_labelled, to_rows
from .metadata import read_metadata
from .page import make_report, write_report
from .pictures import PictureCache
from .ratings import Ratings, find_twins, load_ratings, read_ratings, store_ratings
from .reader import find_run_dir, is_run_dir, read_run
from .run import Run
from .summary import print_summary
from .watch import ReportServer

__all__ = [
    "FORMATS",
    "GROUP_COLUMNS",
    "METHOD_NAMES",
    "SORTS",
    "UNSCORED",
    "Agreements",
    "Corrected",
    "Filters",
    "History",
    "LabelledRound",
    "Pair",
    "PictureCache",
    "Ratings",
    "ReportServer",
    "Run",
    "Suspect",
    "agree_round",
    "choose_rounds",
    "correct_run",
    "find_run_dir",
    "find_twins",
    "group_round",
    "is_run_dir",
    "list_group_rows",
    "list_rows",
    "list_suspects",
    "load_ratings",
    "make_comparison",
    "make_report",
    "print_summary",
    "read_labelled",
    "read_metadata",
    "read_ratings",
    "read_run",
    "say_comparison",
    "store_ratings",
    "to_rows",
    "write_agreements",
    "write_comparison",
    "write_label_page",
    "write_report",
    "write_rows",
    "write_table",
]

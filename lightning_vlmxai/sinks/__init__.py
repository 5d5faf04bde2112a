"""A closed round goes in; a logger's pictures and curves, or a run folder's lines, come out."""

from .audit_count import AuditCount, close_again, close_audit, count_audit
from .audit_folder import AuditFolder, Judged, find_done
from .base import (
    AlertSink,
    EarlySink,
    ReportSink,
    Sink,
    finish_sinks,
    is_lightning,
    metric_name,
    prefixed_metrics,
)
from .batch_answers import Filled, fill_answers
from .loggers import make_sinks
from .metrics import MetricsSink
from .run_folder import RunFolderSink, add_gate, claim_folder, read_settings
from .shortcuts import ShortcutsFound, write_shortcuts
from .words import printable

__all__ = [
    "AlertSink",
    "AuditCount",
    "AuditFolder",
    "EarlySink",
    "Filled",
    "Judged",
    "MetricsSink",
    "ReportSink",
    "RunFolderSink",
    "ShortcutsFound",
    "Sink",
    "add_gate",
    "claim_folder",
    "close_again",
    "close_audit",
    "count_audit",
    "fill_answers",
    "find_done",
    "finish_sinks",
    "is_lightning",
    "make_sinks",
    "metric_name",
    "prefixed_metrics",
    "printable",
    "read_settings",
    "write_shortcuts",
]

"""Where a round goes: Lightning's loggers and the run folder."""

from .base import Sink, metric_name, prefixed_metrics
from .loggers import make_sinks
from .run_folder import RunFolderSink, find_free_folder

__all__ = [
    "RunFolderSink",
    "Sink",
    "find_free_folder",
    "make_sinks",
    "metric_name",
    "prefixed_metrics",
]

"""Where a round goes: Lightning's loggers and the run folder."""

from .base import Sink, metric_name, prefixed_metrics
from .loggers import make_sinks
from .run_folder import RunFolderSink

__all__ = ["RunFolderSink", "Sink", "make_sinks", "metric_name", "prefixed_metrics"]

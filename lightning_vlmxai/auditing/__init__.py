"""What a command line calls a model and its data goes in; what a Trainer runs comes out."""

from .bar import AuditBar
from .class_map import ClassMap, MergedOutputs, map_classes, read_labels
from .data import AuditRows, BadPicture, Collate, choose_rows
from .models import OpenedModel, count_outputs, names_of, open_model
from .module import AuditModule, unpack_row
from .opening import open_source
from .plan import TASKS, Plan, make_plan
from .presets import Preset

__all__ = [
    "TASKS",
    "AuditBar",
    "AuditModule",
    "AuditRows",
    "BadPicture",
    "ClassMap",
    "Collate",
    "MergedOutputs",
    "OpenedModel",
    "Plan",
    "Preset",
    "choose_rows",
    "count_outputs",
    "make_plan",
    "map_classes",
    "names_of",
    "open_model",
    "open_source",
    "read_labels",
    "unpack_row",
]

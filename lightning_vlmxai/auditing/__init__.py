"""What a command line calls a model and its data goes in; what a Trainer runs comes out."""

from .class_map import ClassMap, MergedOutputs, map_classes, read_labels
from .class_paths import call_named
from .data import AuditRows, BadPicture, Chosen, Collate, choose_rows, first_input, input_size
from .models import OpenedModel, count_outputs, names_of, open_model
from .module import AuditModule, unpack_row
from .opening import open_source
from .presets import Preset

__all__ = [
    "AuditModule",
    "AuditRows",
    "BadPicture",
    "Chosen",
    "ClassMap",
    "Collate",
    "MergedOutputs",
    "OpenedModel",
    "Preset",
    "call_named",
    "choose_rows",
    "count_outputs",
    "first_input",
    "input_size",
    "map_classes",
    "names_of",
    "open_model",
    "open_source",
    "read_labels",
    "unpack_row",
]

"""See, while a Lightning run trains, whether a vision model is right for the right reason."""

from .callback import VLMExplainCallback
from .errors import (
    AttributionError,
    ConfigurationError,
    JudgeError,
    ProbeError,
    VLMExplainError,
)
from .judges import Judge, ReferenceMaskJudge, VLMJudge
from .probe import Item
from .records import Explanation, Probe, Quadrant, Round, Sample, UnscoredReason, Verdict
from .stopping import QuadrantStopping
from .tasks import Classification, Task

__all__ = [
    "AttributionError",
    "Classification",
    "ConfigurationError",
    "Explanation",
    "Item",
    "Judge",
    "JudgeError",
    "Probe",
    "ProbeError",
    "Quadrant",
    "QuadrantStopping",
    "ReferenceMaskJudge",
    "Round",
    "Sample",
    "Task",
    "UnscoredReason",
    "VLMExplainCallback",
    "VLMExplainError",
    "VLMJudge",
    "Verdict",
]

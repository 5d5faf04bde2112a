"""See, while a Lightning run trains, whether a vision model is right for the right reason."""

from .attribution import Perturbation
from .callbacks import QuadrantStopping, VLMAuditCallback, VLMExplainCallback
from .errors import (
    AttributionError,
    ConfigurationError,
    JudgeError,
    ProbeError,
    VLMExplainError,
)
from .judges import BatchFileJudge, Budget, Judge, ReferenceMaskJudge, VLMJudge
from .probes import Item
from .records import Explanation, Probe, Quadrant, Round, Sample, UnscoredReason, Verdict
from .tasks import (
    BinaryClassification,
    BinarySegmentation,
    Classification,
    ImageText,
    MultiLabelClassification,
    Segmentation,
    Task,
    ZeroShot,
)

__all__ = [
    "AttributionError",
    "BatchFileJudge",
    "BinaryClassification",
    "BinarySegmentation",
    "Budget",
    "Classification",
    "ConfigurationError",
    "Explanation",
    "ImageText",
    "Item",
    "Judge",
    "JudgeError",
    "MultiLabelClassification",
    "Perturbation",
    "Probe",
    "ProbeError",
    "Quadrant",
    "QuadrantStopping",
    "ReferenceMaskJudge",
    "Round",
    "Sample",
    "Segmentation",
    "Task",
    "UnscoredReason",
    "VLMAuditCallback",
    "VLMExplainCallback",
    "VLMExplainError",
    "VLMJudge",
    "Verdict",
    "ZeroShot",
]

"""A Trainer's hooks come in; explained validations, audits, figures and a gate go out."""

from .quadrant_stopping import QuadrantStopping
from .vlm_audit import VLMAuditCallback
from .vlm_explain import VLMExplainCallback

__all__ = ["QuadrantStopping", "VLMAuditCallback", "VLMExplainCallback"]

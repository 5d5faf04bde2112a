"""A Trainer's hooks come in; explained validations, figures and a gate go out."""

from .quadrant_stopping import QuadrantStopping
from .vlm_explain import VLMExplainCallback

__all__ = ["QuadrantStopping", "VLMExplainCallback"]

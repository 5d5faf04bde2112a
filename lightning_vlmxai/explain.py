"""The whole GPU part of a round: probes in, explanations out. Knows no Trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from .attribution import (
    METHODS,
    capture,
    find_target_layer,
    normalize_saliency,
    resolve_target_layer,
)
from .errors import ConfigurationError, expected
from .live import borrowed
from .masking import soft_mask
from .records import Explanation, JudgeRequest, Probe
from .tasks import Classification, Prediction, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """How probes are explained; call it with a module and probes.

    Args:
        task: How the model's output is read.
        method: Name of a method in `attribution.METHODS`.
        target_layer: Dotted name of the layer; found at every call if None.
        class_names: Name of each class; their numbers if None.
        alpha: Sharpness of the mask (Eq. 1).
        beta: Threshold of the mask (Eq. 1).
        batch_size: How many probes are explained at a time.
    """

    task: Task = field(default_factory=Classification)
    method: str = "gradcam"
    target_layer: str | None = None
    class_names: tuple[str, ...] | None = None
    alpha: float = 15.0
    beta: float = 0.6
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigurationError(
                expected("method", f"one of {', '.join(METHODS)}", repr(self.method), "Pass one")
            )

    def __call__(
        self,
        module: nn.Module,
        probes: Sequence[Probe],
        *,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> list[Explanation]:
        """Return an explanation of each probe, in order; the module is left as it was.

        Args:
            module: The live model.
            probes: To explain.
            context: What the forward runs under, such as the trainer's autocast.

        Raises:
            AttributionError: If the model can't be explained as asked.
            ConfigurationError: If labels or class names don't fit the model.
        """
        with borrowed(module):
            return [
                explanation
                for _, group in groupby(probes, key=lambda probe: probe.input.shape)
                for batch in _batches(list(group), self.batch_size)
                for explanation in self._explain(module, batch, context)
            ]

    def _explain(
        self,
        module: nn.Module,
        probes: Sequence[Probe],
        context: Callable[[], AbstractContextManager[Any]],
    ) -> list[Explanation]:
        inputs = _to_module(torch.stack([probe.input for probe in probes]), module)
        predictions: list[Prediction] = []

        def target(output: Any) -> Tensor:
            predictions.append(self.task.predict(output))
            return predictions[-1].scores

        with context():
            name = self.target_layer or find_target_layer(module, inputs[:1])
            layer = resolve_target_layer(module, name)
            captured = capture(module, layer, inputs, target)
        (prediction,) = predictions
        self._check_class_names(prediction.num_classes)
        raw = METHODS[self.method](captured)
        height, width = probes[0].input.shape[-2:]
        saliency = normalize_saliency(raw, size=(height, width)).cpu()
        masks = soft_mask(saliency, alpha=self.alpha, beta=self.beta)
        blank = saliency.flatten(1).amax(dim=1) == 0
        classes, confidences = prediction.classes.tolist(), prediction.confidences.tolist()
        explanations = []
        for i, probe in enumerate(probes):
            label = self.task.label_of(probe.target, prediction.num_classes)
            explanations.append(
                Explanation(
                    probe_index=probe.index,
                    label=label,
                    label_name=self._name_of(label),
                    prediction=classes[i],
                    prediction_name=self._name_of(classes[i]),
                    confidence=confidences[i],
                    is_correct=self.task.is_correct(classes[i], probe.target),
                    pixels=probe.pixels,
                    saliency=saliency[i],
                    mask=masks[i],
                    reference_mask=probe.reference_mask,
                    is_blank=bool(blank[i]),
                )
            )
        return explanations

    def _check_class_names(self, num_classes: int) -> None:
        if self.class_names is not None and len(self.class_names) != num_classes:
            raise ConfigurationError(
                expected(
                    "class_names",
                    f"{num_classes} names, one for each output of the model",
                    f"{len(self.class_names)} names",
                    "Pass `class_names` in the order of the model's outputs",
                )
            )

    def _name_of(self, index: int) -> str:
        return str(index) if self.class_names is None else self.class_names[index]


def make_request(explanation: Explanation, *, round_number: int = 0) -> JudgeRequest:
    """Return what a judge is told about an explanation: the predicted label, never the true one."""
    return JudgeRequest(
        probe_index=explanation.probe_index,
        label_name=explanation.prediction_name,
        pixels=explanation.pixels,
        mask=explanation.mask,
        saliency=explanation.saliency,
        reference_mask=explanation.reference_mask,
        round_number=round_number,
    )


def _batches(probes: Sequence[Probe], size: int) -> list[Sequence[Probe]]:
    return [probes[start : start + size] for start in range(0, len(probes), size)]


def _to_module(inputs: Tensor, module: nn.Module) -> Tensor:
    """Return the inputs on the module's device and in the dtype of its parameters."""
    parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return inputs
    dtype = parameter.dtype if inputs.is_floating_point() else None
    return inputs.to(device=parameter.device, dtype=dtype)

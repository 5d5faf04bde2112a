"""Every method by its name, and the one function that runs any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AttributionError, ConfigurationError, expected
from .clip import clip_exact, gradeclip
from .methods import (
    cam,
    eigencam,
    gradcam,
    gradcam_plus_plus,
    hirescam,
    layercam,
    xgradcam,
)
from .mmel import mmel
from .perturbation import Perturbation, ablationcam, occlusion, rise, scorecam
from .subject import Attribution, Subject

Method = Callable[[Subject, Perturbation], Attribution]

GUEST_PREFIX = "pytorch_grad_cam."


def attribute(
    subject: Subject, method: str = "gradcam", *, perturbation: Perturbation | None = None
) -> Attribution:
    """Return the raw saliency maps of a batch by any method.

    Call it inside `live.borrowed`.

    Args:
        subject: What is explained.
        method: A name in `METHODS`, or the path of a pytorch-grad-cam class.
        perturbation: Bounds of the perturbation methods.

    Raises:
        AttributionError: If the model can't be explained so.
        ConfigurationError: If there is no such method.
    """
    return find_method(method)(subject, perturbation or Perturbation())


def find_method(name: str) -> Method:
    """Return the method of that name, or of that pytorch-grad-cam class.

    Raises:
        ConfigurationError: If there is none, or it would harm a live model.
    """
    if name in METHODS:
        return METHODS[name]
    if name.startswith(GUEST_PREFIX):
        from .external import load_guest  # only who asks for a guest pays for its imports

        return load_guest(name)
    raise ConfigurationError(
        expected(
            "method",
            f"one of {', '.join(METHODS)}, or a class path such as {GUEST_PREFIX}FinerCAM",
            repr(name),
            "Pass one",
        )
    )


def _from_capture(formula: Callable[..., Tensor], *, gradients: bool = True) -> Method:
    def method(subject: Subject, _options: Perturbation) -> Attribution:
        captured, prediction = subject.capture(gradients=gradients)
        taken = [t for t in (captured.activations, captured.gradients) if t is not None]
        return Attribution(raw=formula(*taken), prediction=prediction)

    return method


def _cam(subject: Subject, _options: Perturbation) -> Attribution:
    """Run CAM where the layer's spatial mean is what the last linear layer is given."""
    linears: list[tuple[nn.Linear, Tensor]] = []

    def note(module: nn.Module, args: Any, _output: Any) -> None:
        if isinstance(module, nn.Linear):
            linears.append((module, args[0]))

    handles = [
        child.register_forward_hook(note)
        for child in subject.module.modules()
        if isinstance(child, nn.Linear)
    ]
    try:
        captured, prediction = subject.capture(gradients=False)
    finally:
        for handle in handles:
            handle.remove()
    pooled = captured.activations.mean(dim=(2, 3))
    for linear, features in linears[-1:]:
        # Half precision pools and rounds by itself.
        slack = 1e-4 if features.dtype == torch.float32 else 3e-2
        if features.shape == pooled.shape and torch.allclose(
            features.float(), pooled, rtol=slack, atol=slack * float(pooled.abs().amax())
        ):
            weights = linear.weight.detach().float()
            if linear.out_features == 1:
                signs = 2 * prediction.classes[:, None] - 1
                weights = weights * signs
            else:
                weights = weights[prediction.classes]
            return Attribution(raw=cam(captured.activations, weights), prediction=prediction)
    raise AttributionError(
        expected(
            "method",
            "one that fits the model (CAM needs global average pooling between the target layer "
            "and one linear layer)",
            "'cam'",
            'Pass `method="auto"`, or name as `target_layer` the layer that is pooled',
        )
    )


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "gradcam": _from_capture(gradcam),
        "gradcam++": _from_capture(gradcam_plus_plus),
        "xgradcam": _from_capture(xgradcam),
        "hirescam": _from_capture(hirescam),
        "layercam": _from_capture(layercam),
        "eigencam": _from_capture(eigencam, gradients=False),
        "cam": _cam,
        "scorecam": scorecam,
        "ablationcam": ablationcam,
        "clip_exact": clip_exact,
        "gradeclip": gradeclip,
        "mmel": mmel,
        "rise": rise,
        "occlusion": occlusion,
    }
)
"""Every native method by the name that `VLMExplainCallback(method=...)` takes."""

OF_ATTENTION = frozenset({"clip_exact", "gradeclip", "mmel"})
"""The methods that find by themselves the attention with which a network looks at a picture."""

LAYERLESS = frozenset({"rise", "occlusion"}) | OF_ATTENTION
"""The methods that need no target layer."""

"""Any pytorch-grad-cam class as a guest, fed through a stand-in so that it can't touch the model.

A guest calls `eval()` and `zero_grad()` on its model, hooks its layers and runs `backward()`. Here
its model is a stand-in that has no part of the live one: the live model runs with detached
parameters, cut at the target layer, and what the guest hooks is an identity at the cut. So its
gradients end there, and no `.grad`, flag or hook of the live model changes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_grad_cam
import torch
from torch import Tensor, nn

from ..calls import Call, StepCall
from ..errors import AttributionError, ConfigurationError, expected
from ..tasks import Classification, Prediction, logits_of
from .hooks import changed
from .perturbation import Perturbation
from .subject import Attribution, Subject

_REFUSED = {
    "FullGrad": "it needs the gradient at every bias, a backward through the whole network",
    "ShapleyCAM": "it needs second derivatives, through a graph of the whole network",
    "GuidedBackpropReLUModel": "it replaces the live model's ReLUs",
    "AblationCAM": "it replaces layers in the model; method='ablationcam' doesn't",
}


def load_guest(path: str) -> Callable[[Subject, Perturbation], Attribution]:
    """Return the method that runs a pytorch-grad-cam class.

    Args:
        path: `"pytorch_grad_cam.Name"`.

    Raises:
        ConfigurationError: If there is no such class, or it can't be run without harm.
    """
    name = path.split(".")[-1]
    if name in _REFUSED:
        raise ConfigurationError(
            expected(
                "method",
                "a class that can run on a live model",
                f"{path!r} ({_REFUSED[name]})",
                'Pass `method="auto"`',
            )
        )
    guest = getattr(pytorch_grad_cam, name, None)
    takes = _parameters(guest) if inspect.isclass(guest) else []
    if (
        path != f"pytorch_grad_cam.{name}"
        or guest is None
        or takes[:2] != ["model", "target_layers"]
        or "targets" not in _parameters(getattr(guest, "forward", guest))
    ):
        raise ConfigurationError(
            expected(
                "method",
                "the path of a CAM class of pytorch-grad-cam",
                repr(path),
                'Pass one such as `method="pytorch_grad_cam.FinerCAM"`',
            )
        )
    return partial(_run, guest)


def _run(guest: Any, subject: Subject, _options: Perturbation) -> Attribution:
    stand_in = _StandIn(subject)
    targets: list[Any] | None = [partial(stand_in.score, i) for i in range(len(subject.images))]
    if guest.__name__ == "FinerCAM":
        # It weighs the predicted class against its rivals; a target of ours would undo that.
        if type(subject.task) is not Classification:
            raise AttributionError(
                expected(
                    "task",
                    "Classification for FinerCAM, which compares classes",
                    type(subject.task).__name__,
                    'Pass `method="auto"`',
                )
            )
        targets = None
    with torch.enable_grad():
        running = guest(
            stand_in,
            [stand_in.cut],
            # NumPy, where a guest works, knows no bfloat16.
            reshape_transform=lambda features: subject.as_map(features).float(),
        )
        try:
            raw = running(subject.images, targets)
        finally:
            del running  # releases its hooks
    if stand_in.prediction is None:
        raise TypeError(f"{guest.__name__} returned without having called its model.")
    return Attribution(
        raw=torch.as_tensor(raw, dtype=torch.float32), prediction=stand_in.prediction
    )


class _StandIn(nn.Module):
    """A model for the guest: the live one's output, with an identity where it is cut."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.cut = nn.Identity()
        self.device_of = nn.Parameter(torch.zeros((), device=subject.images.device))
        # In a list, so that it doesn't become a submodule: zero_grad() would reach it.
        self._subject = [subject]
        self.prediction: Prediction | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the live model's logits, with a graph from the cut on."""
        (subject,) = self._subject

        runs = 0

        def pass_on(features: Tensor) -> Tensor:
            nonlocal runs
            runs += 1
            if runs > 1:
                raise AttributionError(
                    expected(
                        "method",
                        "a native one at a layer that runs several times",
                        "a guest",
                        'Pass `method="auto"`',
                    )
                )
            torch.set_grad_enabled(True)
            # The clone keeps in-place operations behind the layer off what the guest saw.
            cut: Tensor = self.cut(features.detach().requires_grad_()).clone()
            return cut

        detached = {name: p.detach() for name, p in subject.module.named_parameters()}
        with torch.no_grad(), changed(subject.layer, pass_on, subject.place):
            args, kwargs = self._call(inputs).arguments
            answer = torch.func.functional_call(subject.module, detached, args, kwargs)
            output = subject.call.answer(answer)
            with torch.enable_grad():
                if self.prediction is None:
                    self.prediction = subject.task.predict(output).detach()
                return logits_of(output).float()

    def _call(self, inputs: Tensor) -> Call:
        """Return the call with the guest's pictures."""
        (subject,) = self._subject
        call = subject.call
        got = ""
        if isinstance(call, StepCall):
            got = "a guest, which calls networks, where the step as a whole is explained"
        elif call.others and len(inputs) != call.size:
            got = "a guest that changes the number of pictures of a network with several inputs"
        if got:
            remedy = 'Pass `method="auto"`'
            raise AttributionError(expected("method", "a native one here", got, remedy))
        return call.with_images(inputs)

    def score(self, row: int, logits: Tensor) -> Tensor:
        """Return the explained score of one sample's logits."""
        (subject,) = self._subject
        if self.prediction is None:
            raise TypeError("A target is asked after the model has run.")
        prediction = self.prediction.rows(torch.tensor([row], device=logits.device))
        return subject.task.score(logits[None], prediction)[0]


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)

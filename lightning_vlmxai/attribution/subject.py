"""What is explained: a model, its layer, a batch and how the output is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..calls import Call, as_call
from ..tasks import Prediction, Task
from .capture import Capture, capture
from .grids import Reshape, make_reshape
from .hooks import Place
from .reading import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """What a method found.

    Args:
        raw: Saliency, `[B, h, w]` float32, on the layer's grid or the picture's; not normalised.
        prediction: What was explained, off the graph.
    """

    raw: Tensor
    prediction: Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a method explains.

    Args:
        module: The model, borrowed.
        layer: Its target layer.
        place: Which run of it counts, and what functions make of it; all and none if None.
        inputs: What the model is called with, on its device; a tensor is pictures `[B, C, H, W]`.
        task: How the output is read.
        reshape: From the layer's output to a feature map, where that is the user's choice.
        layout: How the output is read otherwise; by its shape alone, with `grids.fold`, if None.
    """

    module: nn.Module
    layer: nn.Module
    inputs: Tensor | Call
    task: Task
    reshape: Reshape | None = None
    layout: Layout | None = None
    place: Place | None = None

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self.images.shape[-2], self.images.shape[-1]

    @property
    def call(self) -> Call:
        """What the model is called with."""
        return as_call(self.inputs)

    @property
    def images(self) -> Tensor:
        """The pictures that the model is given, `[B, C, H, W]`."""
        return self.inputs.images if isinstance(self.inputs, Call) else self.inputs

    def run(self, images: Tensor, rows: Tensor) -> Any:
        """Return what the model gives to other pictures of some samples.

        Args:
            images: `[N, C, H, W]`.
            rows: Numbers of their samples, `[N]` int64.
        """
        return self.call.take(rows).with_images(images).run(self.module)

    @property
    def as_map(self) -> Reshape:
        """From the layer's output to a feature map."""
        return self._known_map or make_reshape(self.picture_size)

    @property
    def _known_map(self) -> Reshape | None:
        by_evidence = None if self.layout is None else self.layout.to_map
        return self.reshape or by_evidence

    def capture(self, *, gradients: bool = True) -> tuple[Capture, Prediction]:
        """Return the layer's activations, perhaps the score's gradients there, the prediction."""
        predictions: list[Prediction] = []

        def target(output: Any) -> Tensor:
            predictions.append(self.task.predict(output))
            return predictions[-1].scores

        captured = capture(
            self.module,
            self.layer,
            self.inputs,
            target,
            place=self.place,
            reshape=self._known_map,
            gradients=gradients,
        )
        (prediction,) = predictions
        return captured, prediction.detach()

"""What a task is, what it predicts, and where logits are found in a model's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ..errors import AttributionError, ConfigurationError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A batch of predictions.

    Args:
        classes: Predicted class, `[B]` int64.
        confidences: Its probability, `[B]` float32 in [0, 1].
        scores: What is explained, `[B]`; carries the graph to the target layer.
        num_classes: How many classes the model tells apart.
        class_maps: Predicted class of every pixel, `[B, h, w]` int64, where the output is dense.
        from_probabilities: Whether the output was read as probabilities, not as logits.
        features: Embeddings that it is made of, `[B, D]`, where texts decide.
    """

    classes: Tensor
    confidences: Tensor
    scores: Tensor
    num_classes: int
    class_maps: Tensor | None = None
    from_probabilities: bool = False
    features: Tensor | None = None

    def rows(self, index: Tensor) -> Prediction:
        """Return the predictions of those samples.

        Args:
            index: Sample numbers, `[N]` int64; one may come several times.
        """
        return self._map(lambda values: values[index])

    def detach(self) -> Prediction:
        """Return the predictions off the graph."""
        return self._map(lambda values: values.detach())

    def cpu(self) -> Prediction:
        """Return the predictions on the CPU."""
        return self._map(lambda values: values.cpu())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Prediction:
        return replace(
            self,
            classes=change(self.classes),
            confidences=change(self.confidences),
            scores=change(self.scores),
            class_maps=None if self.class_maps is None else change(self.class_maps),
            features=None if self.features is None else change(self.features),
        )


@runtime_checkable
class Task(Protocol):
    """How to read a model's output."""

    def predict(self, output: Any) -> Prediction:
        """Return what the model predicts for a batch."""
        ...

    def score(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the explained score, `[B]`, that another output gives to a prediction."""
        ...

    def confidence(self, output: Any, prediction: Prediction) -> Tensor:
        """Return the probability, `[B]`, that another output gives to a prediction."""
        ...

    def label_of(self, target: Tensor, num_classes: int) -> int:
        """Return the true class of one sample."""
        ...

    def is_correct(self, prediction: Prediction, row: int, target: Tensor) -> bool:
        """Return whether the prediction of one row of the batch counts as right."""
        ...


def logits_of(output: Any) -> Tensor:
    """Return the logits in a model's output, where only one tensor can be meant.

    Args:
        output: A tensor; an object with `.logits` (Hugging Face); a mapping with "logits" or "out"
            (torchvision's segmentation); or what holds one floating tensor beside scalars, which
            are losses.

    Raises:
        AttributionError: If there are none or several, or the model detects objects.

    Example:
        >>> import torch
        >>> logits_of((torch.tensor(0.3), torch.zeros(2, 10))).shape
        torch.Size([2, 10])
    """
    if isinstance(output, Tensor):
        return output
    refuse_detection(output)
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, Mapping):
        found = output.get("logits", output.get("out"))
    tensors = tensors_in(output)
    if not isinstance(found, Tensor) and len(tensors) == 1:
        (found,) = tensors.values()
    if not isinstance(found, Tensor) or found.ndim == 0:
        raise AttributionError(
            expected(
                "forward",
                "a function to logits: a tensor, or an output with `logits` or 'out'",
                f"{type(output).__name__} with {describe_tensors(tensors)}",
                f"Name the logits, as in `output={as_code(next(iter(tensors)))}`"
                if tensors
                else "Return the logits from `forward`",
            )
        )
    return found


def tensors_in(output: Any) -> dict[str | int, Tensor]:
    """Return every floating tensor with a first axis, by what `output=` calls it.

    Args:
        output: Tuples, lists, mappings and objects with attributes are looked into.

    Example:
        >>> import torch
        >>> list(tensors_in((torch.zeros(2, 4), {"head": torch.zeros(2, 10)})))
        [0, '1.head']
    """
    found: dict[str | int, Tensor] = {}

    def look(part: Any, name: str | int, depth: int) -> None:
        if isinstance(part, Tensor):
            is_new = all(part is not other for other in found.values())
            if part.is_floating_point() and part.ndim and is_new:
                found[name] = part
        elif depth < 3:
            for key, value in _parts_of(part):
                look(value, key if depth == 0 else f"{name}.{key}", depth + 1)

    look(output, "", 0)
    return found


def take_part(output: Any, part: str | int) -> Any:
    """Return a part of an output by its name: a key, an attribute, a place, or several with dots.

    Raises:
        AttributionError: If there is none; the message lists what there is.

    Example:
        >>> take_part({"head": ("features", "logits")}, "head.1")
        'logits'
    """
    found = _find_part(output, part)
    if found is not None:
        return found
    tensors = tensors_in(output)
    raise AttributionError(
        expected(
            "output",
            "the name of a part of what the network answers",
            f"{as_code(part)}, of {describe_tensors(tensors)}",
            f"Pass `output={as_code(next(iter(tensors)))}`"
            if tensors
            else "Leave it out: the network answers with one tensor",
        )
    )


def describe_tensors(tensors: Mapping[str | int, Tensor]) -> str:
    """Return the names of tensors with their shapes, in words."""
    return ", ".join(f"{as_code(n)} {list(t.shape)}" for n, t in tensors.items()) or "no tensor"


def as_code(name: str | int) -> str:
    """Return a name as it is written after `output=`."""
    return f'"{name}"' if isinstance(name, str) else str(name)


def refuse_shape(rule: str, shape: Sequence[int]) -> AttributionError:
    """Return the error for an output that a task can't read; the remedy depends on shape alone.

    Args:
        rule: What the task reads.
        shape: Of the output.
    """
    return AttributionError(expected("forward", rule, list(shape), remedy_for(shape)))


def remedy_for(shape: Sequence[int]) -> str:
    """Return what reads an output of some shape.

    Example:
        >>> remedy_for([8, 1])
        'Pass `task=BinaryClassification()` for a single logit'
    """
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        return "Pass `task=BinaryClassification()` for a single logit"
    if len(shape) == 2:
        return "Pass `task=Classification()` for one label a picture"
    if len(shape) == 3 or (len(shape) == 4 and shape[1] == 1):
        return "Pass `task=BinarySegmentation()` for a single logit a pixel"
    if len(shape) == 4:
        return "Pass `task=Segmentation()` for a dense output"
    return "Return the logits, not a loss or features"


def refuse_measure(value: float) -> ConfigurationError:
    """Return the error for a label that is a measure, as in regression."""
    at = f"{value:.3g}"
    return ConfigurationError(
        expected(
            "label",
            "a class",
            f"{value:g}, a measure",
            "Regression is not supported. Below and above a value are two classes, of one logit "
            f"(BinaryClassification): pass `output=lambda y: y - {at}` and "
            f"`unpack=lambda row: Item(image=row[0], target=row[1] > {at})`",
        )
    )


def is_measure(target: Any) -> bool:
    """Return whether a label is a number between two whole ones: no class.

    Example:
        >>> is_measure(0.37), is_measure(1.0), is_measure(2)
        (True, False, False)
    """
    if isinstance(target, Tensor):
        if target.numel() != 1 or not target.is_floating_point():
            return False
        target = target.item()
    return isinstance(target, float) and not target.is_integer()


def is_detection(output: Any) -> bool:
    """Return whether an output holds boxes."""
    return bool(_fields_of(output) & {"boxes", "pred_boxes"})


def _fields_of(output: Any) -> set[Any]:
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    return set(first) if isinstance(first, Mapping) else set(dir(first))


def refuse_detection(output: Any) -> None:
    """Refuse boxes, and masks a query, which no class stands for.

    Raises:
        AttributionError: If there are any.
    """
    if is_detection(output):
        raise AttributionError(
            expected(
                "forward",
                "a function to class logits",
                "boxes",
                "Object detection is not supported; explain a classifier or a segmentation model",
            )
        )
    if "masks_queries_logits" in _fields_of(output):
        raise AttributionError(
            expected(
                "forward",
                "a function to logits [B, K, h, w], a map a class",
                "a mask a query",
                "Pass a function to maps a class, as in `output=lambda answer: torch.einsum("
                "'bqk,bqhw->bkhw', answer.class_queries_logits.softmax(-1)[..., :-1], "
                "answer.masks_queries_logits.sigmoid())`",
            )
        )


def _find_part(output: Any, part: str | int) -> Any:
    """Return a part of an output; None without it."""
    parts = dict(_parts_of(output))
    if part in parts:
        return parts[part]
    head, _, rest = str(part).partition(".")
    found = parts.get(head, getattr(output, head, None) if head.isidentifier() else None)
    if head.lstrip("-").isdigit() and isinstance(output, (tuple, list)):
        number = int(head)
        found = output[number] if -len(output) <= number < len(output) else None
    return _find_part(found, rest) if rest and found is not None else found


def _parts_of(output: Any) -> list[tuple[str | int, Any]]:
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        return list(output._asdict().items())
    if isinstance(output, (tuple, list)):
        return list(enumerate(output))
    if is_dataclass(output) and not isinstance(output, type):
        return [(field.name, getattr(output, field.name)) for field in fields(output)]
    if isinstance(output, (Tensor, type)) or callable(output):
        return []
    return list(getattr(output, "__dict__", {}).items())

"""The whole GPU part of a round: probes in, explanations out. Knows no Trainer."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ..attribution import (
    LAYERLESS,
    Perturbation,
    Place,
    Reshape,
    Subject,
    Target,
    attribute,
    find_method,
    locate,
    normalize_saliency,
    resolve_target_layer,
)
from ..calls import Call, join_calls
from ..errors import AttributionError, ConfigurationError, expected
from ..records import Explanation, Fill, Probe
from ..tasks import (
    BinarySegmentation,
    Classification,
    EmbeddingTask,
    MultiLabelClassification,
    OneLabelEach,
    Reading,
    Similarity,
    Task,
)
from .halving import halve
from .known_targets import KnownTargets
from .live import LiveModel
from .masking import soft_mask
from .requests import to_module

AUTO = ("gradcam", "cam", "ablationcam", "occlusion")
"""What `method="auto"` tries, in this order: the first three need a layer, the first gradients.

Of image-text models "clip_exact" before them, which needs attention.
"""


def default_method(task: Task) -> str:
    """Return what explains where no method is asked for.

    Example:
        >>> default_method(Classification()), default_method(EmbeddingTask())
        ('gradcam', 'auto')
    """
    return "auto" if isinstance(task, EmbeddingTask) else "gradcam"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """How probes are explained; call it with a live model and probes.

    Args:
        task: How the model's output is read.
        reading: Which part of it, and whether that holds probabilities.
        method: Name of a method in `attribution.METHODS`, or the path of a pytorch-grad-cam class,
            such as "pytorch_grad_cam.FinerCAM"; "auto" is the first of `AUTO` that is possible
            (of image-text models "clip_exact" before these),
            at the last layer whose maps show what the predictions of 32 probes hang on.
        target_layer: Dotted name of the layer; found once a call if None. RISE and Occlusion need
            none.
        reshape_transform: From the layer's output to a feature map `[B, C, h, w]`, where
            how that lies in the picture isn't found.
        class_names: Name of each class; their numbers if None.
        alpha: Sharpness of the mask (Eq. 1), above 0.
        beta: Threshold of the mask (Eq. 1), in [0, 1].
        fill: What stands where the mask takes the picture away.
        batch_size: How many probes are explained at a time.
        perturbation: Bounds of Score-CAM, Ablation-CAM, RISE and Occlusion.
    """

    task: Task = field(default_factory=Classification)
    reading: Reading = field(default_factory=Reading)
    method: str = "gradcam"
    target_layer: str | None = None
    reshape_transform: Reshape | None = None
    class_names: tuple[str, ...] | None = None
    alpha: float = 15.0
    beta: float = 0.6
    fill: Fill = "black"
    batch_size: int = 32
    perturbation: Perturbation = field(default_factory=Perturbation)

    def __post_init__(self) -> None:
        if self.method != "auto":
            find_method(self.method)
        soft_mask(torch.zeros(()), alpha=self.alpha, beta=self.beta)
        if self.fill not in get_args(Fill):
            fills = ", ".join(get_args(Fill))
            raise ConfigurationError(
                expected("fill", f"one of {fills}", repr(self.fill), "Pass one")
            )
        if self.batch_size < 1:
            raise ConfigurationError(
                expected("batch_size", "at least 1", self.batch_size, "Pass batch_size=32")
            )

    def describe(self) -> dict[str, Any]:
        """Return how explanations are made, in plain values."""
        return {
            "task": getattr(self.task, "made_by", type(self.task).__name__),
            "output": self.reading.describe(),
            "from_probabilities": getattr(self.task, "from_probabilities", None),
            **{
                name: getattr(self, name)
                for name in ("method", "target_layer", "class_names", "alpha", "beta", "fill")
            },
            "perturbation": self.perturbation.bounds_of(self.method),
        }

    def as_before(self, described: Mapping[str, Any]) -> Explainer:
        """Return what "auto" had chosen before, as `describe` told, so that curves go on."""
        if self.method != "auto" or "method" not in described:
            return self
        layer = self.target_layer or described.get("target_layer")
        return replace(self, method=described["method"], target_layer=layer)

    def settle(self, live: LiveModel, probes: Sequence[Probe]) -> Explainer:
        """Return the explainer with the layer, and the method if that is "auto", that it found.

        Args:
            live: The model; it is left as it was.
            probes: The first is looked at, for "auto" up to 32; without any, or where the method
                needs no layer, one that wasn't given stays None.

        Raises:
            AttributionError: If there is no such layer.
        """
        if not probes:
            return self
        if self.method == "auto":
            return self._first_that_works(live, probes)
        if self.target_layer is not None or self.method in LAYERLESS:
            return self
        with live.lent() as module:
            found = locate(module, self.prepared(probes[0].call, module))
        name = live.outer_name(found.name)
        if found.doubt:
            warnings.warn(
                f"vlmxai: target_layer={name!r} was found, but {found.doubt}. Pass "
                '`method="rise"` or `method="occlusion"`, which need no layer, or name another '
                "`target_layer`.",
                stacklevel=2,
            )
        return replace(self, target_layer=name)

    def _first_that_works(self, live: LiveModel, probes: Sequence[Probe]) -> Explainer:
        from .pointing import choose_by_pointing  # which makes maps with an explainer

        is_free = self.target_layer is None and self.reshape_transform is None
        failures: list[AttributionError] = []
        is_image_text = isinstance(self.task, Similarity)
        for method in ("clip_exact", *AUTO) if is_image_text else AUTO:
            try:
                settled = replace(self, method=method).settle(live, probes)
                settled(live, probes[:1])
                if is_free and method in AUTO[:2]:
                    settled = choose_by_pointing(settled, live, probes)
            except AttributionError as error:
                failures.append(error)
                continue
            if failures:
                warnings.warn(
                    f'vlmxai: method="auto" explains by "{settled.method}". {failures[0]}',
                    stacklevel=2,
                )
            return settled
        raise failures[0]

    def __call__(self, live: LiveModel, probes: Sequence[Probe]) -> list[Explanation]:
        """Return the explanations of each probe, in order; the module is left as it was.

        A probe has one, or of a `MultiLabelClassification` one for each predicted label, the most
        confident first.

        Args:
            live: The model; it is left as it was.
            probes: To explain; inputs of one shape go in batches together.

        Raises:
            AttributionError: If the model can't be explained as asked.
            ConfigurationError: If labels or class names don't fit the model.
        """
        if self.method == "auto" and probes:
            return self.settle(live, probes)(live, probes)
        of_shape: defaultdict[str, list[int]] = defaultdict(list)
        for position, probe in enumerate(probes):
            of_shape[str(probe.call.shapes)].append(position)
        explained: dict[int, list[Explanation]] = {}
        with live.lent() as module:
            name = None if self.target_layer is None else live.inner_name(self.target_layer)
            for positions in of_shape.values():
                batch = [probes[position] for position in positions]

                def join(start: int, end: int, batch: list[Probe] = batch) -> Call:
                    return join_calls([probe.call for probe in batch[start:end]])

                name, found = self._explain_in_parts(module, name, join, batch)
                explained.update(zip(positions, found, strict=True))
        return [e for position in range(len(probes)) for e in explained[position]]

    def explain_call(
        self,
        live: LiveModel,
        *,
        call: Call,
        probes: Sequence[Probe],
        rows: Sequence[int],
        known: KnownTargets,
    ) -> list[list[Explanation]]:
        """Return the explanations of each row of a call; the module is left as it was.

        As `__call__`, for a batch that need not be taken apart and joined again.

        Args:
            live: The model; it is left as it was.
            call: Of the network.
            probes: Whose own calls are not looked at.
            rows: Which row of the call each is.
            known: Where the layer was found for batches before.
        """
        with live.lent() as module:
            name = None if self.target_layer is None else live.inner_name(self.target_layer)

            def cut(start: int, end: int) -> Call:
                return call.take(torch.tensor(rows[start:end]))

            return self._explain_in_parts(module, name, cut, probes, known)[1]

    def _explain_in_parts(
        self,
        module: nn.Module,
        name: str | None,
        call_of: Callable[[int, int], Call],
        probes: Sequence[Probe],
        known: KnownTargets | None = None,
    ) -> tuple[str | None, list[list[Explanation]]]:
        """Return the layer's name and the explanations of each probe, a batch at a time."""
        size, start = self.batch_size, 0
        target: Target | None = None
        explained: list[list[Explanation]] = []
        while start < len(probes):
            batch = probes[start : start + size]
            try:
                call = self.prepared(call_of(start, start + size), module)
                if target is None:
                    find = partial(self.target_of, module, call, name)
                    target = find() if known is None else known.get(module, str(call.shapes), find)
                explained += self._explain_each(module, target, call, batch)
            except RuntimeError as error:
                size = halve(len(batch), error)
                continue
            start += len(batch)
        return name if target is None else target.name, explained

    def prepared(self, call: Call, module: nn.Module) -> Call:
        """Return the call as the module is asked, and as the task reads the answer."""
        return replace(to_module(call, module), read=self._read)

    def _read(self, answer: Any) -> Any:
        """Return what the task is given of an answer."""
        taken = self.reading.take(answer)
        if isinstance(self.task, BinarySegmentation) and isinstance(taken, Tensor):
            # Maps without an axis of channels would be looked through as if they were tokens.
            taken = taken.unsqueeze(1) if taken.ndim == 3 else taken
        return taken

    def target_of(self, module: nn.Module, call: Call, name: str | None = None) -> Target:
        """Return the layer of that name in the module, or the one that is found."""
        if self.method in LAYERLESS:
            return Target(name="", layer=module)
        one = call.take(torch.tensor([0]))
        if name is not None and self.reshape_transform is not None:
            layer = resolve_target_layer(module, name, one)
            return Target(name=name, layer=layer, place=Place.parse(name))
        return locate(module, one, name)

    def subject(self, module: nn.Module, target: Target, call: Call) -> Subject:
        """Return what is explained."""
        return replace(target.subject(module, call, self.task), reshape=self.reshape_transform)

    def _explain_each(
        self, module: nn.Module, target: Target, call: Call, probes: Sequence[Probe]
    ) -> list[list[Explanation]]:
        """Return the explanations of each probe."""
        if not isinstance(self.task, MultiLabelClassification):
            return [[found] for found in self._explain(self.task, module, target, call, probes)]
        split = self.task.split(call.run(module))
        explained: list[list[Explanation]] = [[] for _ in probes]
        for start in range(0, len(split.rows), len(probes)):
            rows = split.rows[start : start + len(probes)]
            classes = split.classes[start : start + len(probes)]
            task = OneLabelEach(task=self.task, classes=classes)
            batch = [probes[row] for row in rows.tolist()]
            found = self._explain(task, module, target, call.take(rows), batch)
            for row, explanation in zip(rows.tolist(), found, strict=True):
                explained[row].append(replace(explanation, part=explanation.prediction))
        return explained

    def _explain(
        self,
        task: Task,
        module: nn.Module,
        target: Target,
        call: Call,
        probes: Sequence[Probe],
    ) -> list[Explanation]:
        subject = replace(self.subject(module, target, call), task=task)
        attribution = attribute(subject, self.method, perturbation=self.perturbation)
        prediction = attribution.prediction.cpu()
        self._check_class_names(prediction.num_classes)
        height, width = call.images.shape[-2:]
        saliency = normalize_saliency(attribution.raw, size=(height, width)).cpu()
        masks = soft_mask(saliency, alpha=self.alpha, beta=self.beta)
        blank = saliency.flatten(1).amax(dim=1) == 0
        classes, confidences = prediction.classes.tolist(), prediction.confidences.tolist()
        explanations = []
        for i, probe in enumerate(probes):
            label, is_correct = -1, None
            if probe.target is not None:
                label = task.label_of(probe.target, prediction.num_classes)
                is_correct = task.is_correct(prediction, i, probe.target)
            if isinstance(task, (OneLabelEach, Similarity)) and is_correct:
                label = classes[i]  # of several true ones, the one that was predicted
            explanations.append(
                Explanation(
                    probe_index=probe.index,
                    label=label,
                    label_name=self._name_of(label),
                    prediction=classes[i],
                    prediction_name=self._name_of(classes[i]),
                    confidence=confidences[i],
                    is_correct=is_correct,
                    pixels=probe.pixels,
                    # A view would hold, and send to other ranks, the whole batch.
                    saliency=saliency[i].clone(),
                    mask=masks[i].clone(),
                    reference_mask=probe.reference_mask,
                    is_blank=bool(blank[i]),
                    fill=self.fill,
                    file=probe.file,
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
                    f"Pass `class_names=[str(i) for i in range({num_classes})]`, better their own "
                    "names, if these outputs are classes. If they are features (metric learning, "
                    "a backbone), there is no class to explain: explain the network that makes "
                    "classes of them, or pass a function from output to logits as `output=`",
                )
            )

    def _name_of(self, index: int) -> str:
        if index < 0:
            return "none"
        return str(index) if self.class_names is None else self.class_names[index]

"""Training pictures that look like a cue: Lightning's side of finding them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from ..attribution import LAYERLESS, Target
from ..calls import Call, join_calls
from ..errors import AttributionError, ProbeError
from ..explain import Bound, LiveModel
from ..probes import Item, TrainingRows
from ..records import Probe, Sample
from ..shortcuts import Cue, Shortcut, TrainingList, TrainingPicture, cue_region, learn_cue

HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class TrainingPictures:
    """Looks through a fit's training data once, with the model's own features.

    Args:
        trainer: Of the fit.
        unpack: Takes a row of a batch apart.
    """

    def __init__(self, trainer: pl.Trainer, unpack: Callable[[Any], Item]) -> None:
        self._trainer = trainer
        self._unpack = unpack

    def find(
        self,
        live: LiveModel,
        bound: Bound,
        samples: Sequence[Sample],
        shortcuts: Sequence[Shortcut],
        *,
        changes: str,
    ) -> list[TrainingList]:
        """Return for each shortcut the training pictures that look like it, or why there are none.

        Args:
            live: The model; it is left as it was.
            bound: How the round was explained.
            samples: In which the shortcuts were found.
            shortcuts: These.
            changes: What stands between a batch's pictures and the network; empty if nothing does.
        """
        try:
            rows = self._open(changes)
            with replace(live, network="").lent() as root:
                return self._rank(rows, root, live, bound, samples, shortcuts)
        except (AttributionError, ProbeError) as error:
            return [TrainingList(note=str(error).rstrip(".")) for _ in shortcuts]

    def _open(self, changes: str) -> TrainingRows:
        data = getattr(self._trainer, "datamodule", None)
        own = [] if data is None else [name for name in HOOKS if is_overridden(name, data)]
        if own:
            raise ProbeError(f"the data module's own `{own[0]}` would run once more")
        if changes:
            raise ProbeError(changes)
        return TrainingRows(self._trainer.train_dataloader, self._unpack)

    def _rank(
        self,
        rows: TrainingRows,
        root: nn.Module,
        live: LiveModel,
        bound: Bound,
        samples: Sequence[Sample],
        shortcuts: Sequence[Shortcut],
    ) -> list[TrainingList]:
        features = _Features(root.get_submodule(live.network), live, bound)
        cues = [_learn(features, bound.probes, samples, one) for one in shortcuts]
        parts: list[list[Tensor]] = [[] for _ in shortcuts]
        template = bound.probes[0].call
        for images in rows.read(lambda batch: self._transfer(batch, root)):
            maps = features.of(template.with_images(images))
            for cue, found in zip(cues, parts, strict=True):
                found.append(cue.likeness(maps))
        seen = rows.rows()
        lists = []
        for found in parts:
            values = torch.cat(found)
            sure = values.nan_to_num(nan=-torch.inf)
            order = sure.argsort(descending=True, stable=True).tolist()
            pictures = tuple(
                TrainingPicture(
                    index=seen[i].index,
                    file=seen[i].file,
                    label=seen[i].label,
                    likeness=float(values[i]),
                )
                for i in order
            )
            lists.append(TrainingList(pictures=pictures, total=rows.total))
        return lists

    def _transfer(self, batch: Any, root: nn.Module) -> Any:
        """Return a batch as a step is given it: by the module's own hooks, which are lent."""
        converted = self._trainer.precision_plugin.convert_input(batch)
        if not isinstance(root, pl.LightningModule):
            return converted
        device = self._trainer.strategy.root_device
        before = root.on_before_batch_transfer(converted, 0)
        moved = root.transfer_batch_to_device(before, device, 0)
        return root.on_after_batch_transfer(moved, 0)


class _Features:
    """Feature maps at the target layer of calls of any size of picture."""

    def __init__(self, network: nn.Module, live: LiveModel, bound: Bound) -> None:
        self._network = network
        self._explainer = bound.explainer
        if self._explainer.method in LAYERLESS:
            self._explainer = replace(self._explainer, method="gradcam", target_layer=None)
        layer = self._explainer.target_layer
        self._name = None if layer is None else live.inner_name(layer)
        self._targets: dict[str, Target] = {}

    def of(self, call: Call) -> Tensor:
        """Return the feature maps of a call, `[B, C, h, w]` float32 on the CPU."""
        ready = self._explainer.prepared(call, self._network)
        key = str(call.shapes)
        if key not in self._targets:
            self._targets[key] = self._explainer.target_of(self._network, ready, self._name)
        subject = self._explainer.subject(self._network, self._targets[key], ready)
        return subject.capture(gradients=False)[0].activations.cpu()


def _learn(
    features: _Features, probes: Sequence[Probe], samples: Sequence[Sample], of: Shortcut
) -> Cue:
    """Return what a cue looks like on the probes that bear it, beside those of other classes."""
    known = {probe.index: probe for probe in probes}
    explained = {s.explanation.probe_index: s.explanation for s in samples}
    bearers = [i for i in of.bearers if i in known and i in explained]
    if not bearers:
        raise ProbeError("the pictures that bear the cue are not at hand")
    shape = str(known[bearers[0]].call.shapes)
    bearers = [i for i in bearers if str(known[i].call.shapes) == shape][:32]
    others = [
        i
        for i, e in explained.items()
        if e.label != of.number and i in known and str(known[i].call.shapes) == shape
    ][:32]
    regions = torch.stack([cue_region(of, explained[i]) for i in bearers])
    if not bool(regions.any()):
        raise ProbeError("the cue has no place in the pictures that bear it")
    maps = features.of(join_calls([known[i].call for i in bearers]))
    beside = maps[:0] if not others else features.of(join_calls([known[i].call for i in others]))
    return learn_cue(maps, regions, beside)

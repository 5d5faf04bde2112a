"""What a trainer is given, from the options of a command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightning.pytorch as pl
from torch import nn
from torch.utils.data import DataLoader

from ..errors import ConfigurationError, expected
from ..tasks import (
    BinaryClassification,
    BinarySegmentation,
    Classification,
    MultiLabelClassification,
    Segmentation,
    Task,
)
from .class_map import ClassMap, MergedOutputs, map_classes, read_labels, some
from .class_paths import call_named
from .data import AuditRows, Collate, choose_rows, first_input, input_size
from .models import OpenedModel, count_outputs, names_of, open_model
from .module import AuditModule
from .opening import open_source
from .presets import Preset
from .sources import Source

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "segmentation": Segmentation,
    "binary": BinaryClassification,
    "binary-segmentation": BinarySegmentation,
    "multi-label": MultiLabelClassification,
}
_OF_OUR_DATA = (
    "masks", "mask_values", "split", "labels", "resize", "crop", "mean", "std", "limit",
    "batch_size", "num_workers",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a trainer is given.

    Args:
        module: To run.
        loaders: Or a data module.
        task: How outputs are read.
        class_names: Of the outputs; None for the callback to find out.
        normalization: Of our own data.
        is_ours: The data are `AuditRows`.
        lacks_masks: They have no masks.
        told: What a reader should know.
    """

    module: pl.LightningModule
    loaders: Any
    task: Task
    class_names: tuple[str, ...] | None = None
    normalization: tuple[Sequence[float], Sequence[float]] | None = None
    is_ours: bool = False
    lacks_masks: bool = False
    told: tuple[str, ...] = ()


def make_plan(given: Any) -> Plan:
    """Return what a trainer is given.

    Args:
        given: Options of `vlmxai audit`.

    Raises:
        ConfigurationError: If model and data can't be brought together.
    """
    opened = open_model(
        given.model, weights=given.weights, ckpt=given.ckpt, arguments=given.model_args
    )
    dense = opened.dense or given.task == "segmentation"
    source = open_source(
        given.data,
        masks=given.masks,
        mask_values=given.mask_values,
        split=given.split,
        dense=dense,
    )
    if source is None:
        return _plan_own(given, opened)
    if given.task not in ("auto", "segmentation" if dense else "classification"):
        raise ConfigurationError(
            expected(
                "task",
                "classification or segmentation, where the data are not a data module",
                given.task,
                "Pass --data module.Name, of your own data module",
            )
        )
    return _plan_ours(given, opened, source, dense=dense)


def _plan_own(given: Any, opened: OpenedModel) -> Plan:
    """Return what is run where the data module is the user's own."""
    for name in _OF_OUR_DATA:
        if getattr(given, name) is not None:
            option = name.replace("_", "-")
            remedy = (
                "Pass --trainer.limit_val_batches N"
                if name == "limit"
                else f"Pass what the data module takes by --data-args.{name}"
            )
            raise ConfigurationError(
                expected(
                    option,
                    "left out where the data are a data module",
                    getattr(given, name),
                    remedy,
                )
            )
    loaders = call_named("data", given.data, given.data_args)
    if not isinstance(loaders, (pl.LightningDataModule, DataLoader)):
        raise ConfigurationError(
            expected(
                "data",
                "the path of a LightningDataModule, or of a function that returns a DataLoader",
                f"{given.data!r}, which gives {type(loaders).__name__}",
                "Pass --data my_data.MyDataModule",
            )
        )
    if not isinstance(opened.network, pl.LightningModule):
        raise ConfigurationError(
            expected(
                "model",
                "a LightningModule, whose steps know the data module's batches",
                type(opened.network).__name__,
                "Pass --model my_model.MyModule --ckpt last.ckpt",
            )
        )
    names = names_of(given.class_names) if given.class_names else None
    task = TASKS["classification" if given.task == "auto" else given.task]()
    return Plan(module=opened.network, loaders=loaders, task=task, class_names=names)


def _plan_ours(given: Any, opened: OpenedModel, source: Source, *, dense: bool) -> Plan:
    """Return what is run where the data lie in a layout that is known."""
    if not source.has_labels and not source.has_maps and given.stage != "predict":
        raise ConfigurationError(
            expected(
                "data",
                "a folder with a folder of pictures for each class",
                f"{given.data}, with pictures alone",
                "Sort them into folders, or pass --stage predict to audit without labels",
            )
        )
    preset = _make_preset(given, opened)
    names = names_of(given.class_names) if given.class_names else opened.names
    example = first_input(source, preset)
    outputs = None
    if example is not None:
        outputs = count_outputs(opened.network, example, dense=dense)
    if names is not None and outputs not in (None, len(names)):
        raise ConfigurationError(
            expected(
                "class-names",
                f"{outputs}, one for each output of the model",
                len(names),
                "Pass --class-names names.txt, with a name a line",
            )
        )
    found, doubt = _map_classes(given, source, names, outputs, dense=dense)
    chosen = choose_rows(source, found.targets, given.limit)
    rows = AuditRows(source, chosen, found.targets, preset, dense=dense)
    network: nn.Module = opened.network
    if found.merges:
        network = MergedOutputs(network, found.members)
    module = AuditModule(
        network,
        dense=dense,
        skips=given.on_bad_image == "skip",
        bad_file=given.out / "skipped.jsonl",
        audited={"model": opened.name, "labels": _digest(source.classes, found)},
    )
    size = given.batch_size or (32 if preset.fixed_size else 1)
    loader = DataLoader(
        rows,
        batch_size=size,
        num_workers=given.num_workers or 0,
        collate_fn=Collate(empty=input_size(preset)),
    )
    told = [f"{opened.name} on {len(rows):,} of {len(source):,} pictures of {given.data}"]
    if chosen.left_out:
        told.append(f"{chosen.left_out:,} pictures hold none of the model's classes: left out.")
    told += filter(None, [opened.told, doubt, getattr(source, "doubt", "")])
    return Plan(
        module=module,
        loaders=loader,
        task=Segmentation() if dense else Classification(),
        class_names=found.names or None,
        normalization=(preset.mean, preset.std),
        is_ours=True,
        lacks_masks=not (source.has_masks or source.has_maps),
        told=tuple(told),
    )


def _make_preset(given: Any, opened: OpenedModel) -> Preset:
    """Return how pictures are prepared.

    Raises:
        ConfigurationError: If nothing tells.
    """
    asked = {name: getattr(given, name) for name in ("resize", "crop", "mean", "std")}
    asked = {name: value for name, value in asked.items() if value is not None}
    for name in ("mean", "std"):
        if name in asked:
            asked[name] = tuple(asked[name])
            if len(asked[name]) != 3:
                raise ConfigurationError(
                    expected(name, "three numbers", asked[name], f'Pass --{name} "[0.5, 0.5, 0.5]"')
                )
    if opened.preset is not None:
        return replace(opened.preset, **asked)
    missing = [name for name in ("crop", "mean", "std") if name not in asked]
    if missing:
        raise ConfigurationError(
            expected(
                ", ".join(missing),
                "named, as nothing tells how a model of your own was given pictures",
                None,
                'As in --resize 256 --crop 224 --mean "[0.485, 0.456, 0.406]" --std "[0.229, '
                '0.224, 0.225]"; pixels as they are: --mean "[0, 0, 0]" --std "[1, 1, 1]"',
            )
        )
    return Preset(**{"resize": asked["crop"], **asked})


def _map_classes(
    given: Any,
    source: Source,
    names: tuple[str, ...] | None,
    outputs: int | None,
    *,
    dense: bool,
) -> tuple[ClassMap, str]:
    """Return which outputs the data's classes are, and what is only taken to be so."""
    labels = read_labels(given.labels)
    if not source.classes:
        if labels:
            raise ConfigurationError(
                expected("labels", "of classes of the data", "data without", "Leave --labels out")
            )
        return ClassMap(names=names or (), targets=(), members=()), ""
    if names is not None:
        found = map_classes(source.classes, names, labels)
        pairs = list(zip(source.classes, found.targets, strict=True))
        out = [name for name, to in pairs if to is None]
        by_name = [name for name, to in pairs if to is not None and name not in labels]
        told = [f"Left out, of {len(pairs)} classes: {some(out)}."] if out else []
        if labels and by_name:  # two things may have one name, as kites have
            told.append(f"Found among the model's classes by name alone: {some(by_name, 40)}.")
        return found, " ".join(told)
    own = ("background", *source.classes) if dense else source.classes
    if labels or outputs not in (None, len(own)):
        raise ConfigurationError(
            expected(
                "class-names",
                "given, as nothing tells what the model's outputs are",
                f"{outputs} outputs for {len(own)} classes of the data",
                "Pass --class-names names.txt, with a name a line, or those of the weights that "
                "it was trained like: --class-names ResNet18_Weights.DEFAULT",
            )
        )
    numbers = tuple(range(len(own)))
    found = ClassMap(names=own, targets=numbers[dense:], members=tuple((n,) for n in numbers))
    shown = ", ".join(own[:3]) + (", ..." if len(own) > 3 else "")
    return found, (
        f"Nothing tells the names of the model's outputs: they are taken to be {shown}, in the "
        "data's order, as ImageFolder numbers them. Pass --class-names if not."
    )


def _digest(classes: Sequence[str], found: ClassMap) -> str:
    """Return what changes with any class's output: digits, for which one needs no list."""
    text = json.dumps([classes, found.names, found.targets, found.members])
    return hashlib.sha256(text.encode()).hexdigest()[:12]

"""Models by what they are called: torchvision's, timm's, one's own."""

from __future__ import annotations

import difflib
import importlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torchvision.models as tv
from torch import Tensor, nn

from ..errors import ConfigurationError, expected
from .class_paths import call_named, import_named
from .presets import Preset, preset_of_timm, preset_of_torchvision
from .weights import first_lines, load, load_any_head, members_of, read_state, weights_file

_TAKES_INIT = ("googlenet", "inception_v3")
"""Architectures that warn unless they are told whether to draw their weights slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A model that was named.

    Args:
        network: It, in eval mode.
        name: How it is told of.
        names: Of its outputs, in their order; None if nothing tells.
        preset: How pictures become its input; None if nothing tells.
        dense: It tells a class a pixel.
        told: What a reader should know of how it was opened.
    """

    network: nn.Module
    name: str
    names: tuple[str, ...] | None = None
    preset: Preset | None = None
    dense: bool = False
    told: str = ""


def open_model(
    name: str,
    *,
    weights: str | None = None,
    ckpt: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> OpenedModel:
    """Return the model of a name.

    Args:
        name: One of torchvision, `timm:NAME`, or the dotted path of a module's class, or of a
            function that returns a module.
        weights: "DEFAULT", a member of torchvision's weights, or a file of a state dict.
        ckpt: Lightning's checkpoint, of a LightningModule's class.
        arguments: Of the class or function.

    Raises:
        ConfigurationError: If there is no such model, no such weights, or they don't fit.
    """
    arguments = dict(arguments or {})
    if name.startswith("timm:"):
        _refuse_ckpt(ckpt, name)
        return _open_timm(name[5:], weights, arguments)
    if "." in name or ":" in name:
        return _open_own(name, weights, ckpt, arguments)
    _refuse_ckpt(ckpt, name)
    return _open_torchvision(name, weights, arguments)


def names_of(given: str) -> tuple[str, ...]:
    """Return the names that `--class-names` gives.

    Args:
        given: A text file with a name a line, or a member of torchvision's weights, as
            "ResNet18_Weights.DEFAULT".

    Raises:
        ConfigurationError: If it is neither.
    """
    try:
        if re.fullmatch(r"\w+_Weights\.\w+", given):
            return tuple(tv.get_weight(given).meta["categories"])
        lines = Path(given).read_text("utf-8-sig").splitlines()
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            expected(
                "class_names",
                "a text file with a name a line, or weights of torchvision",
                f"{given!r} ({error})",
                "Pass --class-names names.txt or --class-names ResNet18_Weights.DEFAULT",
            )
        ) from None
    return tuple(line.strip() for line in lines if line.strip())


def _open_torchvision(name: str, weights: str | None, arguments: dict[str, Any]) -> OpenedModel:
    models = tv.list_models(module=tv)
    dense = tv.list_models(module=tv.segmentation)
    if name not in (*models, *dense):
        near = difflib.get_close_matches(name, [*models, *dense], n=3)
        raise ConfigurationError(
            expected(
                "model",
                "a classifier or segmentation model of torchvision, timm:NAME, or module.Name",
                repr(name),
                f"Near: {', '.join(near)}" if near else f"torchvision has: {', '.join(models)}",
            )
        )
    members = tv.get_model_weights(name)
    told = ""
    if weights is None:
        raise ConfigurationError(
            expected(
                "weights",
                "named, as an untrained model says nothing",
                None,
                f"Pass --weights DEFAULT, {members_of(members)} or a file of a state dict",
            )
        )
    made: dict[str, Any] = {"weights": None, **arguments}
    if name in dense:
        made["weights_backbone"] = None
    if name in _TAKES_INIT:
        made["init_weights"] = False
    if weights == "DEFAULT" or weights in members.__members__:
        member = members[weights] if weights in members.__members__ else members.DEFAULT
        network = _download(name, {**made, "weights": member})
        names: tuple[str, ...] | None = tuple(member.meta["categories"])
        preset = member.transforms()
    else:
        path = weights_file(weights, members)
        network = load_any_head(lambda **more: tv.get_model(name, **made, **more), path)
        names, preset = None, members.DEFAULT.transforms()
        told = f"Pictures are prepared as for {members.__name__}.DEFAULT (--resize, --crop, ...)."
    return OpenedModel(
        network=network.eval(),
        name=name,
        names=names,
        preset=preset_of_torchvision(preset),
        dense=name in dense,
        told=told,
    )


def _open_timm(name: str, weights: str | None, arguments: dict[str, Any]) -> OpenedModel:
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise ConfigurationError(
            expected("model", "of an installed library", f"timm:{name}", "pip install timm")
        ) from None
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        remedy = f"Near: {', '.join(near)}" if near else "Look at timm.list_models()"
        raise ConfigurationError(expected("model", "a model of timm", repr(name), remedy))
    if weights is None:
        raise ConfigurationError(
            expected(
                "weights",
                "named, as an untrained model says nothing",
                None,
                "Pass --weights DEFAULT or a file of a state dict",
            )
        )
    if weights == "DEFAULT":
        try:
            network = timm.create_model(name, pretrained=True, **arguments)
        except Exception as error:  # of the hub's many
            raise _not_fetched(f"timm:{name}", error) from error
    else:
        path = weights_file(weights, None)
        network = load_any_head(
            lambda **more: timm.create_model(name, **{**arguments, **more}), path
        )
    config = timm.data.resolve_data_config({}, model=network)
    names = None
    if weights == "DEFAULT":
        names = _names_of_timm(timm, network)
    return OpenedModel(
        network=network.eval(), name=f"timm:{name}", names=names, preset=preset_of_timm(config)
    )


def _names_of_timm(timm: Any, network: nn.Module) -> tuple[str, ...] | None:
    """Return the names that timm knows of pretrained outputs; None if it doesn't."""
    config = getattr(network, "pretrained_cfg", None) or {}
    if config.get("label_names"):
        return tuple(map(str, config["label_names"]))
    try:
        subset = timm.data.infer_imagenet_subset(network)
        if not subset:
            return None
        info = timm.data.ImageNetInfo(subset)
        names = [info.index_to_description(i).split(",")[0] for i in range(info.num_classes())]
    except (AttributeError, KeyError, ValueError, AssertionError):
        return None
    return tuple(names)


def _open_own(
    path: str, weights: str | None, ckpt: str | None, arguments: dict[str, Any]
) -> OpenedModel:
    made = import_named("model", path)
    name = path.replace(":", ".").rpartition(".")[2]
    if isinstance(made, type) and issubclass(made, pl.LightningModule) and ckpt is not None:
        return OpenedModel(network=_from_checkpoint(made, ckpt, arguments), name=name)
    if ckpt is not None:
        _refuse_ckpt(ckpt, path)
    network = call_named("model", path, arguments)
    if not isinstance(network, nn.Module):
        raise ConfigurationError(
            expected(
                "model",
                "a module's class, or a function that returns a module",
                f"{path!r}, which gives {type(network).__name__}",
                "Name another",
            )
        )
    if weights is not None:
        load(network, read_state(weights_file(weights, None)), weights)
    elif isinstance(made, type):
        raise ConfigurationError(
            expected(
                "weights",
                "named, as an untrained model says nothing",
                None,
                "Pass --ckpt last.ckpt for a LightningModule, --weights model.pth for a state "
                "dict, or name a function that returns the trained model",
            )
        )
    return OpenedModel(network=network.eval(), name=name)


def _from_checkpoint(made: Any, ckpt: str, arguments: dict[str, Any]) -> nn.Module:
    if not Path(ckpt).is_file():
        raise ConfigurationError(
            expected("ckpt", "a file", f"{ckpt!r}, which is not there", "Pass --ckpt last.ckpt")
        )
    try:
        network: nn.Module = made.load_from_checkpoint(ckpt, map_location="cpu", **arguments)
    except (RuntimeError, TypeError, KeyError, OSError, ValueError, EOFError, AttributeError,
            pickle.UnpicklingError) as error:  # fmt: skip
        missing = isinstance(error, TypeError)
        raise ConfigurationError(
            expected(
                "ckpt",
                f"a checkpoint of {made.__name__}",
                f"{ckpt!r} ({first_lines(error)})",
                "Pass what its `__init__` takes: --model-args.num_classes 10"
                if missing
                else f"Pass the checkpoint of a fit of {made.__name__}, or the --model it is of",
            )
        ) from error
    return network.eval()


def _download(name: str, arguments: dict[str, Any]) -> nn.Module:
    try:
        network: nn.Module = tv.get_model(name, **arguments)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise _not_fetched(name, error) from error
    return network


def _not_fetched(name: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        expected(
            "weights",
            f"those of {name} on the disk or the network",
            f"{type(error).__name__}: {first_lines(error)}",
            "Fetch the file where there is a network, and pass --weights FILE",
        )
    )


def _refuse_ckpt(ckpt: str | None, name: str) -> None:
    if ckpt is not None:
        raise ConfigurationError(
            expected(
                "ckpt",
                "of a LightningModule's class",
                f"{ckpt!r} for {name!r}",
                f"Pass --weights {ckpt} for a state dict, or --model my_model.MyModule",
            )
        )


def count_outputs(network: nn.Module, example: Tensor, *, dense: bool) -> int:
    """Return how many classes a model tells apart, having asked it.

    Args:
        network: From pictures to logits.
        example: Of its input, `[1, 3, H, W]`.
        dense: Logits are expected a pixel.

    Raises:
        ConfigurationError: If it fails, or answers something else.
    """
    network.eval()
    try:
        with torch.no_grad():
            output = network(example)
    except Exception as error:  # of a user's forward
        raise ConfigurationError(
            expected(
                "model",
                f"a function of pictures {list(example.shape)}",
                f"{type(network).__name__}, which raised {type(error).__name__}: "
                f"{first_lines(error)}",
                "Pass the --resize and --crop that it was trained with",
            )
        ) from error
    logits = output.get("out") if isinstance(output, Mapping) else output
    dims = 4 if dense else 2
    if not isinstance(logits, Tensor) or logits.ndim != dims or logits.shape[1] < 2:
        what = list(logits.shape) if isinstance(logits, Tensor) else type(output).__name__
        rule = "logits [B, K, H, W]" if dense else "logits [B, K]"
        raise ConfigurationError(
            expected(
                "model",
                f"one that returns {rule} with K >= 2",
                what,
                "Name a function that returns a module which does, or pass --task "
                f"{'classification' if dense else 'segmentation'}",
            )
        )
    return int(logits.shape[1])

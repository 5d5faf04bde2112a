"""Find the layer to explain: by its dotted name, or by a rule that fits CNNs and transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..calls import Call, as_call
from ..errors import AttributionError, expected
from ..tasks import logits_of
from .capture import Observation, first_tensor, named_layers, observe
from .grids import is_channels_last, token_grid


def resolve_target_layer(
    module: nn.Module, name: str, inputs: Tensor | Call | None = None
) -> nn.Module:
    """Return the submodule of that dotted name.

    Args:
        module: The model.
        name: As in `dict(module.named_modules())`, for instance `"backbone.layer4.1"`.
        inputs: What it is called with for one sample; with it the error tells the layers' shapes.

    Raises:
        AttributionError: If there is none; the message lists layers that could be named.

    Example:
        >>> resolve_target_layer(nn.Sequential(nn.ReLU()), "0")
        ReLU()
    """
    layers = named_layers(module)
    clean = ".".join(part for part in name.split(".") if part != "_orig_mod")
    if clean in layers:
        return layers[clean]
    if inputs is None:
        head = clean.split(".")[0]
        near = [n for n in layers if n.split(".")[0] == head] or list(layers)
        candidates = ", ".join(near[-12:])
    else:
        candidates = observe(module, inputs).describe()
    raise AttributionError(
        expected(
            "target_layer",
            "the dotted name of a submodule",
            repr(name),
            f"Name one of: {candidates}",
        )
    )


def find_target_layer(module: nn.Module, inputs: Tensor | Call) -> str:
    """Return the dotted name of the layer to explain.

    1. A model with dense output (segmentation): the child that made the last feature map of those
       that the backbone hands on in a dict, tuple or list; without such a backbone the last of the
       coarsest feature maps before the output.
    2. A model whose last grid is channels first (CNN): the outermost block that gave it. Plain
       containers (`nn.Sequential`, or a module that only holds an `nn.ModuleList`) are opened,
       blocks are not: for ResNet the last residual block, not the ReLU inside.
    3. A model whose last grid is tokens or channels last (ViT, Swin): the last normalisation
       inside a repeated block on whose patches the logits still depend, not on its prefix tokens
       alone. For ViT, whose last block mixes tokens once, that is the norm before its attention;
       for Swin, which averages all tokens at the end, the one before its MLP.

    Call it inside `live.borrowed`.

    Args:
        module: The model; called once, and a few times for transformers.
        inputs: What it is called with, or pictures `[B, C, H, W]`; one sample is enough.

    Raises:
        AttributionError: If no layer gives a feature map; the message lists what the layers give.
    """
    call = as_call(inputs)
    size = (call.images.shape[-2], call.images.shape[-1])
    observed = observe(module, call)
    if logits_of(observed.result).ndim == 4:
        name = _find_dense(observed, size)
    else:
        grids = [
            (name, features)
            for name, output in observed.outputs
            if (features := first_tensor(output)) is not None and _is_grid(features, size)
        ]
        # What shares its memory with an earlier output (a Permute, a Flatten) is that output.
        makers = (f for _, f in grids if _storage(f) == _storage(grids[-1][1]))
        last = next(makers, None)
        if last is not None and (last.ndim == 3 or is_channels_last(last, size)):
            name = _find_in_transformer(module, call, observed, size)
        else:
            name = _find_in_cnn(module, observed)
    if name is None:
        raise AttributionError(
            expected(
                "target_layer",
                "found automatically: some layer must give a feature map [B, C, h, w]",
                observed.describe(),
                'Name a layer that does, or pass `method="rise"` or `method="occlusion"`, '
                "which need none",
            )
        )
    return name


def _find_in_cnn(module: nn.Module, observed: Observation) -> str | None:
    maps = [(n, o) for n, o in observed.outputs if isinstance(o, Tensor) and _is_map(o)]
    if not maps:
        return None
    layers = named_layers(module)
    # Modules finish inside out, so the last of those that return this very tensor is outermost.
    same = [name for name, output in maps if output is maps[-1][1]]
    name = same[-1]
    while _is_container(layers[name]):
        inner = [other for other in same if other.startswith(f"{name}.")]
        if not inner:
            break
        depth = min(other.count(".") for other in inner)
        # The last child: one that works in place returns its predecessor's very tensor.
        name = [other for other in inner if other.count(".") == depth][-1]
    return name


def _find_dense(observed: Observation, size: tuple[int, int]) -> str | None:
    logits = logits_of(observed.result)
    maps = [
        (name, output)
        for name, output in observed.outputs
        if isinstance(output, Tensor) and _is_map(output) and not is_channels_last(output, size)
    ]
    handed_on = [
        [value for value in values if isinstance(value, Tensor) and _is_map(value)]
        for _, output in observed.outputs
        if (values := _values(output)) and not any(value is logits for value in values)
    ]
    for features in filter(None, handed_on):
        # Order of making, not of the dict: "out" stands before "aux" or behind, as it happens.
        made = [(n, o) for n, o in maps if any(o is value for value in features)]
        if made:
            return next(name for name, output in reversed(maps) if output is made[-1][1])
    before = [(n, o) for n, o in maps if o.shape[1] != logits.shape[1]]
    if not before:
        return None
    coarsest = min(output.shape[2] * output.shape[3] for _, output in before)
    return [n for n, o in before if o.shape[2] * o.shape[3] == coarsest][-1]


def _find_in_transformer(
    module: nn.Module, call: Call, observed: Observation, size: tuple[int, int]
) -> str | None:
    layers = named_layers(module)
    norms = [
        name
        for name, output in observed.outputs
        if "norm" in type(layers[name]).__name__.lower()
        and isinstance(output, Tensor)
        and _is_grid(output, size)
    ]
    repeated = [name for name in norms if _is_in_repeated_block(layers, module, name)]
    candidates = (repeated or norms)[::-1]
    # Only the logits of the prefix tokens may depend on a layer: then it says nothing of patches.
    reaching = (n for n in candidates if _patches_matter(module, layers[n], call, size))
    return next(reaching, candidates[0] if candidates else None)


def _patches_matter(module: nn.Module, layer: nn.Module, call: Call, size: tuple[int, int]) -> bool:
    """Return whether the logits depend on the patches' features at that layer.

    Not by gradients, which are all zero where the head is still zero, as in a fresh ViT: what is
    not a number there is none in the logits either, whatever it is multiplied with.
    """

    def spoil(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        spoilt = output.clone()
        grid = token_grid(output.shape[1], size) if output.ndim == 3 else None
        first = 0 if grid is None else output.shape[1] - grid[0] * grid[1]
        spoilt[:, first:] = torch.nan
        return spoilt

    handle = layer.register_forward_hook(spoil)
    try:
        return bool(logits_of(call.run(module)).isnan().any())
    finally:
        handle.remove()


def _is_in_repeated_block(layers: dict[str, nn.Module], module: nn.Module, name: str) -> bool:
    """Return whether an ancestor stands in a container beside others of its class."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        block = layers[".".join(parts[:depth])]
        parent = layers[".".join(parts[: depth - 1])] if depth > 1 else module
        siblings = list(parent.children())
        if (
            isinstance(parent, (nn.Sequential, nn.ModuleList))
            and sum(type(sibling) is type(block) for sibling in siblings) > 1
        ):
            return True
    return False


def _is_map(output: Tensor) -> bool:
    return output.ndim == 4 and output.shape[2] * output.shape[3] > 1


def _is_grid(output: Tensor, size: tuple[int, int]) -> bool:
    if output.ndim == 3:
        return token_grid(output.shape[1], size) is not None
    return _is_map(output)


def _storage(output: Tensor) -> int:
    return output.untyped_storage().data_ptr()


def _values(output: Any) -> list[Any]:
    if isinstance(output, dict):
        return list(output.values())
    return list(output) if isinstance(output, (tuple, list)) else []


def _is_container(layer: nn.Module) -> bool:
    children = list(layer.children())
    return type(layer) is nn.Sequential or (
        len(children) == 1 and isinstance(children[0], nn.ModuleList)
    )

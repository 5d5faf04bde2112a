"""Find the layer to explain: by its dotted name, or the last one that gives a feature map."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import AttributionError, expected


def resolve_target_layer(module: nn.Module, name: str) -> nn.Module:
    """Return the submodule of that dotted name.

    Args:
        module: The model.
        name: As in `dict(module.named_modules())`, for instance `"backbone.layer4.1"`.

    Raises:
        AttributionError: If there is none; the message lists the nearest names.

    Example:
        >>> resolve_target_layer(nn.Sequential(nn.ReLU()), "0")
        ReLU()
    """
    layers: dict[str, nn.Module] = dict(module.named_modules())
    if name and name in layers:
        return layers[name]
    head = name.split(".")[0]
    near = [n for n in layers if n and n.split(".")[0] == head] or [n for n in layers if n]
    raise AttributionError(
        expected(
            "target_layer",
            "the dotted name of a submodule",
            repr(name),
            f"Name one of: {', '.join(near[-12:])}",
        )
    )


def find_target_layer(module: nn.Module, inputs: Tensor) -> str:
    """Return the dotted name of the last layer whose output is a feature map.

    A feature map is `[B, C, h, w]` with more than one position. Plain containers
    (`nn.Sequential`, or a module that only holds an `nn.ModuleList`) are opened, blocks are not:
    for ResNet this is the last residual block, not the ReLU inside.

    Call it inside `live.borrowed`.

    Args:
        module: The model; called once as `module(inputs)`.
        inputs: `[B, C, H, W]`; one sample is enough.

    Raises:
        AttributionError: If no layer gives a feature map; the message lists what the layers give.
    """
    outputs: list[tuple[str, Tensor]] = []
    shapes: list[str] = []

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes.append(f"{name} {list(output.shape)}")
                if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                    outputs.append((name, output))

        return hook

    handles = [m.register_forward_hook(note(n)) for n, m in module.named_modules() if n]
    try:
        module(inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not outputs:
        raise AttributionError(
            expected(
                "target_layer",
                "found automatically: some layer must give a feature map [B, C, h, w]",
                "; ".join(shapes[-12:]) or "no layer with a tensor output",
                "Name a layer that does, or explain a model with spatial features",
            )
        )
    last = outputs[-1][1]
    # Modules finish inside out, so the last of those that return this very tensor is outermost.
    same = [name for name, output in outputs if output is last]
    layers = dict(module.named_modules())
    name = same[-1]
    while _is_container(layers[name]):
        inner = [other for other in same if other.startswith(f"{name}.")]
        if not inner:
            break
        name = min(inner, key=lambda other: other.count("."))
    return name


def _is_container(layer: nn.Module) -> bool:
    children = list(layer.children())
    return type(layer) is nn.Sequential or (
        len(children) == 1 and isinstance(children[0], nn.ModuleList)
    )

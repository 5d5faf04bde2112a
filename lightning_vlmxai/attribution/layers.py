"""Find the layer to explain, by its dotted name or by evidence, and how it is read as a map."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..calls import Call, as_call
from ..errors import AttributionError, expected
from .capture import named_layers, observe
from .reading import SURE, Layout
from .search import Choice, Search
from .sites import Scene, look


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The layer to explain.

    Args:
        name: Its dotted name.
        layer: Itself.
        layout: How its output is a map of the picture; None where that isn't asked.
        doubt: What the reader should know of its maps; empty if all is well.
    """

    name: str
    layer: nn.Module
    layout: Layout | None = None
    doubt: str = ""


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
    """Return the dotted name of the layer to explain, as `locate` finds it."""
    return locate(module, inputs).name


def locate(module: nn.Module, inputs: Tensor | Call, name: str | None = None) -> Target:
    """Return the layer to explain, and how it is read, by what a forward shows.

    Found is the last layer that all of the picture's influence on the logits passes, whose places
    move where the picture is changed, and on whose places the logits depend. Behind a class token's
    last look at the patches these say nothing any more: then it is the last that all of the
    patches' influence passes, what that look is given. A norm of what comes before it, and a
    pooling to a fixed size, count for nothing. A dense output is explained at the last of the maps
    that the backbone hands on, without such a backbone at the last of the coarsest.

    Call it inside `live.borrowed`.

    Args:
        module: The model; called once with two rows, and a few times from some layer on.
        inputs: What it is called with, or pictures `[B, C, H, W]`; the first row is looked at.
        name: The layer, if it is known: then only how it is read is found.

    Raises:
        AttributionError: If there is none, or it is no map; the message lists what the layers give.
    """
    call = as_call(inputs)
    scene = look(module, call)
    search = Search(module, scene)
    if name is not None:
        return _read_named(module, call, scene, search, name)
    choice = search.choose()
    if choice is None:
        raise AttributionError(
            expected(
                "target_layer",
                "found automatically: some layer must give a feature map [B, C, h, w]",
                scene.describe(),
                'Name a layer that does, or pass `method="rise"` or `method="occlusion"`, '
                "which need none",
            )
        )
    return _target(module, choice)


def _target(module: nn.Module, choice: Choice) -> Target:
    name = choice.site.name
    doubt = choice.doubt
    if not doubt and choice.sure < SURE:
        doubt = (
            "its places move little more where the picture is changed than elsewhere, so that its "
            "maps may lie beside what the model looks at"
        )
    return Target(name=name, layer=named_layers(module)[name], layout=choice.layout, doubt=doubt)


def _read_named(module: nn.Module, call: Call, scene: Scene, search: Search, name: str) -> Target:
    """Return how a layer of a given name is read.

    Raises:
        AttributionError: If it isn't run, has other rows than the batch, or gives no map.
    """
    layer = resolve_target_layer(module, name, call)
    clean = next(n for n, other in named_layers(module).items() if other is layer)
    given = [site for site in scene.sites if site.is_output and site.name == clean]
    remedy = f"Name one of: {scene.describe()}"
    if clean not in scene.runs:
        raise AttributionError(
            expected("target_layer", "a layer that runs in the model's forward", repr(name), remedy)
        )
    shapes = [list(site.shape) for site in given]
    if given and given[-1].rows is None:
        raise AttributionError(
            expected(
                "target_layer",
                "a layer with one row a sample",
                f"{shapes[-1]} for 2 pictures",
                remedy,
            )
        )
    read = search.layout_of(given[-1]) if given else None
    if read is None:
        raise AttributionError(
            expected(
                "target_layer",
                "a layer whose output is a feature map [B, C, h, w], [B, h, w, C] or [B, N, C]",
                f"{shapes[-1:] or 'no such tensor'} of {name!r} for 2 pictures of "
                f"{list(call.images.shape[-2:])}",
                remedy,
            )
        )
    return _target(module, Choice(site=given[-1], layout=read[0], sure=read[1]))

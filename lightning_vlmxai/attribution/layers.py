"""Find the layer to explain, by its dotted name or by evidence, and how it is read as a map."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..calls import Call, as_call
from ..errors import AttributionError, expected
from ..tasks import Task
from .cuts import WITHOUT_LAYER, what_works
from .hooks import Place, clean_name
from .reading import MIXED, SURE, Layout
from .search import Choice, Search
from .sites import Scene, hookable, look
from .subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The layer to explain.

    Args:
        name: Its dotted name, with the run that counts and what functions make of it.
        layer: Itself.
        place: The same as the name; None where all runs count.
        layout: How its output is a map of the picture; None where that isn't asked.
        sure: The chance that a place moves more where the picture was changed than elsewhere.
        doubt: What the reader should know of its maps; empty if all is well.
    """

    name: str
    layer: nn.Module
    layout: Layout | None = None
    place: Place | None = None
    sure: float = 1.0
    doubt: str = ""

    def subject(self, module: nn.Module, inputs: Tensor | Call, task: Task) -> Subject:
        """Return what a method explains at this layer of a module."""
        return Subject(
            module=module,
            layer=self.layer,
            inputs=inputs,
            task=task,
            layout=self.layout,
            place=self.place,
        )


def resolve_target_layer(
    module: nn.Module, name: str, inputs: Tensor | Call | None = None
) -> nn.Module:
    """Return the submodule of that dotted name.

    Args:
        module: The model.
        name: As in `dict(module.named_modules())`, for instance `"backbone.layer4.1"`; a run and
            functions may follow, as in `"norm[1].relu()"`.
        inputs: What it is called with for one sample; with it the error tells the layers' shapes.

    Raises:
        AttributionError: If there is none; the message lists layers that could be named.

    Example:
        >>> resolve_target_layer(nn.Sequential(nn.ReLU()), "0")
        ReLU()
    """
    layers = hookable(module)
    clean = Place.parse(clean_name(name)).name
    if clean in layers:
        return layers[clean]
    if inputs is None:
        head = clean.split(".")[0]
        near = [n for n in layers if n.split(".")[0] == head] or list(layers)
        remedy = f"Name one of: {', '.join(near[-12:])}"
    else:
        call = as_call(inputs)
        remedy = what_works(module, call, look(module, call))
    raise AttributionError(
        expected(
            "target_layer",
            "the dotted name of a submodule that is no script",
            repr(name),
            remedy,
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
                what_works(module, call, scene),
            )
        )
    return _target(scene, search, choice)


def candidates(module: nn.Module, inputs: Tensor | Call, *, most: int = 8) -> list[Target]:
    """Return layers that could be explained, the last first: what all of the picture passes.

    Behind each stands the norm of it that only a branch is given, as in front of attention.

    Call it inside `live.borrowed`.

    Args:
        module: The model.
        inputs: As for `locate`.
        most: At most so many, evenly from all, their norms not counted.
    """
    scene = look(module, as_call(inputs))
    search = Search(module, scene)
    return [_target(scene, search, choice) for choice in search.candidates(most)]


def _target(scene: Scene, search: Search, choice: Choice, name: str = "") -> Target:
    """Return a choice as a target, under a name of the user's own if there is one."""
    doubt = choice.doubt
    if not doubt and choice.sure < SURE:
        doubt = (
            "its places move little more where the picture is changed than elsewhere, so that its "
            "maps may lie beside what the model looks at"
        )
    name = name or search.name_of(choice)
    place = Place.parse(name)
    return Target(
        name=name,
        layer=scene.layers[place.name],
        layout=choice.layout,
        place=place,
        sure=choice.sure,
        doubt=doubt,
    )


def _read_named(module: nn.Module, call: Call, scene: Scene, search: Search, name: str) -> Target:
    """Return how a layer of a given name is read.

    Raises:
        AttributionError: If it isn't run, has other rows than the batch, gives no map, or several
            that don't lie on another.
    """
    resolve_target_layer(module, name, call)
    place = Place.parse(clean_name(name))
    runs = [s for s in scene.sites if place.holds(s.name, s.run, is_output=s.is_output)]
    shapes = ", ".join(str(list(site.shape)) for site in runs) or "no such tensor"

    def refused(rule: str, got: str, remedy: str = "") -> AttributionError:
        remedy = remedy or what_works(module, call, scene)
        return AttributionError(expected("target_layer", rule, got, remedy))

    known = [call for call in scene.calls if call[0] == place.name]
    if not known or (place.run is not None and place.run >= len(known)):
        raise refused("a layer that runs in the model's forward", repr(name))
    if runs and runs[-1].rows is None:
        raise refused("a layer with one row a sample", f"{shapes} for 2")
    read = [search.layouts.of(site) for site in runs]
    layouts = [found[0] for found in read if found is not None]
    if not layouts or len(layouts) < len(runs):
        raise refused(
            "a layer whose output is a feature map [B, C, h, w], [B, h, w, C] or [B, N, C]",
            f"{shapes} of {name!r} for 2 pictures of {list(call.images.shape[-2:])}",
        )
    sure = min(found[1] for found in read if found is not None)
    # Each by itself: a flipped run moves otherwise than the first of its kind.
    clear = [search.layouts.clarity_of(run, way) for run, way in zip(runs, layouts, strict=True)]
    if len(runs) > 1 and (len(set(layouts)) > 1 or min(clear) < SURE):
        # A cut one comes close to lying so by chance.
        right = [site.run for site, own in zip(runs, clear, strict=True) if own >= MIXED]
        raise refused(
            f"a layer whose {len(runs)} runs see the picture as it lies",
            f"{shapes} of {name!r}, some of them turned, cut or of another grid",
            f'Pass `target_layer="{place.name}[{right[0]}]"`, or {WITHOUT_LAYER}' if right else "",
        )
    return _target(scene, search, Choice(site=runs[-1], layout=layouts[-1], sure=sure), name)

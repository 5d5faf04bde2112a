"""One forward of a picture beside a changed one: what every layer is given and gives."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..calls import Call
from ..tasks import logits_of
from .flow import Flow, unseen
from .grids import is_alike
from .hooks import first_tensor, named_layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A tensor that a layer was given or gave.

    Args:
        name: Dotted name of the layer.
        run: Which of its runs it was, from 0.
        is_output: Whether the layer gave it.
        step: Of the flow that made it.
        event: When it was seen; calls of layers begin and end at events.
        done: How many steps the flow had then.
        shape: With two rows, the picture's and the changed one's.
        rows: Which axis these are; None if the tensor has other rows.
    """

    name: str
    run: int
    is_output: bool
    step: int
    event: int
    done: int
    shape: tuple[int, ...]
    rows: int | None


@dataclass(frozen=True, kw_only=True)
class Movement:
    """How far a tensor's places move with the planted change: of most tensors nobody asks.

    Args:
        channels_first: What moves if channels come first, `[c, h, w]`; None if that is no grid.
        channels_last: The same if they come last, `[h, w, c]`; of tokens, `[N, c]`.
    """

    channels_first: Tensor | None
    channels_last: Tensor | None

    @cached_property
    def first(self) -> Tensor | None:
        """How far places move if channels come first, `[h, w]`."""
        return _total(self.channels_first, 0)

    @cached_property
    def last(self) -> Tensor | None:
        """How far they move if these come last, `[h, w]`; of tokens, `[N]`."""
        return _total(self.channels_last, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What one forward showed.

    Args:
        layers: The layers that were looked at, by name.
        pair: The call, of two rows.
        planted: Where the second picture was changed, `[H, W]` bool.
        flow: How the picture went through.
        sites: In the order in which they were seen.
        moved: By step.
        calls: Name of a layer, the events at which a call began and ended, what it gave; None if
            that isn't made of tensors alone.
        together: Steps of the maps that one layer gave together, in a dict, tuple or list.
        logits: What came out, `[2, ...]`.
    """

    layers: Mapping[str, nn.Module]
    pair: Call
    planted: Tensor
    flow: Flow
    sites: tuple[Site, ...]
    moved: dict[int, Movement]
    calls: tuple[tuple[str, int, int, Any], ...]
    together: tuple[frozenset[int], ...]
    logits: Tensor

    @property
    def runs(self) -> Counter[str]:
        """How often each layer ran."""
        return Counter(name for name, _, _, _ in self.calls)

    def describe(self) -> str:
        """Return the last layers that gave a tensor of three or four axes, and their shapes."""
        shapes = {
            site.name: f"{site.name} {self.one_row(site)}" for site in self.sites if site.is_output
        }
        nothing = "no layer with an output of three or four axes"
        return ", ".join(list(shapes.values())[-12:]) or nothing

    @staticmethod
    def one_row(site: Site) -> list[int]:
        """Return the shape that a layer gives to one picture, if it has a row a picture."""
        return [1 if axis == site.rows else side for axis, side in enumerate(site.shape)]


def look(
    module: nn.Module,
    call: Call,
    given: Callable[[nn.Module, Any, Any], Tensor | None] = lambda _m, args, _k: first_tensor(args),
) -> Scene:
    """Return what one forward of a picture, and of the same with a change planted, shows.

    Call it inside `live.borrowed`.

    Args:
        module: The model; called once, with two rows.
        call: What it is called with; the first row is looked at.
        given: From a layer and its positional and keyword arguments to what counts as given.
    """
    pair = call.take(torch.tensor([0, 0]))
    images, planted = plant(pair.images)
    pair = pair.with_images(images)
    flow = Flow(images)
    sites: list[Site] = []
    moved: dict[int, Movement] = {}
    calls: list[tuple[str, int, int, Any]] = []
    together: list[frozenset[int]] = []
    events = itertools.count()
    begun: dict[str, list[int]] = {}
    done: Counter[str] = Counter()

    def see(name: str, features: Tensor | None, event: int, *, is_output: bool) -> None:
        step = None if features is None else flow.step_of(features)
        if features is None or step is None or features.ndim not in (3, 4):
            return
        rows = rows_of(features)
        sites.append(
            Site(
                name=name,
                run=done[name],
                is_output=is_output,
                step=step,
                event=event,
                done=len(flow.steps),
                shape=tuple(features.shape),
                rows=rows,
            )
        )
        if rows is not None and step not in moved and features.is_floating_point():
            moved[step] = _movement(features, rows, planted)

    def before(name: str) -> Any:
        def hook(layer: nn.Module, args: Any, kwargs: Any) -> None:
            event = next(events)
            begun.setdefault(name, []).append(event)
            with unseen():
                see(name, given(layer, args, kwargs), event, is_output=False)

        return hook

    def behind(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            event = next(events)
            calls.append((name, begun[name].pop(), event, _outline(output)))
            with unseen():
                see(name, first_tensor(output), event, is_output=True)
                done[name] += 1
                if maps := _maps(output):
                    together.append(frozenset(flow.step_of(leaf) or 0 for leaf in maps))

        return hook

    layers = hookable(module)
    with ExitStack() as stack:
        handles: list[RemovableHandle] = []
        stack.callback(_remove, handles)
        for name, layer in layers.items():
            handles.append(layer.register_forward_pre_hook(before(name), with_kwargs=True))
            handles.append(layer.register_forward_hook(behind(name)))
        stack.enter_context(torch.no_grad())
        stack.enter_context(eager())
        stack.enter_context(flow)
        logits = logits_of(pair.run(module))
    return Scene(
        layers=layers,
        pair=pair,
        planted=planted,
        flow=flow,
        sites=tuple(sites),
        moved=moved,
        calls=tuple(calls),
        together=tuple(together),
        logits=logits,
    )


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()


def plant(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures `[2, C, H, W]` of which the second is changed, and where, `[H, W]` bool.

    Everything but the lower left quarter becomes noise: no two ways of laying the places in a row
    move the same of them.
    """
    height, width = images.shape[-2:]
    where = torch.ones(height, width, dtype=torch.bool)
    where[height // 2 :, : width // 2] = False
    planted = where.to(images.device)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape[1:], generator=generator).to(images.device)
    if images.is_floating_point():
        centre, spread = images[1].float().mean(), images[1].float().std(correction=0)
        noise = (centre + spread.where(spread > 0, 1.0) * noise).to(images.dtype)
    else:
        noise = (128 + 48 * noise).clamp(0, 255).to(images.dtype)
    changed = torch.where(planted, noise, images[1])
    return torch.stack([images[0], changed]), where


def rows_of(features: Tensor) -> int | None:
    """Return the axis of the two rows; None if there is none."""
    if features.shape[0] == 2:
        return 0
    return 1 if features.ndim == 3 and features.shape[1] == 2 else None


def hookable(module: nn.Module) -> dict[str, nn.Module]:
    """Return the submodules that can be hooked, by name: scripts can't."""
    return {
        name: layer
        for name, layer in named_layers(module).items()
        if not isinstance(layer, torch.jit.ScriptModule)
    }


@contextmanager
def eager() -> Iterator[None]:
    """Run compiled modules as they are written, so that hooks see what they do."""
    with torch.compiler.set_stance("force_eager"):
        yield


def _maps(output: Any) -> list[Tensor]:
    """Return the maps among what a layer gave together, lists within it opened once."""
    if isinstance(output, Mapping):
        output = list(output.values())
    if not isinstance(output, (list, tuple)):
        return []
    inner = [leaf for value in output if isinstance(value, (list, tuple)) for leaf in value]
    return [leaf for leaf in [*output, *inner] if isinstance(leaf, Tensor) and leaf.ndim == 4]


def _movement(features: Tensor, rows: int, planted: Tensor) -> Movement:
    """Return how places move, as seen in some of the channels."""
    size = (planted.shape[0], planted.shape[1])
    sides = [side for axis, side in enumerate(features.shape) if axis != rows]

    def difference(channels: int) -> Tensor:
        axis = channels if channels < rows else channels + 1
        stride = -(-sides[channels] // _CHANNELS)
        picture, changed = features[(*[slice(None)] * axis, slice(None, None, stride))].unbind(rows)
        return changed - picture

    def is_grid(height: int, width: int) -> bool:
        return min(height, width) > 1 and (
            is_alike(height, width, size) or is_alike(width, height, size)
        )

    last = len(sides) - 1
    return Movement(
        channels_first=difference(0) if last == 2 and is_grid(*sides[1:]) else None,
        channels_last=difference(last) if last == 1 or is_grid(*sides[:2]) else None,
    )


def _total(difference: Tensor | None, axis: int) -> Tensor | None:
    return None if difference is None else difference.abs().sum(dim=axis, dtype=torch.float32)


_CHANNELS = 16
"""So many channels at most are looked at."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A tensor without its values."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def _outline(output: Any) -> Any:
    """Return what a layer gave, with outlines for tensors; None if it isn't plain."""
    if isinstance(output, Tensor):
        return Outline(tuple(output.shape), output.dtype)
    if type(output) in (tuple, list):
        parts = [_outline(part) for part in output]
        return None if None in parts else type(output)(parts)
    return None

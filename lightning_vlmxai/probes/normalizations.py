"""Which mean and standard deviation the network's input was made with: proposed, then proven."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import types
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .evidence import difference, fills_range, is_on_grid, to_picture

_MOST = 4000
"""How many objects are looked at, at most, for each that is searched."""

_HOOKS = ("transfer_batch_to_device", "on_before_batch_transfer", "on_after_batch_transfer")
_PASSED_OVER = ("multiprocessing", "threading", "queue", "logging", "lightning.pytorch.trainer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """Mean and standard deviation a channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, given: tuple[Sequence[float], Sequence[float]] | None) -> Normalization | None:
        """Return a normalisation from (mean, std), or None for None."""
        return None if given is None else cls(mean=tuple(given[0]), std=tuple(given[1]))

    def undo(self, image: Tensor) -> Tensor:
        """Return `image * std + mean`, `[C, H, W]`."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return image.float() * std[:, None, None] + mean[:, None, None]

    def over(self, scale: float) -> Normalization:
        """Return it for pixels that were `scale` times as large: both divided."""
        return Normalization(
            mean=tuple(m / scale for m in self.mean), std=tuple(s / scale for s in self.std)
        )

    def __str__(self) -> str:
        mean, std = ([float(f"{v:.6g}") for v in part] for part in (self.mean, self.std))
        return f"normalization=({mean}, {std})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A mean and standard deviation that lie about somewhere.

    Args:
        normalization: Of pixels in whatever unit they had.
        place: Where they were found, in words.
        is_step: They are those of a `Normalize` in what makes the loader's batches.
    """

    normalization: Normalization
    place: str
    is_step: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search came upon.

    Args:
        proposals: Without doublets.
        stretches: Names the modes of transforms that give each picture statistics of its own.
    """

    proposals: tuple[Proposal, ...] = ()
    stretches: tuple[str, ...] = ()


def search(making: Sequence[Any], others: Sequence[Any] = ()) -> Found:
    """Return every mean with a standard deviation that some objects hold, however deep.

    Looked into are attributes, mappings, the first of a sequence, submodules and their buffers,
    what functions close over or name, and the arguments of partials: so torchvision, Albumentations
    (by its real mode), kornia, timm's configurations and Hugging Face's processors are found
    without being known. A proposal is none until the pictures prove it.

    Args:
        making: What makes the loader's batches: data set, collate function.
        others: What else may know: module, data module.
    """
    found: dict[Normalization, Proposal] = {}
    stretches: dict[str, None] = {}
    for holder, is_making in [*((h, True) for h in making), *((h, False) for h in others)]:
        for part in _walk(holder):
            mode = _mode_of(part)
            if mode is not None and mode != "standard":
                if is_making:
                    stretches.setdefault(f'{type(part).__name__}(normalization="{mode}")')
                continue
            is_step = is_making and type(part).__name__ == "Normalize"
            place = f"the {type(part).__name__} in {type(holder).__name__}"
            for normalization in _pairs_in(part):
                known = found.get(normalization)
                if known is None or (is_step and not known.is_step):
                    found[normalization] = Proposal(
                        normalization=normalization, place=place, is_step=is_step
                    )
    return Found(proposals=tuple(found.values()), stretches=tuple(stretches))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A normalisation that fits all inputs.

    Args:
        normalization: Of pixels in [0, 1].
        proof: 3 if the undone pixels are whole 255ths, 2 if they fill [0, 1] in each channel, 1 if
            it is that of the one step that the batches go through, 0 if nothing speaks for it.
        place: Where it was found; empty for what is always tried.
    """

    normalization: Normalization
    proof: int
    place: str


def choose_normalizations(
    given: Sequence[Tensor], proposals: Sequence[Proposal], *, always: bool = True
) -> list[Chosen]:
    """Return those that undo every input to a picture, the best proven; several if they differ.

    Args:
        given: What the network was given, `[C, H, W]` each.
        proposals: See `search`.
        always: Whether to try as well that nothing was done to pixels in [0, 1] or from 0 to 255.

    Example:
        >>> picture = torch.arange(48).reshape(3, 4, 4) * 5 / 255
        >>> half = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)
        >>> tried = [Proposal(normalization=half, place="here")]
        >>> [(c.proof, c.place) for c in choose_normalizations([(picture - 0.5) / 0.5], tried)]
        [(3, 'here')]
    """
    channels = given[0].shape[0]
    if channels not in (1, 3):
        return []
    as_it_is = Normalization(mean=(0.0,), std=(1.0,))
    tried = list(proposals)
    if always:
        tried.append(Proposal(normalization=as_it_is, place=""))
    # Of several steps nobody can say which ones a picture went through.
    is_sure = sum(proposal.is_step for proposal in proposals) == 1
    fitting: list[tuple[Chosen, list[Tensor]]] = []
    for proposal in tried:
        if len(proposal.normalization.mean) not in (1, channels):
            continue
        for scale in (1.0, 255.0):
            normalization = proposal.normalization.over(scale)
            undone = [normalization.undo(image) for image in given]
            shown = [picture for picture in map(to_picture, undone) if picture is not None]
            proof = 3 if is_on_grid(undone) else 2 if fills_range(undone) else 0
            # Whatever lies about 0 is in [0, 1] once it is divided by 255: dark, and no picture.
            is_bright = scale == 1 or max(float(image.max()) for image in undone) > 0.2
            if len(shown) == len(given) and is_bright:
                chosen = Chosen(
                    normalization=normalization,
                    proof=max(proof, int(proposal.is_step and is_sure)),
                    place=proposal.place,
                )
                fitting.append((chosen, shown))
                break
    best = max((chosen.proof for chosen, _ in fitting), default=0)
    kept: list[tuple[Chosen, list[Tensor]]] = []
    for chosen, shown in fitting:
        is_new = all(difference(shown, other) > 2 / 255 for _, other in kept)
        if chosen.proof == best and is_new:
            kept.append((chosen, shown))
    return [chosen for chosen, _ in kept]


def _walk(start: Any) -> Iterator[Any]:
    """Yield an object and what it holds, nearest first, each once."""
    seen: set[int] = set()
    waiting = deque([start])
    while waiting and len(seen) < _MOST:
        part = waiting.popleft()
        if id(part) in seen or _is_leaf(part):
            continue
        seen.add(id(part))
        yield part
        waiting.extend(_children(part))


def _is_leaf(part: Any) -> bool:
    if part is None or isinstance(
        part, (str, bytes, int, float, complex, Tensor, np.ndarray, type, types.ModuleType)
    ):
        return True
    return type(part).__module__.startswith(_PASSED_OVER)


def _children(part: Any) -> Iterator[Any]:
    if isinstance(part, Mapping):
        yield from _first(part.values()) if len(part) <= 512 else ()
    elif isinstance(part, (list, tuple, deque, set, frozenset)):
        yield from _first(part)
    elif isinstance(part, functools.partial):
        yield from (part.func, *part.args, *part.keywords.values())
    elif isinstance(part, types.MethodType):
        yield from (part.__self__, part.__func__)
    elif isinstance(part, types.FunctionType):
        yield from _reach(part)
    else:
        own = _own(part)
        if isinstance(part, nn.Module):
            yield from part._modules.values()
            yield from (vars(type(part)).get(name) for name in _HOOKS)
        # A module's own books, a loader's workers, and the trainer with all that it knows.
        hidden = ("_trainer", "trainer", "_fabric", "_iterator", "_modules", "_parameters")
        yield from (v for k, v in own.items() if k not in hidden and not k.endswith("_hooks"))
        called = inspect.getattr_static(type(part), "__call__", None)
        if isinstance(called, types.FunctionType):
            yield from _reach(called)


def _first(parts: Any, most: int = 64) -> Iterator[Any]:
    for _, part in zip(range(most), parts, strict=False):
        yield part


def _reach(function: types.FunctionType) -> Iterator[Any]:
    """Yield what a function closes over, and the globals that it names."""
    code = function.__code__
    named = {name: function.__globals__.get(name) for name in code.co_names}
    with contextlib.suppress(ValueError):  # a cell may not be filled yet
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        named |= dict(zip(code.co_freevars, cells, strict=True))
    yield named
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


def _own(part: Any) -> dict[str, Any]:
    """Return the attributes that an object holds itself; no property is asked."""
    found = dict(getattr(part, "__dict__", None) or {})
    if dataclasses.is_dataclass(part):
        names = [field.name for field in dataclasses.fields(part)]
        found.update({n: getattr(part, n) for n in names if n not in found and hasattr(part, n)})
    return found


def _pairs_in(part: Any) -> Iterator[Normalization]:
    """Yield each mean that stands beside a standard deviation of the same name."""
    if isinstance(part, Mapping):
        values = {k: v for k, v in _first(part.items(), 512) if isinstance(k, str)}
    else:
        values = _own(part)
        if isinstance(part, nn.Module):
            values.update(part._buffers)
        if values.get("do_normalize") is False:
            return
        for name in ("mean", "std"):  # of the class
            value = inspect.getattr_static(part, name, None)
            if name not in values:
                values[name] = value
    for name, value in list(values.items()):
        for word, its in (("mean", "std"), ("Mean", "Std"), ("MEAN", "STD")):
            other = name.replace(word, its)
            if other != name and other in values:
                normalization = _read(value, values[other], values)
                if normalization is not None:
                    yield normalization


def _read(mean: Any, std: Any, beside: Mapping[str, Any]) -> Normalization | None:
    means, stds = _numbers(mean), _numbers(std)
    if not means or not stds or any(s <= 0 for s in stds):
        return None
    longest = max(len(means), len(stds))
    if len(means) not in (1, longest) or len(stds) not in (1, longest):
        return None
    unit = beside.get("max_pixel_value")  # Albumentations
    unit = float(unit) if isinstance(unit, (int, float)) and unit > 0 else 1.0
    return Normalization(
        mean=tuple(unit * m for m in means * (longest // len(means))),
        std=tuple(unit * s for s in stds * (longest // len(stds))),
    )


def _numbers(value: Any) -> tuple[float, ...]:
    """Return a few numbers, or none if that is not what it is."""
    if isinstance(value, bool) or value is None or callable(value):
        return ()
    if isinstance(value, (int, float)):
        value = [value]
    if not isinstance(value, (Sequence, np.ndarray, Tensor)) or isinstance(value, (str, bytes)):
        return ()
    if isinstance(value, (np.ndarray, Tensor)):
        size = value.numel() if isinstance(value, Tensor) else value.size
        if not 0 < size <= 64 or (isinstance(value, Tensor) and value.is_meta):
            return ()
        value = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        value = value.reshape(-1).tolist()
    if not 0 < len(value) <= 64 or not all(isinstance(v, (int, float, np.floating)) for v in value):
        return ()
    return tuple(float(v) for v in value)


def _mode_of(part: Any) -> str | None:
    """Return how an Albumentations `Normalize` works; only "standard" uses mean and std."""
    mode = _own(part).get("normalization") if type(part).__name__ == "Normalize" else None
    return mode if isinstance(mode, str) else None

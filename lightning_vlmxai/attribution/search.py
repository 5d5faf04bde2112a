"""Choose the layer to explain: the last that all influence on the logits passes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from ..tasks import logits_of
from .capture import first_tensor, named_layers, replace_first
from .reading import SURE, Layout, read_axes, read_mixed, read_untouched, score_of
from .sites import Scene, Site, eager

Changes = dict[str, Callable[[Tensor], Tensor]]
"""What is made of the tensor that a layer gives, by the layer's name."""

MOST_TRIES = 12
"""How many layers at most are tried for influence."""

_PRODUCTS = ("mm", "conv", "linear", "attention", "matmul", "einsum", "lstm", "gru", "encoder")
_NORMS = ("layer_norm", "rms_norm", "group_norm", "rsqrt", "var_mean")
_BENDS = ("relu", "gelu", "silu", "hardswish", "elu", "mish", "sigmoid", "tanh", "softplus")
_SAMPLERS = ("adaptive", "upsample", "interpolate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A layer and how it is read.

    Args:
        site: Where.
        layout: How its tensor is a map of the picture.
        sure: How sure it is that places move where the picture does, in [0, 1].
        doubt: What the reader should know; empty if all is well.
    """

    site: Site
    layout: Layout
    sure: float
    doubt: str = ""


class Search:
    """Looks through what a forward showed.

    Args:
        module: The model.
        scene: What it showed.
    """

    def __init__(self, module: nn.Module, scene: Scene) -> None:
        self._module = module
        self._scene = scene
        self._flow = scene.flow

    def choose(self) -> Choice | None:
        """Return the layer to explain; None if there is none."""
        if self._scene.logits.ndim == 4:
            return self._choose_dense() or self._choose_passage()
        return self._choose_passage() or self._choose_stream()

    def layout_of(self, site: Site) -> tuple[Layout, float] | None:
        """Return how a site's tensor is a map, and how sure that is; None if it isn't one."""
        moved = self._scene.moved.get(site.step)
        if site.rows is None or moved is None:
            return None
        planted = self._scene.planted
        if len(site.shape) == 4:
            return read_axes(moved.first, moved.last, planted)
        places = moved.last
        count = site.shape[1 - site.rows]
        for (tokens, _), layout in self._untouched.items():
            if tokens == count:
                found = Layout(
                    rows=site.rows,
                    grid=layout.grid,
                    channels=2,
                    start=layout.start,
                    ends=layout.ends,
                    is_transposed=layout.is_transposed,
                )
                return found, score_of(found, places, planted)
        return read_mixed(places, planted, list(self._untouched.values()), rows=site.rows)

    @cached_property
    def _untouched(self) -> dict[tuple[int, int], Layout]:
        """Layouts of tokens as they were before they were mixed, the first of each number."""
        found: dict[tuple[int, int], Layout] = {}
        for site in self._scene.sites:
            if len(site.shape) != 3 or site.rows is None or site.step not in self._scene.moved:
                continue
            count = site.shape[1 - site.rows]
            if (count, 0) in found:
                continue
            moved = self._scene.moved[site.step].last
            layout = read_untouched(moved, self._scene.planted, rows=site.rows)
            if layout is not None:
                found[count, 0] = layout
        return found

    @cached_property
    def _influential(self) -> set[int]:
        return self._flow.influential([self._scene.logits])

    @cached_property
    def _passages(self) -> set[int]:
        return set(self._flow.passages([self._scene.logits]))

    @cached_property
    def _uses(self) -> dict[int, list[int]]:
        """By step, which steps that count were given its result."""
        uses: dict[int, list[int]] = {}
        for number in self._influential:
            for parent in self._flow.steps[number].parents:
                uses.setdefault(parent, []).append(number)
        return uses

    @cached_property
    def _outputs(self) -> list[Site]:
        return [site for site in self._scene.sites if site.is_output]

    def _choose_passage(self) -> Choice | None:
        """Return the last readable tensor that everything passes and whose places matter."""
        groups: dict[int, list[Site]] = {}
        for site in self._outputs:
            if site.step in self._passages:
                groups.setdefault(self._flow.source(site.step), []).append(site)
        readable = (
            choice
            for key in sorted(groups, reverse=True)
            if (choice := self._read_group(groups[key])) is not None
        )
        unsure: Choice | None = None
        for choice in itertools.islice(self._without_samplers(readable), MOST_TRIES):
            if not self.matters(choice):
                continue
            if choice.sure < SURE:
                unsure = unsure or choice
                continue
            return self._refine(choice)
        return unsure

    def _read_group(self, sites: Sequence[Site]) -> Choice | None:
        """Return the first readable of sites that hold the same memory."""
        for site in sorted(sites, key=lambda site: (site.step, site.event)):
            read = self.layout_of(site)
            if read is not None:
                return Choice(site=self._named(site), layout=read[0], sure=read[1])
        return None

    def _without_samplers(self, choices: Iterator[Choice]) -> Iterator[Choice]:
        """Yield choices, last first, less those that only resample or normalise the one before."""
        for choice, before in itertools.pairwise(itertools.chain(choices, [None])):
            if choice is not None and (before is None or not self._is_same_map(before, choice)):
                yield choice

    def _is_same_map(self, before: Choice, choice: Choice) -> bool:
        steps = self._flow.between(before.site.step, choice.site.step)
        mixes, samples, norms, bends = (
            any(part in step for part in parts for step in steps)
            for parts in (_PRODUCTS, _SAMPLERS, _NORMS, _BENDS)
        )
        is_norm = norms and not bends and before.layout == choice.layout
        return not mixes and (samples or is_norm)

    def _refine(self, choice: Choice) -> Choice:
        """Return what comes last behind a choice among which the patches still count alone.

        Where a class token takes from the patches for the last time, all that they say passes what
        it takes from; past it only the tokens' own way leads on.
        """
        if not choice.layout.has_others:
            return choice
        found = choice
        for site in self._outputs:
            if site.event <= choice.site.event or site.shape != choice.site.shape:
                continue
            if (
                site.step not in self._influential
                or self._flow.source(site.step) <= choice.site.step
            ):
                continue
            read = self.layout_of(site)
            if read is None:
                continue
            later = Choice(site=self._named(site), layout=read[0], sure=read[1])
            if not self._carries(later, choice) or not self.matters(later):
                break
            found = later
        return found

    def _choose_stream(self) -> Choice | None:
        """Return the last readable tensor that matters, where none has it all."""
        for site in sorted(self._outputs, key=lambda site: -site.step)[:200]:
            read = self.layout_of(site) if site.step in self._influential else None
            if read is None or read[1] < SURE:
                continue
            choice = Choice(site=self._named(site), layout=read[0], sure=read[1])
            if self.matters(choice):
                doubt = (
                    "the picture also reaches the logits by another way, which a map at this layer "
                    "doesn't show"
                )
                return Choice(site=choice.site, layout=read[0], sure=read[1], doubt=doubt)
        return None

    def _choose_dense(self) -> Choice | None:
        """Return the map that a dense output is made of.

        Of the maps that a backbone hands on together, the one made last; without these the last
        of the coarsest. What was pooled beside it, as in a pyramid, is none.
        """
        maps: list[Choice] = []
        for site in self._outputs:
            if len(site.shape) != 4 or site.step not in self._influential:
                continue
            read = self.layout_of(site)
            is_output = site.shape[1] == self._scene.logits.shape[1]
            if read is not None and read[0].channels == 1 and not is_output:
                maps.append(Choice(site=site, layout=read[0], sure=read[1]))
        maps = [choice for choice in maps if not self._is_pooled(choice.site.step)]
        if not maps:
            return None
        logits = self._flow.step_of(self._scene.logits)
        for together in self._scene.together:
            made = [choice for choice in maps if choice.site.step in together]
            if made and logits not in together:
                return self._outermost(max(made, key=lambda choice: choice.site.step))
        coarsest = min(choice.layout.grid[0] * choice.layout.grid[1] for choice in maps)
        of_these = [c for c in maps if c.layout.grid[0] * c.layout.grid[1] == coarsest]
        return self._outermost(max(of_these, key=lambda choice: choice.site.step))

    def _outermost(self, choice: Choice) -> Choice:
        return replace(choice, site=self._around(choice.site)[-1])

    def _is_pooled(self, step: int) -> bool:
        """Return whether a map comes from one that was pooled to a fixed size, not from the whole.

        Of several things that an operation is given the largest is followed: the weight of a
        channel is pooled too.
        """
        while parents := self._flow.steps[step].parents:
            found = self._flow.steps[step]
            if "adaptive" in found.name and found.cells is not None and found.cells != (1, 1):
                return True
            step = max(parents, key=lambda n: (math.prod(self._flow.steps[n].cells or (0,)), -n))
        return False

    def _named(self, site: Site) -> Site:
        """Return the same tensor at the outermost block that gave it, plain containers opened."""
        layers = named_layers(self._module)
        same = [s for s in self._outputs if s.step == site.step]
        found = self._around(site)[-1]
        while _is_container(layers[found.name]):
            inner = [s for s in same if s.name.startswith(f"{found.name}.")]
            if not inner:
                break
            depth = min(s.name.count(".") for s in inner)
            # The first child: what comes behind gives back what it is given.
            found = next(s for s in inner if s.name.count(".") == depth)
        return found

    def _around(self, site: Site) -> list[Site]:
        """Return who made a site's tensor, and the layers around it that gave it on."""
        same = [s for s in self._outputs if s.step == site.step]
        # What gives it on when it was used already, beside its answer, can't change it any more.
        used = min(self._uses.get(site.step, ()), default=len(self._flow.steps))
        around = (s for s in same if s.done <= used and same[0].name.startswith(f"{s.name}."))
        return [same[0], *around]

    def matters(self, choice: Choice) -> bool:
        """Return whether the logits depend on the places of a choice."""
        if not choice.layout.has_others and choice.site.step in self._passages:
            return True  # all of the picture's influence passes, and all of it is places
        name = choice.site.name
        return self._differ(
            {name: lambda features: features},
            {name: partial(choice.layout.spoil, value=torch.nan)},
        )

    def _carries(self, later: Choice, choice: Choice) -> bool:
        """Return whether all that the places of a choice say passes a later one."""
        kept: list[Tensor] = []

        def keep(features: Tensor) -> Tensor:
            kept.append(features.clone())
            return features

        return not self._differ(
            {choice.site.name: lambda features: features, later.site.name: keep},
            {
                choice.site.name: partial(choice.layout.spoil, value=torch.nan),
                later.site.name: lambda _features: kept[-1],
            },
        )

    def _differ(self, clean: Changes, spoilt: Changes) -> bool:
        """Return whether the logits differ between two ways to change what some layers give.

        What ends before the first of these layers isn't run again, but gives zeros: only behind
        it do the two ways differ.
        """
        begin = min(s.event for s in self._outputs if s.name in clean)
        skipped = self._done_before(begin, clean)
        try:
            before = self._run(clean, skipped)
        except Exception:  # a network may not like zeros: then all of it runs
            before = torch.tensor(torch.nan)
        if not bool(before.isfinite().all()):
            skipped = {}
            before = self._run(clean, skipped)
        behind = self._run(spoilt, skipped)
        return not torch.allclose(behind, before, rtol=1e-3, atol=1e-5)

    def _done_before(self, event: int, changes: Changes) -> dict[str, Any]:
        """Return what layers give that are done before an event, the outermost of them."""
        done: dict[str, Any] = {}
        later: set[str] = set()
        for name, _, end, output in self._scene.calls:
            if end >= event or not _is_plain(output):
                later.add(name)
            else:
                done[name] = output
        can = {name for name in done if name not in later and name not in changes}
        return {
            name: done[name]
            for name in can
            if not any(name.startswith(f"{other}.") for other in can)
        }

    def _run(self, changes: Changes, skipped: dict[str, Any]) -> Tensor:
        layers = named_layers(self._module)
        with ExitStack() as stack:
            for name, change in changes.items():

                def hook(_module: nn.Module, _args: Any, output: Any, change: Any = change) -> Any:
                    features = first_tensor(output)
                    return None if features is None else replace_first(output, change(features))

                stack.callback(layers[name].register_forward_hook(hook).remove)
            for name, output in skipped.items():
                _skip(stack, layers[name], output, self._scene.pair.images.device)
            stack.enter_context(torch.no_grad())
            stack.enter_context(eager())
            return logits_of(self._scene.pair.run(self._module)).float()


def _skip(stack: ExitStack, layer: nn.Module, output: Any, device: torch.device) -> None:
    """Let a layer give zeros, without running, for as long as the stack is open."""

    def give(*_args: Any, **_kwargs: Any) -> Any:
        return torch.utils._pytree.tree_map(
            lambda leaf: (
                torch.zeros(leaf.shape, dtype=leaf.dtype, device=device)
                if isinstance(leaf, Tensor)
                else leaf
            ),
            output,
        )

    had = "forward" in vars(layer)
    before = vars(layer).get("forward")
    vars(layer)["forward"] = give

    def restore() -> None:
        if had:
            vars(layer)["forward"] = before
        else:
            del vars(layer)["forward"]

    stack.callback(restore)


def _is_plain(output: Any) -> bool:
    return all(
        leaf is None or isinstance(leaf, (Tensor, int, float, str, bool))
        for leaf in torch.utils._pytree.tree_leaves(output)
    )


def _is_container(layer: nn.Module) -> bool:
    children = list(layer.children())
    return type(layer) is nn.Sequential or (
        len(children) == 1 and isinstance(children[0], nn.ModuleList)
    )

"""Choose the layer to explain: the last that all influence on the logits passes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from .hooks import Place, plain_name
from .layouts import Layouts
from .reading import SURE, Layout
from .sites import Scene, Site
from .trials import Trials

MOST_TRIES = 12
"""How many layers at most are tried for influence."""

_PRODUCTS = ("mm", "conv", "linear", "attention", "matmul", "einsum", "lstm", "gru", "encoder")
_NORMS = ("layer_norm", "rms_norm", "group_norm", "rsqrt", "var_mean")
_BENDS = ("relu", "gelu", "silu", "hardswish", "elu", "mish", "sigmoid", "tanh", "softplus")
_FUNCTIONS = ("add", "relu", "gelu", "silu", "hardswish", "leaky_relu", "elu", "sigmoid", "tanh")
_MOST_FUNCTIONS = 3
_SAMPLERS = ("adaptive", "upsample", "interpolate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A layer and how it is read.

    Args:
        site: Where.
        layout: How its tensor is a map of the picture.
        sure: How sure it is that places move where the picture does, in [0, 1].
        steps: Functions that are called with what the site gives.
        at: The flow's step of what they make of it; None without functions.
        doubt: What the reader should know; empty if all is well.
    """

    site: Site
    layout: Layout
    sure: float
    steps: tuple[str, ...] = ()
    at: int | None = None
    doubt: str = ""

    @property
    def step(self) -> int:
        """The flow's step that made the tensor."""
        return self.site.step if self.at is None else self.at


class Search:
    """Looks through what a forward showed.

    Args:
        module: The model.
        scene: What it showed.
    """

    def __init__(self, module: nn.Module, scene: Scene) -> None:
        self._scene = scene
        self._flow = scene.flow
        self._trials = Trials(module, scene)
        self.layouts = Layouts(scene)

    def choose(self) -> Choice | None:
        """Return the layer to explain; None if there is none."""
        if self._scene.logits.ndim == 4:
            return self._choose_dense() or self._choose_passage()
        choice = self._choose_passage()
        return self._choose_stream() if choice is None else self._doubt_early(choice)

    def candidates(self, most: int) -> list[Choice]:
        """Return layers that all influence passes, at most so many, and norms of them; last first.

        A norm that only a branch is given sees what that branch, attention say, takes from there.
        """
        groups = (self._groups[step] for step in sorted(self._groups, reverse=True))
        read = (choice for sites in groups if (choice := self._read_group(sites)) is not None)
        found = list(self._without_samplers(read))
        some = [found[i * len(found) // most] for i in range(most)] if len(found) > most else found
        both = (one for choice in some for one in (*self._norms_of(choice), choice))
        return [choice for choice in both if self.matters(choice)]

    def _norms_of(self, choice: Choice) -> list[Choice]:
        """Return the first norm that a branch is given before the next passage, if there is one."""
        passages = self.layouts.passages
        for site in self._outputs:
            if site.step in passages and self._flow.source(site.step) > choice.step:
                break
            is_branch = site.step in self._influential and site.step not in passages
            if site.step <= choice.step or not is_branch:
                continue
            read = self.layouts.of(site)
            before = max(step for step in passages if step < site.step)
            if read is not None and self._is_norm(before, site.step):
                return [Choice(site=self._named(site), layout=read[0], sure=read[1])]
        return []

    @cached_property
    def _influential(self) -> set[int]:
        return self._flow.influential([self._scene.logits])

    @cached_property
    def _groups(self) -> dict[int, list[Site]]:
        """By step, the layers that gave a passage that holds its memory."""
        groups: dict[int, list[Site]] = {}
        for site in self._outputs:
            if site.step in self.layouts.passages:
                groups.setdefault(self._flow.source(site.step), []).append(site)
        return groups

    @cached_property
    def _given(self) -> dict[int, Site]:
        """By step, the layer that gave its result first."""
        return {site.step: site for site in reversed(self._outputs)}

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
        groups = self._groups
        steps = sorted(groups.keys() | self.layouts.passages, reverse=True)
        readable = (
            choice
            for step in steps
            if (choice := self._read_group(groups.get(step, ())) or self._read_between(step))
            is not None
        )
        unsure: Choice | None = None
        for choice in itertools.islice(self._without_samplers(readable), MOST_TRIES):
            if not self.matters(choice):
                continue
            name = self.name_of(choice)
            if choice.at is not None and not self._trials.can_be_met(name, choice.site):
                continue
            if choice.sure < SURE:
                unsure = unsure or choice
                continue
            return self._refine(choice)
        return unsure

    def _doubt_early(self, choice: Choice) -> Choice:
        """Return a choice, doubted if the network goes on to coarser maps by several ways."""
        behind = [s for s in self._outputs if s.step > choice.step and s.step in self._influential]
        is_early = 2 * sum(n > choice.step for n in self._influential) > len(self._influential)
        cells = math.prod(choice.layout.grid)
        for site in behind if is_early and not choice.doubt else ():
            read = self.layouts.of(site) if site.step not in self.layouts.passages else None
            if read is not None and math.prod(read[0].grid) < cells:
                doubt = (
                    "most of the network lies behind it, on several ways to the logits, of which "
                    "its maps don't show what each is for"
                )
                return replace(choice, doubt=doubt)
        return choice

    def _read_group(self, sites: Sequence[Site]) -> Choice | None:
        """Return the first readable of sites that hold the same memory."""
        for site in sorted(sites, key=lambda site: (site.step, site.event)):
            read = self.layouts.of(site)
            if read is not None:
                return Choice(site=self._named(site), layout=read[0], sure=read[1])
        return None

    def _read_between(self, step: int) -> Choice | None:
        """Return a passage that no layer gave: made by functions, or given to the next layer."""
        if step in self._given or self._flow.source(step) == 0:
            return None
        choice = self._read_function(step)
        taken = [s for s in self._scene.sites if s.step == step]
        if choice is not None or not taken or (read := self.layouts.of(taken[0])) is None:
            return choice
        return Choice(site=taken[0], layout=read[0], sure=read[1], steps=("input",))

    def _read_function(self, step: int) -> Choice | None:
        """Return a passage that functions made of what a layer gave, if it is one."""
        names: list[str] = []
        at = step
        while at not in self._given and len(names) < _MOST_FUNCTIONS:
            made = self._flow.steps[at]
            name = plain_name(made.name)
            if name not in _FUNCTIONS or made.shape != self._flow.steps[step].shape:
                return None
            names.insert(0, name)
            at = max(made.parents)
        site = self._given.get(at)
        if site is None or site.shape != self._flow.steps[step].shape or not names:
            return None
        read = self.layouts.of(site)
        if read is None:
            return None
        return Choice(site=site, layout=read[0], sure=read[1], steps=tuple(names), at=step)

    def _without_samplers(self, choices: Iterator[Choice]) -> Iterator[Choice]:
        """Yield choices, last first, less those that only resample or normalise the one before."""
        for choice, before in itertools.pairwise(itertools.chain(choices, [None])):
            if choice is not None and (before is None or not self._is_same_map(before, choice)):
                yield choice

    def _is_same_map(self, before: Choice, choice: Choice) -> bool:
        steps = self._flow.between(before.step, choice.step)
        if _has(steps, _SAMPLERS) and not _has(steps, _PRODUCTS):
            return True
        is_alike = not before.steps and before.layout == choice.layout
        return is_alike and self._is_norm(before.step, choice.step)

    def _is_norm(self, before: int, step: int) -> bool:
        """Return whether a passage is only normalised, with nothing learned from other places."""
        steps = self._flow.between(before, step)
        return _has(steps, _NORMS) and not _has(steps, (*_PRODUCTS, *_BENDS))

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
            read = self.layouts.of(site)
            if read is None:
                continue
            later = Choice(site=self._named(site), layout=read[0], sure=read[1])
            if not self._trials.carries(
                self.name_of(later), self.name_of(choice), choice.layout
            ) or not self.matters(later):
                break
            found = later
        return found

    def _choose_stream(self) -> Choice | None:
        """Return the last readable tensor that matters, where none has it all."""
        for site in sorted(self._outputs, key=lambda site: -site.step)[:200]:
            read = self.layouts.of(site) if site.step in self._influential else None
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
            read = self.layouts.of(site)
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
            if "adaptive" in found.name and found.cells not in ((), (1, 1)):
                return True
            step = max(parents, key=lambda n: (math.prod(self._flow.steps[n].cells), -n))
        return False

    def _named(self, site: Site) -> Site:
        """Return the same tensor at the outermost block that gave it, plain containers opened."""
        layers = self._scene.layers
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

    def name_of(self, choice: Choice) -> str:
        """Return the name of a choice's place."""
        run = choice.site.run if self._scene.runs[choice.site.name] > 1 else None
        return str(Place(name=choice.site.name, run=run, steps=choice.steps))

    def matters(self, choice: Choice) -> bool:
        """Return whether the logits depend on the places of a choice."""
        if not choice.layout.has_others and choice.step in self.layouts.passages:
            return True  # all of the picture's influence passes, and all of it is places
        return self._trials.matters(self.name_of(choice), choice.layout)


def _has(steps: Sequence[str], parts: Sequence[str]) -> bool:
    return any(part in step for part in parts for step in steps)


def _is_container(layer: nn.Module) -> bool:
    children = list(layer.children())
    return type(layer) is nn.Sequential or (
        len(children) == 1 and isinstance(children[0], nn.ModuleList)
    )

"""Find the attention with which a network last looks at the picture, and what it looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..calls import Call
from ..errors import AttributionError, expected
from ..tasks import Prediction, tensors_in
from .attention import Look, Seen, Wiring, look_through, outputs_of, solve
from .behind import Behind
from .capture import leaf_at
from .hooks import Place, changed, named_layers
from .layouts import Layouts
from .projections import Shown, Watch, holds_projections, keys_given, watched
from .reading import Layout, read_untouched
from .sites import Scene, Site, hookable, look
from .subject import Subject

WITHOUT_ATTENTION = 'Pass `method="gradcam"`, or `method="occlusion"`, which needs no layer'


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """An attention that sees the picture.

    Args:
        name: Dotted name of the module.
        layout: How what it looks at is a map of the picture; None if it isn't known to be one.
        wiring: How its heads' outputs are made; None if they don't come out.
        beside: Names of attentions that run before it and that it sees nothing of.
    """

    name: str
    layout: Layout | None
    wiring: Wiring | None
    beside: frozenset[str] = frozenset()

    @property
    def place(self) -> Place:
        """Where its heads' outputs are found."""
        child = "" if self.wiring is None else self.wiring.place
        return (
            Place(name=f"{self.name}.{child}", steps=("input",)) if child else Place(name=self.name)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLook:
    """The attention with which a network looks at the picture last.

    Args:
        look: What it looked at.
        layout: How that is a map of the picture.
        prediction: What the network answers.
        attention: Where it is.
        before: The attentions to the picture that run before it, the last first.
        is_self: Whether what is read is a token among the places, not a query of its own.
        earlier: What those before it showed that see the same grid, in order; as far as asked.
        seen: What the attention showed, and the gradient there.
        answer: What the network gave.
        again: Calls a function that runs the network, from the attention on where it can.
    """

    look: Look
    layout: Layout
    prediction: Prediction
    attention: Attention
    before: tuple[Attention, ...]
    is_self: bool
    earlier: tuple[tuple[Attention, Seen | None], ...]
    seen: Seen
    answer: Any
    again: Callable[[Callable[[], Any]], Any]


_known: WeakKeyDictionary[nn.Module, dict[Any, tuple[Attention, ...]]] = WeakKeyDictionary()
"""What was found; each use computes anew whether it still holds."""


def last_look(
    subject: Subject, method: str, *, blocks: int = 1, is_again: bool = False
) -> LastLook:
    """Return what a network last looked at in the picture, before it answered.

    That is the last attention which the score's gradient reaches, whose keys are places of the
    picture and whose queries that the score hangs on are none: a class token, or an
    attention-pooling head's probe.

    Call it inside `live.borrowed`.

    Args:
        subject: What is explained; its target layer plays no part.
        method: Which method asks, for the errors.
        blocks: How many of the last attentions are looked at, at most.
        is_again: Whether `again` will be asked, for which more is kept.

    Raises:
        AttributionError: If there is no such attention, or it works otherwise than it is read.
    """
    call = subject.call
    held = tuple((n, id(layer)) for n, layer in holders(subject.module).items())
    key = (tuple(call.images.shape[1:]), call.images.dtype, held)
    known = _known.setdefault(subject.module, {})
    if key in known:
        try:
            return _last_of(subject, known[key], method, blocks=blocks, is_again=is_again)
        except (AttributionError, KeyError):
            del known[key]  # it was changed since
    known[key] = find_attentions(subject.module, call)
    return _last_of(subject, known[key], method, blocks=blocks, is_again=is_again)


def find_attentions(module: nn.Module, call: Call) -> tuple[Attention, ...]:
    """Return the attentions that see the picture and that the answer depends on, the last first.

    Call it inside `live.borrowed`.

    Args:
        module: The model; called once with two rows.
        call: What it is called with; the first row is looked at.
    """
    layers = holders(module)
    with ExitStack() as stack:
        shown = {name: stack.enter_context(watched(layer)) for name, layer in layers.items()}
        scene = look(
            module, replace(call, read=lambda answer: _all_of(call.answer(answer))), keys_given
        )
    counts = scene.flow.influential([scene.logits])
    layouts = Layouts(scene)
    found: dict[str, Attention] = {}
    order = _in_order(scene, layers)
    made = {s.name: s.step for s in scene.sites if s.is_output and s.name in layers}
    for number, name in enumerate(order):
        sites = [s for s in scene.sites if s.name == name and not s.is_output]
        if not any(site.step in counts for site in sites):
            continue
        (site, *more), runs = sites, shown[name].shown
        read = None if more else _read_keys(scene, layouts, site)
        seen = scene.flow.influences(site.step)
        is_read = not more and site.rows is not None and len(runs) == 1
        found[name] = Attention(
            name=name,
            layout=read,
            wiring=solve(runs[0], site.rows or 0) if is_read else None,
            beside=frozenset(n for n in order[number + 1 :] if made.get(n, -1) not in seen),
        )
    return tuple(found.values())


def look_at(
    module: nn.Module,
    attentions: Sequence[Attention],
    run: Callable[[], Tensor],
    *,
    one_head: bool = False,
    shown: Shown | None = None,
) -> list[Seen | None]:
    """Return what attentions showed in a forward, their outputs and the gradients of scores there.

    Nothing before the first is recorded.

    Args:
        module: The model.
        attentions: In the order in which they run.
        run: Calls the model and returns the scores, `[B]`.
        one_head: Whether they run with one head of full width.
        shown: What the one attention is known to show; else that is looked at.

    Returns:
        What each showed in its last run (None of one whose projections aren't seen, or that ran
        more than once); None instead of all three where no gradient reaches it.
    """
    layers = named_layers(module)
    kept: list[list[Tensor]] = []
    grad_enabled = torch.is_grad_enabled()

    def keep(number: int) -> Callable[[Tensor], Tensor]:
        def note(features: Tensor) -> Tensor:
            kept[number].append(features)
            return features.clone()

        return note

    def merge(watch: Watch, wiring: Wiring) -> Callable[[Tensor], Tensor | None]:
        def change(features: Tensor) -> Tensor | None:
            found = watch.present()
            if found is None:
                return None
            one = wiring.with_one_head(found.queries.shape[2])
            return outputs_of(found, one, features)

        return change

    try:
        with torch.no_grad(), ExitStack() as stack:
            watches = [stack.enter_context(watched(layers[a.name], shown)) for a in attentions]
            for number, attention in enumerate(attentions):
                place, wiring = attention.place, attention.wiring
                layer = layers[place.name]
                if one_head and wiring is not None:
                    change = merge(watches[number], wiring)
                    stack.enter_context(changed(layer, change, place))
                if number == 0:
                    kept.append(stack.enter_context(leaf_at(layer, place)))
                else:
                    kept.append([])
                    stack.enter_context(changed(layer, keep(number), place))
            scores = run()
            usable = [bool(k) and k[-1].requires_grad for k in kept]
            inputs = [k[-1] for k, good in zip(kept, usable, strict=True) if good]
            gradients: Iterator[Tensor | None] = iter(
                torch.autograd.grad(scores.sum(), inputs, allow_unused=True)
                if inputs and scores.requires_grad
                else [None] * len(inputs)
            )
    finally:
        torch.set_grad_enabled(grad_enabled)
    results: list[Seen | None] = []
    for number, good in enumerate(usable):
        gradient = next(gradients) if good else None
        runs = watches[number].shown
        once = runs[0] if len(runs) == len(kept[number]) == 1 else None
        results.append(None if gradient is None else (once, kept[number][-1].detach(), gradient))
    return results


def _beside(
    module: nn.Module,
    attention: Attention,
    before: Sequence[Attention],
    run: Callable[[], Tensor],
) -> str:
    """Return an attention whose part in the scores doesn't pass a later one; "" without any.

    What stands beside is most often a part of another answer, which no gradient reaches.
    """
    beside = [one for one in reversed(before) if one.name in attention.beside]
    for other, seen in zip(beside, look_at(module, beside, run) if beside else (), strict=True):
        if seen is not None and bool(seen[2].any()):
            return other.name
    return ""


def otherwise(method: str, attention: Attention) -> AttributionError:
    """Return the error for an attention that doesn't do what it did when it was found."""
    rule = "an attention whose output can be computed anew"
    return _refused(method, rule, f"{attention.name!r}, whose output came out otherwise")


def _refused(method: str, rule: str, got: str) -> AttributionError:
    rule = f"one that fits the model ({method!r} reads {rule})"
    return AttributionError(expected("method", rule, got, WITHOUT_ATTENTION))


def holders(module: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that hold projections for an attention, by name."""
    return {n: layer for n, layer in hookable(module).items() if holds_projections(layer)}


def _last_of(
    subject: Subject,
    attentions: Sequence[Attention],
    method: str,
    *,
    blocks: int,
    is_again: bool,
) -> LastLook:
    refused = partial(_refused, method)
    rule = "the attention with which a class token or a pooling query looks at the picture"
    if not attentions:
        raise refused(rule, "a network without attention to the picture, as convolutional ones are")
    blank: LastLook | None = None
    for number, attention in enumerate(attentions):
        given: list[tuple[Any, Prediction]] = []

        def run(given: list[tuple[Any, Prediction]] = given) -> Tensor:
            answer = subject.call.run(subject.module)
            with torch.enable_grad():
                given.append((answer, subject.task.predict(answer)))
            return given[-1][1].scores

        behind = Behind(subject.module, attention.place, subject.call, in_rows=False)
        earlier = alike(attention, attentions[number + 1 :])[: blocks - 1][::-1]
        with behind.whole() if is_again else nullcontext():
            *more, seen = look_at(subject.module, [*earlier, attention], run)
        if seen is None:
            continue
        shown, _, gradient = seen
        is_flat = not bool(gradient.any())
        named = repr(attention.name)
        if attention.wiring is None or shown is None:
            if is_flat:
                continue
            raise refused(
                rule,
                f"{named}, whose output doesn't come out of its queries, keys and values (windows, "
                "a bias of places, rotated ones, several runs)",
            )
        if attention.layout is None and (is_flat or not shown.is_self):
            continue
        look = look_through(seen, attention.wiring)
        if look is None:
            raise otherwise(method, attention)
        if attention.layout is None:
            raise refused(rule, f"{named}, which looks at no map of the picture")
        places = attention.layout.patches
        is_mixed = shown.is_self and any(
            places.start <= n < places.stop for n in look.read.tolist()
        )
        if is_mixed:
            raise refused(rule, f"{named}, whose places the answer is read from itself (a mean)")
        found = LastLook(
            look=look,
            layout=attention.layout,
            prediction=given[-1][1].detach(),
            attention=attention,
            before=tuple(attentions[number + 1 :]),
            is_self=shown.is_self,
            earlier=tuple(zip(earlier, more, strict=True)),
            seen=seen,
            answer=given[-1][0],
            again=partial(behind.again, answer=given[-1][0]),
        )
        if not is_flat:
            rival = _beside(subject.module, attention, attentions[number + 1 :], run)
            if rival:
                raise refused(
                    rule, f"{named} beside {rival!r}, which has its own part in the answer"
                )
            return found
        blank = blank or found
    if blank is not None:
        return blank
    raise refused(
        "gradients, which reach some attention to the picture",
        "none (no_grad, detach, inference_mode, a checkpoint, quantisation)",
    )


def alike(attention: Attention, before: Sequence[Attention]) -> list[Attention]:
    """Return the attentions among others that can be read and look at the same grid."""
    layout = attention.layout
    return [
        one
        for one in before
        if layout is not None
        and one.wiring is not None
        and one.layout is not None
        and one.layout.grid == layout.grid
    ]


def _read_keys(scene: Scene, layouts: Layouts, site: Site) -> Layout | None:
    """Return how keys are a map of the picture; None if they are none.

    A grid that is guessed from tokens which all move doesn't do, for a few that are no places lie
    like one by chance: there must be a map of that grid, or tokens of that number of which only
    those in the change move.
    """
    found = layouts.of(site)
    if found is None or site.rows is None:
        return None
    layout, count = found[0], site.shape[1 - site.rows]
    for other in scene.sites:
        moved, read = scene.moved.get(other.step), layouts.of(other)
        if moved is None or read is None or read[0].grid != layout.grid:
            continue
        if read[0].start is None:
            return layout
        is_alike = other.rows is not None and other.shape[1 - other.rows] == count
        if is_alike and moved.last is not None and read_untouched(moved.last, rows=0) is not None:
            return layout
    return None


def _in_order(scene: Scene, layers: dict[str, nn.Module]) -> list[str]:
    """Return the innermost of some layers that ran, the last first."""
    ended = {name: end for name, _, end, _ in scene.calls if name in layers}
    inner = [n for n in ended if not any(other.startswith(f"{n}.") for other in ended)]
    return sorted(inner, key=lambda name: -ended[name])


def _all_of(answer: Any) -> Tensor:
    """Return every floating tensor in an answer as one."""
    tensors = list(tensors_in(answer).values())
    if not tensors:
        raise AttributionError(
            expected("forward", "a function to tensors", type(answer).__name__, "Return the logits")
        )
    return torch.cat([t.flatten().float() for t in tensors])

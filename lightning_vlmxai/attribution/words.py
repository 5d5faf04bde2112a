"""Which words of a caption a similarity is made of: the text side of `clip`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import AttributionError, expected
from .attention import Look, look_through, solve
from .clip import shares, softened
from .flow import Flow, unseen
from .looking import Attention, holders, look_at
from .projections import Shown, keys_given, watched
from .sites import eager

_REMEDY = "Leave the words out: the picture's maps don't need them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What each token of some captions adds to a score.

    Args:
        relevance: `[B, L]` float32, signed, in units of the score; of "gradeclip" without units.
        counts: Which tokens are words, `[B, L]` bool: no start, end or padding.
        read: Whether a text's embedding is read at that place of the tower, `[B, N]` bool; N is
            above L where the tower adds tokens of its own.
        blocks: Dotted names of the attentions that were summed over, in order.
    """

    relevance: Tensor
    counts: Tensor
    read: Tensor
    blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTower:
    """Where a text tower looks at tokens.

    Args:
        attentions: Those that see the tokens and have a part in the score, in order.
        offset: At which key the first token is.
    """

    attentions: tuple[Attention, ...]
    offset: int


def explain_words(
    module: nn.Module,
    tokens: Tensor,
    score: Callable[[Tensor], Tensor],
    *,
    method: Literal["clip_exact", "gradeclip"] = "clip_exact",
    blocks: int = 8,
    counts: Tensor | None = None,
    tower: TextTower | None = None,
) -> Words:
    """Return what each token adds to a score by way of the last attentions of the text tower.

    The formulas of `clip` at the token that the text's embedding is read from (its end, or a
    class token), summed over the last blocks before any ReLU. Call it inside `live.borrowed`.

    Args:
        module: What holds the text tower.
        tokens: `[B, L]` int64, start and end among them.
        score: From tokens `[B, L]` to scores `[B]`, by calling the module; each row by itself.
        method: "clip_exact", with the tower's own heads, or "gradeclip", as published.
        blocks: How many blocks at most, the last ones; published are 8.
        counts: Which tokens are words, `[B, L]` bool. None: those between the first and the one
            that is read; where that is no token of the caption or stands in its padding, all
            before the padding, a row's last token as often as it is repeated.
        tower: From `find_text_tower`, of tokens of the same length; found by two runs more if None.

    Raises:
        AttributionError: If the tower's attentions aren't found, or work otherwise than they are
            read.

    Source: Zhao et al., 2024, arXiv 2502.18816, section 3, for the sum over blocks.
    """
    with eager():
        tower = tower or find_text_tower(module, tokens, score)
        found, offset = tower.attentions[-blocks:], tower.offset
        seen = look_at(module, found, lambda: score(tokens), one_head=method == "gradeclip")
    looks: list[Look] = []
    for attention, one in zip(found, seen, strict=True):
        wiring = attention.wiring
        if wiring is None:
            raise _refused(f"{attention.name!r}, whose output can't be computed anew")
        if one is None:
            raise _refused(f"{attention.name!r}, which the score's gradient doesn't reach")
        if method == "gradeclip" and one[0] is not None:
            wiring = wiring.with_one_head(one[0].queries.shape[2])
        look = look_through(one, wiring)
        if look is None:
            raise _refused(f"{attention.name!r}, whose output came out otherwise")
        looks.append(look)
    read = looks[-1].gradients.ne(0).any(dim=2)
    if counts is None:
        counts = _between(tokens, read, offset)
    among = torch.zeros(looks[-1].keys.shape[:2], dtype=torch.bool, device=tokens.device)
    among[:, offset : offset + tokens.shape[1]] = counts
    total = torch.zeros(among.shape, device=tokens.device)
    for look in looks:
        at_read = replace(look, gradients=look.gradients * read[:, :, None])
        total += shares(at_read) if method == "clip_exact" else softened(at_read, among)
    return Words(
        relevance=total[:, offset : offset + tokens.shape[1]],
        counts=counts,
        read=read,
        blocks=tuple(attention.name for attention in found),
    )


def find_text_tower(
    module: nn.Module, tokens: Tensor, score: Callable[[Tensor], Tensor]
) -> TextTower:
    """Return the attentions that see the tokens, in order, and at which key the first token is.

    Call it inside `live.borrowed`. What is found holds for all tokens of this length; whether
    attentions still work so is seen in each run.

    Args:
        module: What holds the text tower.
        tokens: `[B, L]` int64; a few rows do.
        score: As in `explain_words`; called twice.

    Raises:
        AttributionError: If there are none, or their keys aren't one a token.
    """
    with eager():
        first = _show(module, tokens, score)
    if not first:
        raise _refused("a tower without attention to the tokens")
    places = _two_that_differ(tokens)
    other = tokens.clone().scatter_(1, places, tokens.gather(1, places.flip(1)))
    name, shown = next(iter(first.items()))
    with eager():
        moved = (_show(module, other, score)[name].keys - shown.keys).ne(0).any(dim=2)
    for rows in (0, 1):
        lies = moved if rows == 0 else moved.T
        if len(lies) != len(tokens) or lies.shape[1] < tokens.shape[1]:
            continue
        if not bool((lies.sum(dim=1) == 2).all()):
            continue
        offsets = {int(o) for o in (lies.int().topk(2).indices.amin(dim=1) - places[:, 0])}
        if len(offsets) == 1 and min(offsets) >= 0:
            attentions = tuple(
                Attention(name=name, layout=None, wiring=solve(one, rows))
                for name, one in first.items()
            )
            return TextTower(attentions=attentions, offset=min(offsets))
    raise _refused(f"{name!r}, whose keys are no tokens of the caption, one each")


def _show(module: nn.Module, tokens: Tensor, score: Callable[[Tensor], Tensor]) -> dict[str, Shown]:
    """Return what the attentions show that see the tokens, in the order in which they end."""
    layers = holders(module)
    flow = Flow(tokens)
    steps: dict[str, int] = {}
    ended: dict[str, None] = {}

    def before(name: str) -> Any:
        def hook(layer: nn.Module, args: Any, kwargs: Any) -> None:
            with unseen():
                keys = keys_given(layer, args, kwargs)
                step = None if keys is None else flow.step_of(keys)
            if step is not None:
                steps[name] = step

        return hook

    with torch.no_grad(), ExitStack() as stack:
        watches = {name: stack.enter_context(watched(layer)) for name, layer in layers.items()}
        for name, layer in layers.items():
            hook = layer.register_forward_pre_hook(before(name), with_kwargs=True)
            stack.callback(hook.remove)
            done = layer.register_forward_hook(lambda _m, _a, _o, n=name: ended.update({n: None}))
            stack.callback(done.remove)
        stack.enter_context(flow)
        scores = score(tokens)
    counts = flow.influential([scores])
    return {
        name: watches[name].shown[0]
        for name in ended
        if steps.get(name) in counts and len(watches[name].shown) == 1
    }


def _two_that_differ(tokens: Tensor) -> Tensor:
    """Return places of two neighbours that differ, `[B, 2]`, the first behind the start."""
    differ = tokens[:, 1:-1] != tokens[:, 2:]
    if not bool(differ.any(dim=1).all()):
        raise _refused("a caption of equal tokens")
    place = differ.int().argmax(dim=1) + 1
    return torch.stack([place, place + 1], dim=1)


def _between(tokens: Tensor, read: Tensor, offset: int) -> Tensor:
    """Return which tokens are words, as far as can be told without the tokenizer, `[B, L]`."""
    length = tokens.shape[1]
    at = torch.arange(length, device=tokens.device)
    differing = (tokens != tokens[:, -1:]).int()
    # Where the last tokens that are all alike begin; one alone is no padding.
    padding = (differing * (at + 1)).amax(dim=1)
    padding = torch.where(padding == length - 1, length, padding)
    is_one = read.sum(dim=1) == 1
    place = read.int().argmax(dim=1) - offset
    is_end = is_one & (place >= 0) & (place < length) & (place <= padding)
    low = is_end.int()
    high = torch.where(is_end, place, padding)
    return (at >= low[:, None]) & (at < high[:, None])


def _refused(got: str) -> AttributionError:
    rule = "one whose words can be explained (attention from one token to all of the caption's)"
    return AttributionError(expected("text tower", rule, got, _REMEDY))

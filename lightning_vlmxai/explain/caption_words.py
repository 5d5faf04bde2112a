"""Which words of the predicted caption its similarity to a picture is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attribution import TextTower, explain_words, find_text_tower
from ..calls import Call, join_calls
from ..errors import AttributionError, expected
from ..records import Explanation, Probe
from ..tasks import Similarity, logits_of
from .binding import Bound, caption_call, caption_encoder
from .explainer import Explainer
from .halving import in_batches
from .live import LiveModel
from .pieces import Decode, Words, words_by_count, words_by_pieces

BLOCKS = 8
"""How many attentions of the text tower are summed over at most, the last ones."""
ALL = 1_000_000


def explain_captions(
    live: LiveModel,
    bound: Bound,
    probes: Sequence[Probe],
    explanations: Sequence[Explanation],
    *,
    decode: Decode | None = None,
) -> tuple[list[Explanation], str]:
    """Return explanations with the words of their predicted captions, and what isn't known.

    A word's share is that of its tokens in the cosine to this picture, by `explain_words`. The
    picture's embedding is made once and held fixed.

    Args:
        live: The model; it is left as it was.
        bound: What explained them; where captions made no texts there are no words.
        probes: That were explained.
        explanations: Of these probes, one each.
        decode: From numbers of tokens to text; None where each word is one token.

    Returns:
        The explanations, without words where these aren't certain, and a line that says so;
        empty where there is nothing to say.

    Raises:
        AttributionError: If the text tower can't be explained.
    """
    task = bound.explainer.task
    if not isinstance(task, Similarity) or not bound.sources or not explanations:
        return list(explanations), ""
    of_index = {probe.index: probe for probe in probes}
    own = [of_index[one.probe_index] for one in explanations]
    with replace(live, network="").lent() as root:
        pictures = _embed_pictures(bound.explainer, root, live.network, own)
        texts = _nearest(task, pictures, [one.prediction for one in explanations])
        sources = [bound.sources[text] for text in texts]
        leaves: dict[str, int] = {}
        told = _explain(bound.explainer, root, live.network, sources, pictures, leaves)
    captions = [source.caption for source in sources]
    if None in captions:
        return list(explanations), (
            "captions are known as tokens alone, so no words of theirs are shown; pass "
            "`unpack=lambda row: Item(image=row[0], target=None, caption=row[1])`"
        )
    known = [caption or "" for caption in captions]
    if decode is None:
        words = _fit_by_count(told, known, _have_start(bound, leaves))
    else:
        words = [
            words_by_pieces(one.tokens, one.values, caption, decode) if one else ()
            for one, caption in zip(told, known, strict=True)
        ]
    found = [replace(one, words=of) for one, of in zip(explanations, words, strict=True)]
    missing = sum(
        bool(caption.strip()) and not of for caption, of in zip(known, words, strict=True)
    )
    if not missing:
        return found, ""
    why = (
        "which of their tokens make up which word is not certain; pass "
        "`ImageText(decode=tokenizer.decode)`, a function from a list of token numbers to text"
        if decode is None
        else "what `decode=` makes of their tokens, one by one, isn't the caption (cut off, or "
        "other text)"
    )
    return found, f"of {missing} of {len(words)} captions no words are shown: {why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A caption's tokens, `[L]`, what each adds to the cosine, and which count as words."""

    tokens: list[int]
    values: list[float]
    counted: list[bool]


def _embed_pictures(
    explainer: Explainer, root: nn.Module, network: str, probes: Sequence[Probe]
) -> Tensor:
    """Return the embeddings of pictures, `[N, D]` float32, each of length 1."""
    module, calls = root.get_submodule(network), [probe.call for probe in probes]

    def run(places: list[int]) -> Tensor:
        call = explainer.prepared(join_calls([calls[place] for place in places]), module)
        return F.normalize(logits_of(call.run(module)).detach().float(), dim=1)

    return torch.stack(in_batches(calls, run, explainer.batch_size))


def _nearest(task: Similarity, pictures: Tensor, classes: Sequence[int]) -> list[int]:
    """Return which of the texts of each picture's predicted class is nearest to it."""
    cosines = pictures @ task.texts.to(pictures.device).T
    predicted = torch.tensor(classes, device=pictures.device)
    others = task.class_of_text.to(pictures.device)[None] != predicted[:, None]
    return cosines.masked_fill(others, -2.0).argmax(dim=1).tolist()


def _explain(
    explainer: Explainer,
    root: nn.Module,
    network: str,
    sources: Sequence[Probe],
    pictures: Tensor,
    leaves: dict[str, int],
) -> list[_Told | None]:
    """Return what tokens of captions add to the cosines; None of a caption without any.

    Which leaf of a call holds them is added to `leaves`, by what the call is made up of.
    """
    embed = caption_encoder(explainer, root, network)
    calls = [caption_call(explainer, source) for source in sources]
    towers: dict[Any, TextTower] = {}

    def run(places: list[int]) -> list[_Told | None]:
        call = join_calls([calls[place] for place in places]).to(pictures.device)
        if str(call.spec) not in leaves:
            leaves[str(call.spec)] = _find_tokens(root, call, embed, pictures[places])
        leaf = leaves[str(call.spec)]
        tokens: Tensor = call.leaves[leaf]
        # The start and as many ends: an empty caption has no words.
        rows = (tokens[:, 1:-1] != tokens[:, 2:]).any(dim=1).nonzero()[:, 0]
        found: list[_Told | None] = [None] * len(places)
        if not len(rows):
            return found
        score = _cosine(call.take(rows), leaf, embed, pictures[places][rows])
        kind = str(call.spec), tokens.shape[1:]
        if kind not in towers:
            # Of two rows: a call that answers for pictures too makes their embeddings as well.
            few = rows[:2]
            look = _cosine(call.take(few), leaf, embed, pictures[places][few])
            towers[kind] = find_text_tower(root, tokens[few], look)
        try:
            made = explain_words(root, tokens[rows], score, blocks=BLOCKS, tower=towers[kind])
        except AttributionError:  # what was found for two rows may not be all there is
            made = explain_words(root, tokens[rows], score, blocks=BLOCKS)
        if not bool(made.relevance.isfinite().all()):
            rule, remedy = "finite numbers", "Look at the text tower: something overflows"
            raise AttributionError(expected("shares of words", rule, "others", remedy))
        for n, row in enumerate(rows.tolist()):
            found[row] = _Told(
                tokens=tokens[row].tolist(),
                values=made.relevance[n].tolist(),
                counted=made.counts[n].tolist(),
            )
        return found

    return in_batches(calls, run, explainer.batch_size)


def _cosine(
    call: Call, leaf: int, embed: Callable[[Call], Tensor], pictures: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return a function from tokens `[B, L]`, in place of those of a call, to cosines `[B]`."""

    def score(tokens: Tensor) -> Tensor:
        given = [*call.leaves[:leaf], tokens, *call.leaves[leaf + 1 :]]
        features = embed(replace(call, leaves=tuple(given)))
        # Autocast would round cosines to half precision.
        with torch.autocast(features.device.type, enabled=False):
            return (F.normalize(features.float(), dim=1) * pictures).sum(dim=1)

    return score


def _find_tokens(
    root: nn.Module, call: Call, embed: Callable[[Call], Tensor], pictures: Tensor
) -> int:
    """Return which leaf of a call holds the tokens.

    Of several that may be, such as masks beside them, the one that reaches more of the tower's
    attentions than any other: a mask is looked at within the first, tokens are what it is given.

    Raises:
        AttributionError: If there is none, or several are alike.
    """
    possible = [
        place
        for place in sorted(call.rows)
        if place != call.picture and _may_be_tokens(call.leaves[place])
    ]
    if len(possible) > 1:
        one = torch.tensor([0])
        reached: dict[int, int] = {}
        refusal: AttributionError | None = None
        for place in possible:
            score = _cosine(call.take(one), place, embed, pictures[:1])
            try:
                made = explain_words(root, call.leaves[place][:1], score, blocks=ALL)
            except AttributionError as error:
                refusal = error
            except (RuntimeError, ValueError, IndexError):  # what isn't made to be swapped
                continue
            else:
                reached[place] = len(made.blocks)
        if refusal is not None and not reached:
            raise refusal
        possible = [place for place, count in reached.items() if count == max(reached.values())]
    if len(possible) == 1:
        return possible[0]
    raise AttributionError(
        expected(
            "captions",
            "given to the text tower as one tensor of token numbers [B, L]",
            f"{len(possible) or 'no'} tensors that may be it",
            "Tokenize in the data set, and hand the numbers to the network",
        )
    )


def _may_be_tokens(leaf: object) -> bool:
    return (
        isinstance(leaf, Tensor)
        and leaf.ndim == 2
        and leaf.shape[1] > 2
        and leaf.dtype in (torch.int32, torch.int64)
    )


def _have_start(bound: Bound, leaves: dict[str, int]) -> bool:
    """Return whether the first token of captions is known to be no word.

    All of the round share it, and don't all begin with the same word.
    """
    calls = [caption_call(bound.explainer, source) for source in bound.sources]
    known = [leaves.get(str(call.spec)) for call in calls]
    firsts = {
        None if leaf is None else int(call.leaves[leaf][0, 0])
        for call, leaf in zip(calls, known, strict=True)
    }
    begun = {tuple((source.caption or "").casefold().split()[:1]) for source in bound.sources}
    return len(firsts) == 1 and None not in firsts and len(begun - {()}) > 1


def _fit_by_count(
    told: Sequence[_Told | None], captions: Sequence[str], has_start: bool
) -> list[Words]:
    """Return the words of captions where each is certainly one token."""
    words: list[Words] = [() for _ in told]
    known = [(place, one) for place, one in enumerate(told) if one is not None]
    found = words_by_count(
        [one.tokens for _, one in known],
        [one.values for _, one in known],
        [one.counted for _, one in known],
        [captions[place] for place, _ in known],
        has_start=has_start,
    )
    for (place, _), of in zip(known, found, strict=True):
        words[place] = of
    return words

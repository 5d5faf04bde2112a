"""Which tokens make up which word of a caption; where that isn't certain, none do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Decode = Callable[[list[int]], str]
"""From numbers of tokens to text."""
Words = tuple[tuple[str, float], ...]


def words_by_pieces(
    tokens: Sequence[int], values: Sequence[float], caption: str, decode: Decode
) -> Words:
    """Return the words of a caption, each with the sum over its tokens; none if they don't fit.

    Each token is decoded alone. They fit where exactly one run of tokens, without case and spaces,
    reads as the caption does, and no token is in two words.

    Args:
        tokens: Of the caption, start, end and padding among them.
        values: One a token.
        caption: Its words are those between spaces.
        decode: From numbers of tokens to text.

    Example:
        >>> pieces = {0: "<s>", 1: "a ", 2: "ze", 3: "bra ", 4: "</s>"}
        >>> words_by_pieces(
        ...     [0, 1, 2, 3, 4], [9, 1, 2, 4, 9], "A zebra", lambda ids: pieces[ids[0]]
        ... )
        (('A', 1.0), ('zebra', 6.0))
    """
    words = caption.split()
    ends = [0]
    for word in words:
        ends.append(ends[-1] + len(word.casefold()))
    wanted = "".join(words).casefold()
    of_token = {token: _bare(decode([token])) for token in dict.fromkeys(tokens)}
    pieces = [of_token[token] for token in tokens]
    runs = [
        (start, end)
        for start, piece in enumerate(pieces)
        if piece and (end := _end_of(pieces, start, wanted)) is not None
    ]
    if len(runs) != 1:
        return ()
    sums: list[list[float]] = [[] for _ in words]
    at = number = 0
    for place in range(*runs[0]):
        while at >= ends[number + 1]:
            number += 1
        at += len(pieces[place])
        if at > ends[number + 1]:
            return ()
        sums[number].append(float(values[place]))
    return tuple((word, math.fsum(parts)) for word, parts in zip(words, sums, strict=True))


def words_by_count(
    tokens: Sequence[Sequence[int]],
    values: Sequence[Sequence[float]],
    counted: Sequence[Sequence[bool]],
    captions: Sequence[str],
    *,
    has_start: bool,
) -> list[Words]:
    """Return the words of captions where each is one token; none where that isn't certain.

    As many tokens as words are not enough: a tokenizer without a start may split a word for the
    one that was taken for it. So a first token that doesn't count has to be a start for certain,
    and one word has to be one token throughout, and another another.

    Args:
        tokens: Of each caption, start, end and padding among them.
        values: One a token.
        counted: Which tokens are no start, end or padding.
        captions: Their words are those between spaces.
        has_start: Whether the first token is known to be no word.

    Example:
        >>> words_by_count(
        ...     [[7, 1, 2, 8], [7, 3, 2, 8]],
        ...     [[0.5, 0.1, 0.2, 0.5], [0.5, 0.3, 0.4, 0.5]],
        ...     [[False, True, True, False]] * 2,
        ...     ["Red square", "blue square"],
        ...     has_start=True,
        ... )
        [(('Red', 0.1), ('square', 0.2)), (('blue', 0.3), ('square', 0.4))]
    """
    none: list[Words] = [() for _ in captions]
    split = [caption.split() for caption in captions]
    if not has_start and any(counts and not counts[0] for counts in counted):
        return none
    found: list[Words] = []
    of_word: dict[str, int] = {}
    of_token: dict[int, str] = {}
    for own, of_own, counts, words in zip(tokens, values, counted, split, strict=True):
        places = [place for place, counts_here in enumerate(counts) if counts_here]
        if len(places) != len(words):
            found.append(())
            continue
        for place, word in zip(places, words, strict=True):
            plain = word.casefold()
            if of_word.setdefault(plain, own[place]) != own[place]:
                return none
            if of_token.setdefault(own[place], plain) != plain:
                return none
        found.append(tuple((w, float(of_own[p])) for w, p in zip(words, places, strict=True)))
    return found


def _bare(piece: str) -> str:
    """Return a piece without case, spaces and what tokenizers mark the end of a word with."""
    return "".join(piece.replace("</w>", " ").casefold().split()).removeprefix("##")


def _end_of(pieces: Sequence[str], start: int, wanted: str) -> int | None:
    """Return the end of the run from there that reads as wanted; None if there is none."""
    at = 0
    for place in range(start, len(pieces)):
        if not wanted.startswith(pieces[place], at):
            return None
        at += len(pieces[place])
        if at == len(wanted):
            return place + 1
    return None

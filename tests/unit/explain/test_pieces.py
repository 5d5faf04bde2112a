"""Which tokens make up which word, by real tokenizers and by ones that mislead."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_vlmxai.explain.pieces import words_by_count, words_by_pieces

CAPTIONS = [
    "A zebra, grazing.",
    "photographs of   antidisestablishmentarianism",
    'Two "hot-dogs" at 7:30',
    "naïve cafés",
    "a",
]


def slow(tokens: list[int], caption: str, decode: Any) -> list[tuple[str, float]]:
    """Return each word with the sum of its tokens' places, found by decoding words one by one.

    A word is what is decoded, without case and spaces, from where the last one ended.
    """

    def bare(text: str) -> str:
        return "".join(text.casefold().split())

    found, start = [], 1
    for word in caption.split():
        end = next(e for e in range(start, 99) if bare(decode(tokens[start : e + 1])) == bare(word))
        found.append((word, float(sum(range(start, end + 1)))))
        start = end + 1
    return found


@pytest.mark.parametrize("caption", CAPTIONS)
def test_words_are_those_of_clips_tokenizer(caption: str) -> None:
    """Punctuation and parts go to their word; start, end and padding to none."""
    open_clip = pytest.importorskip("open_clip")
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    tokens = tokenizer([caption])[0].tolist()
    assert len(tokens) == 77
    found = words_by_pieces(tokens, range(77), caption, tokenizer.decode)
    assert list(found) == slow(tokens, caption, tokenizer.decode)


def wordpiece() -> Any:
    """Return transformers' fast tokenizer of a few pieces, of which some go on a word."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    names = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "a", "ze", "##bra", "##s", ",", "two"]
    model = tokenizers.models.WordPiece(dict(zip(names, range(10), strict=True)), unk_token="[UNK]")  # noqa: S106
    made = tokenizers.Tokenizer(model)
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.decoder = tokenizers.decoders.WordPiece()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made)


def test_words_are_those_of_a_tokenizer_of_transformers() -> None:
    """It tells no ends of words of a single token: the caption does."""
    tokenizer = wordpiece()
    tokens = [1, *tokenizer.encode("Two zebras, a"), 2, 3, 3]
    assert tokens == [1, 9, 5, 6, 7, 8, 4, 2, 3, 3]
    found = words_by_pieces(tokens, range(10), "Two zebras, a", tokenizer.decode)
    assert found == (("Two", 1.0), ("zebras,", 14.0), ("a", 6.0))
    assert words_by_pieces(tokens, range(10), "Two zebus, a", tokenizer.decode) == ()


@pytest.mark.parametrize(
    ("pieces", "caption"),
    [
        (["<s>", "a ", "zebra ", "</s>"], "a zebra grazing"),  # cut off
        (["<s>", "a ", "zebras ", "</s>"], "a zebra"),  # other text
        (["<s>", "a ze", "bra ", "</s>"], "a zebra"),  # a token in two words
        (["a ", "b ", "a ", "b "], "a b"),  # twice: which one?
        (["<s>", "!", "!", "!"], "!"),  # the padding reads like it
        (["<s>", "</s>"], ""),
        (["<s>", "</s>"], "  "),
    ],
)
def test_what_is_not_certain_is_none(pieces: list[str], caption: str) -> None:
    """Cut off, other text, in two words, or twice."""
    tokens = [sorted(set(pieces)).index(piece) for piece in pieces]
    names = sorted(set(pieces))
    found = words_by_pieces(tokens, [1.0] * len(tokens), caption, lambda ids: names[ids[0]])
    assert found == ()


def count(
    tokens: list[list[int]], captions: list[str], *, start: int = 1, has_start: bool = True
) -> list[Any]:
    """Return words by count; values are places, and what counts is between start and end."""
    counted = [[start <= place < len(own) - 1 for place in range(len(own))] for own in tokens]
    values = [[float(place) for place in range(len(own))] for own in tokens]
    return words_by_count(tokens, values, counted, captions, has_start=has_start)


def test_words_that_are_tokens_are_told_by_their_count() -> None:
    """A caption with a word of two tokens has none; the others keep theirs."""
    tokens = [[8, 1, 2, 9], [8, 3, 4, 2, 9]]
    assert count(tokens, ["red dog", "zebra dog"]) == [(("red", 1.0), ("dog", 2.0)), ()]


def test_a_count_alone_proves_nothing() -> None:
    """Without a start, a word of two tokens makes up for the first; one word is one token."""
    split = [[1, 3, 4, 9], [1, 5, 6, 9]]  # a ze bra, a gi raffe
    assert count(split, ["a zebra", "a giraffe"]) == [(), ()]  # "a" would be two tokens
    assert count(split, ["a zebra", "big giraffe"], has_start=False) == [(), ()]
    assert count([[1, 2, 9], [1, 2, 9]], ["red", "blue"]) == [(), ()]  # one token, two words
    assert count([[1, 2, 9]], ["red dog"], start=0, has_start=False) == [
        (("red", 0.0), ("dog", 1.0))
    ]

"""Embeddings: which tensors of an answer they are, and what is predicted by them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_vlmxai import AttributionError, ConfigurationError, ImageText, ZeroShot
from lightning_vlmxai.records import Seen
from lightning_vlmxai.tasks import (
    EmbeddingReader,
    Reading,
    Similarity,
    join_texts,
    mean_of_texts,
)


def read(task: Any, answers: list[Any], one: Any, other: Any, output: Any = None) -> Reading:
    """Return the reading that is chosen after batches, and one row with two pictures."""
    reader = EmbeddingReader(task, output)
    for answer in answers:
        tensors = [t for t in _tensors(answer) if t.ndim]
        reader.see(answer, len(tensors[0]), list)
    return reader.choose([reader.tell(lambda: (one, other))], None)


def _tensors(answer: Any) -> list[Tensor]:
    parts = answer.values() if isinstance(answer, dict) else answer
    return [answer] if isinstance(answer, Tensor) else list(parts)


def answer_of(pictures: Tensor, texts: Tensor) -> dict[str, Tensor]:
    """Return an answer as transformers' models give it: pairs, poolers, embeddings."""
    images, words = pictures @ PICTURE, texts @ TEXT
    return {
        "logits_per_image": images @ words.T,
        "logits_per_text": words @ images.T,
        "text": words,
        "picture": images,
    }


PICTURE, TEXT = (torch.randn(5, 8, generator=torch.Generator().manual_seed(s)) for s in (0, 1))


@pytest.mark.parametrize("sizes", [[8, 8], [8, 3], [4]])
def test_embeddings_are_found_by_what_changes_them(sizes: list[int]) -> None:
    """Of four unnamed tensors two are read, even where the batch is as long as they are wide."""
    drawn = torch.Generator().manual_seed(2)
    batches = [[torch.randn(n, 5, generator=drawn) for _ in range(2)] for n in sizes]
    one, word, other = (torch.randn(1, 5, generator=drawn) for _ in range(3))
    found = read(
        ImageText(),
        [answer_of(*batch) for batch in batches],
        answer_of(one, word),
        answer_of(other, word),
    )
    assert (found.part, found.texts) == ("picture", "text")


def test_numbers_for_pairs_are_refused() -> None:
    """An answer as wide as its batch is long, whatever the batch, is no embedding."""
    pairs = [torch.randn(4, 4), torch.randn(4, 4)]
    with pytest.raises(AttributionError, match=r"a number for each pair of the batch.*network="):
        read(ImageText(), pairs, torch.randn(1, 1), torch.randn(1, 1))
    reader = EmbeddingReader(ImageText())
    with pytest.raises(AttributionError, match="a number for each pair"):
        reader.read((pairs[0], pairs[0].T), 4, has_texts=True)
    assert len(reader.read((pairs[0], pairs[1]), 4, has_texts=True)) == 2


def test_two_possible_pairs_are_a_question() -> None:
    """Several tensors that could be the picture's are listed, with a line to pass."""
    words, pictures = torch.randn(3, 6), torch.randn(2, 3, 6)

    def answer(first: Tensor, second: Tensor, word: Tensor) -> tuple[Tensor, ...]:
        return first, second, word

    seen = answer(pictures[0], pictures[1], words)
    one = answer(torch.randn(1, 6), torch.randn(1, 6), words[:1])
    other = answer(torch.randn(1, 6), torch.randn(1, 6), words[:1])
    match = r"0 \[B, 6\], 1 \[B, 6\], 2 \[B, 6\].*output=lambda"
    with pytest.raises(AttributionError, match=match):
        read(ImageText(), [seen], one, other)
    found = read(ImageText(), [seen], one, other, output=lambda answer: (answer[1], answer[2]))
    assert (found.part, found.texts) == (0, 1)
    assert found.take(seen) is seen[1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=4, max_size=9), st.booleans())
def test_a_class_has_the_largest_cosine_of_its_texts(
    seed: int, of_text: list[int], by_pair: bool
) -> None:
    """Predictions, scores and probabilities are those of plain loops."""
    keys = [0, 1, 2, 3, *of_text]
    drawn = torch.Generator().manual_seed(seed)
    features = 3 * torch.randn(len(keys), 6, generator=drawn)
    pictures = 5 * torch.randn(5, 6, generator=drawn)
    texts, classes = join_texts(features, keys, 4)
    task = Similarity(
        texts=texts,
        class_of_text=classes,
        num_classes=4,
        scale=7.0,
        made_by="ImageText",
        bias=-2.0 if by_pair else None,
    )
    made = task.predict(pictures)
    for row, picture in enumerate(pictures):
        best = [
            max(
                float(F.cosine_similarity(picture, text, dim=0))
                for text, key in zip(features, keys, strict=True)
                if key == of_class
            )
            for of_class in range(4)
        ]
        chosen = best.index(max(best))
        powers = [torch.tensor(7.0 * one).exp() for one in best]
        sure = powers[chosen] / sum(powers)
        if by_pair:
            sure = 1 / (1 + (-(torch.tensor(7.0 * best[chosen]) - 2.0)).exp())
        assert int(made.classes[row]) == chosen
        assert float(made.scores[row]) == pytest.approx(best[chosen], abs=1e-5)
        assert float(made.confidences[row]) == pytest.approx(float(sure), abs=1e-5)
    assert torch.equal(task.score(pictures, made), made.scores)
    assert torch.allclose(task.confidence(pictures, made), made.confidences)
    seen = task.see(Seen(prediction=-1, confidence=float("nan"), features=pictures[0]))
    assert seen.prediction == int(made.classes[0])
    assert seen.confidence == pytest.approx(float(made.confidences[0]), abs=1e-6)


def test_right_is_the_own_caption_or_one_of_the_same_id() -> None:
    """A caption of another probe with the same id is right as well; without ids it is not."""
    task = Similarity(
        texts=torch.eye(3),
        class_of_text=torch.arange(3),
        num_classes=3,
        scale=1.0,
        made_by="ImageText",
        ids=(frozenset({7}), frozenset({7, 8}), frozenset({9})),
    )
    made = task.predict(torch.eye(3))
    assert [task.is_correct(made, k, torch.tensor([0, 7])) for k in range(3)] == [True, True, False]
    assert [task.is_correct(made, k, torch.tensor([0])) for k in range(3)] == [True, False, False]
    assert task.label_of(torch.tensor([1, 7]), 3) == 1


def test_texts_of_a_class_are_averaged_by_direction() -> None:
    """A text of twice the length counts no more than another."""
    features = torch.tensor([[2.0, 0.0], [0.0, 5.0], [3.0, 3.0]])
    found = mean_of_texts(features, [2, 1])
    assert torch.allclose(found, torch.full((2, 2), 0.5**0.5))


def test_texts_without_a_direction_are_refused() -> None:
    """NaN, infinity and zero have no cosine."""
    for bad in (float("nan"), float("inf"), 0.0):
        features = torch.stack([torch.ones(4), torch.full((4,), bad)])
        with pytest.raises(AttributionError, match=r"1 of 2 that are NaN, infinite or zero"):
            join_texts(features, [0, 1], 2)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ImageText(logit_scale=0.0), r"logit_scale=100.0"),
        (lambda: ZeroShot(texts=["a"]), r"two classes or more"),
        (lambda: ZeroShot(texts=["a", ""]), r"each with a text"),
        (lambda: ZeroShot(texts="a cat"), r"a list"),
        (lambda: ZeroShot(templates=["a photo"]), r"texts with \{\}"),
        (lambda: ZeroShot().texts_of(None), r"class_names=\[\"cat\", \"dog\"\]"),
        (lambda: ZeroShot(texts=["a", "b"]).texts_of(["a", "b", "c"]), r"2 names, .* got 3"),
    ],
)
def test_bad_arguments_are_refused_with_a_line(make: Any, match: str) -> None:
    """Each message says what to pass."""
    with pytest.raises(ConfigurationError, match=match):
        make()


def test_a_task_that_is_not_bound_tells_nothing_but_embeddings() -> None:
    """Its predictions are no classes, and it refuses to say what is right."""
    made = ImageText().predict(torch.randn(3, 4))
    assert made.classes.tolist() == [-1, -1, -1]
    assert made.confidences.isnan().all()
    with pytest.raises(AttributionError, match="bound to texts' embeddings"):
        ImageText().is_correct(made, 0, torch.tensor(0))

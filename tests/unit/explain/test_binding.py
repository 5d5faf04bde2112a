"""Binding a task to texts: whose classes they are, what embeds them, and by which scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioned import Captioned, make_clip, tokenize
from lightning_vlmxai import AttributionError, ConfigurationError, ImageText, Probe, ZeroShot
from lightning_vlmxai.calls import Call
from lightning_vlmxai.explain import Explainer, LiveModel, bind
from lightning_vlmxai.tasks import Reading, Similarity

READING = Reading(part="image_features", texts="text_features")


class Holder(nn.Module):
    """Holds a student and a teacher, each with a scale of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.student = make_clip(output_dict=True)
        self.teacher = make_clip()
        with torch.no_grad():
            self.student.logit_scale.fill_(1.0)
            self.teacher.logit_scale.fill_(3.0)


def probes_of(captions: list[str | None], tokens: Tensor, targets: Any = None) -> list[Probe]:
    """Return a probe for each caption and row of tokens."""
    pictures = [row["image"] for row in Captioned(len(captions))]
    found = []
    for index, (caption, row) in enumerate(zip(captions, tokens, strict=True)):
        call = Call.of([pictures[index][None], row[None]], {}, 1)
        assert call is not None
        target = None if targets is None else torch.tensor(targets[index])
        found.append(
            Probe(index=index, call=call, pixels=pictures[index], target=target, caption=caption)
        )
    return found


def bound_to(
    probes: list[Probe], task: Any = None, module: nn.Module | None = None, network: str = ""
) -> Any:
    """Return what a joint network's probes are bound to."""
    explainer = Explainer(task=task or ImageText(), reading=READING, method="occlusion")
    live = LiveModel(module or make_clip(output_dict=True), network=network)
    return bind(explainer, live, probes)


def test_captions_with_the_same_words_or_tokens_are_one_class() -> None:
    """Words that are cut to the same tokens, and tokens for the same words, are joined."""
    one, two, three = tokenize(["a red square", "a green square", "a blue square"])
    words = ["x", "y", "a longer y", "x", "z"]
    probes = probes_of([*words], torch.stack([one, two, two, three, one]))
    bound = bound_to(probes)
    assert [int(p.target[0]) for p in bound.probes] == [0, 1, 1, 0, 0]
    assert bound.explainer.class_names == ("x", "y")
    task = bound.explainer.task
    assert isinstance(task, Similarity)
    assert task.class_of_text.tolist() == [0, 0, 1]
    model = make_clip().eval()
    with torch.no_grad():
        wanted = F.normalize(model.encode_text(torch.stack([one, three, two])), dim=1)
        assert torch.allclose(task.texts, wanted, atol=1e-6)


def test_captions_without_words_have_numbers() -> None:
    """Some words are not enough to name all classes."""
    tokens = tokenize(["a red square", "a green square"])
    assert bound_to(probes_of([None, None], tokens)).explainer.class_names is None
    assert bound_to(probes_of(["x", None], tokens)).explainer.class_names is None


def test_ids_are_kept_with_the_captions_of_their_pictures() -> None:
    """Each class knows the ids that it is a caption of, each probe its own."""
    tokens = tokenize(["a red square", "a green square", "a red square"])
    bound = bound_to(probes_of(["x", "y", "x"], tokens, targets=[7, 7, 9]))
    assert bound.explainer.task.ids == (frozenset({7, 9}), frozenset({7}))
    assert [p.target.tolist() for p in bound.probes] == [[0, 7], [1, 7], [0, 9]]
    with pytest.raises(ConfigurationError, match=r"an id, one whole number.*target=None"):
        bound_to(probes_of(["x", "y"], tokens[:2], targets=[0.5, 1.5]))


def test_the_scale_is_that_of_the_model_that_is_explained() -> None:
    """Of a student and a teacher the student's; without a way to tell, confidences are in doubt."""
    probes = probes_of(["x", "y"], tokenize(["a red square", "a green square"]))
    bound = bound_to(probes, module=Holder(), network="student")
    assert bound.explainer.task.scale == pytest.approx(2.718281828)
    assert bound.doubt == ""
    beside = Holder()
    beside.stud = nn.Module()  # another, whose name begins alike
    beside.stud.logit_scale = nn.Parameter(torch.tensor(2.0))
    bound = bound_to(probes, module=beside, network="student")
    assert bound.explainer.task.scale == pytest.approx(2.718281828)
    given = bound_to(probes, ImageText(logit_scale=50.0), module=Holder(), network="student")
    assert given.explainer.task.scale == 50.0
    bare = make_clip(output_dict=True)
    bare.scale = nn.Parameter(bare.logit_scale.detach().exp())
    bare.forward = lambda images, tokens: {  # type: ignore[method-assign]
        "image_features": bare.encode_image(images),
        "text_features": bare.encode_text(tokens),
    }
    del bare.logit_scale
    bound = bound_to(probes, module=bare)
    assert "pass what the loss multiplies them with" in bound.doubt
    assert bound.explainer.task.scale == 1.0
    loud = make_clip(output_dict=True)
    with torch.no_grad():
        loud.logit_scale.fill_(100.0)
    with pytest.raises(AttributionError, match=r"task=ImageText\(logit_scale=100.0\)"):
        bound_to(probes, module=loud)


def test_one_caption_alone_is_nothing_to_rank() -> None:
    """All probes with one text can't be told apart."""
    tokens = tokenize(["a red square", "a red square"])
    with pytest.raises(ConfigurationError, match="of two kinds or more"):
        bound_to(probes_of(["x", "x"], tokens))


def test_texts_are_embedded_by_what_is_given_or_found() -> None:
    """A function of the user's is asked before methods; without either the line to pass is told."""
    probes = probes_of(["x"], tokenize(["a red square"]))

    def encode(module: nn.Module, texts: list[str]) -> Tensor:
        return torch.eye(3)[: len(texts)]

    task = ZeroShot(texts=["a", "b"], encode_texts=encode)
    assert torch.equal(bound_to(probes, task).explainer.task.texts, torch.eye(3)[:2])
    with pytest.raises(AttributionError, match=r"Pass `encode_texts=lambda module, texts"):
        bound_to(probes, ZeroShot(texts=["a", "b"]), module=nn.Linear(2, 2))
    with pytest.raises(AttributionError, match=r"student.*teacher.*encode_texts="):
        bound_to(probes, ZeroShot(texts=["a", "b"]), module=Holder())
    short = ZeroShot(texts=["a", "b"], encode_texts=lambda *_: torch.ones(1, 3))
    with pytest.raises(AttributionError, match=r"\[2, D\], one a text"):
        bound_to(probes, short)

"""Methods of the last look against their literal twins, on every implementation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attention_twins import Literal, fused, latent, look, mha, own, separate
from image_text_models import READ, build, pictures
from torch import Tensor, nn

from lightning_vlmxai import Classification
from lightning_vlmxai.attribution import Attribution, Subject, attribute
from lightning_vlmxai.attribution.clip import shares
from lightning_vlmxai.attribution.looking import last_look
from lightning_vlmxai.explain.live import borrowed

pytest.importorskip("open_clip")
pytest.importorskip("transformers")
pytest.importorskip("timm")

RESBLOCK = "model.visual.transformer.resblocks.2.attn"
TWINS: dict[str, tuple[str, Callable[..., list[Tensor]], str, int]] = {
    "open_clip": (RESBLOCK, mha, "", 1),
    "open_clip, own attention": (RESBLOCK, own, "ln_inner", 1),
    "open_clip, later attention": (RESBLOCK, mha, "out_proj", 1),
    "openai": ("model.resblocks.2.attn", mha, "", 1),
    "coca": ("model.visual.attn_pool.attn", mha, "", 1),
    "coca, parallel": ("model.attn_pool_contrastive.attn", mha, "", 1),
    "siglip of timm": ("model.attn_pool", latent, "proj", 0),
    "transformers clip": ("model.vision_model.encoder.layers.2.self_attn", separate, "out_proj", 1),
    "transformers siglip": ("model.vision_model.head.attention", mha, "", 0),
    "transformers siglip 2": ("model.head.attention", mha, "", 0),
    "timm vit": ("blocks.2.attn", fused, "proj", 1),
    "timm vit, norms and registers": ("blocks.2.attn", fused, "proj", 3),
    "torchvision vit": ("encoder.layers.encoder_layer_2.self_attention", mha, "", 1),
}
"""Where the last look is, how its weights are read, what comes behind, which token is first."""


def explained(model: nn.Module, images: Tensor, method: str) -> Attribution:
    """Return what a method says of a borrowed model."""
    with borrowed(model) as lent:
        subject = Subject(module=lent, layer=lent, inputs=images, task=Classification())
        return attribute(subject, method)


def twin_of(name: str, model: nn.Module, image: Tensor, label: int, **more: Any) -> Literal:
    """Return the literal last look of a copy of a model at one picture."""
    place, project, behind, _ = TWINS[name]
    return look(copy.deepcopy(model), place, project, image, label, behind=behind, **more)


def as_grid(relevance: list[float], start: int) -> Tensor:
    """Return one number a token as the map of the places among them."""
    return torch.tensor(relevance)[start:].view(4, 4)


@pytest.mark.parametrize("name", TWINS)
def test_exact_is_its_literal_twin(name: str) -> None:
    """Each place's share of each picture's score is what the plain loops make it."""
    model, images = build(name), pictures()
    found = explained(model, images, "clip_exact")
    for row, label in enumerate(found.prediction.classes.tolist()):
        twin = as_grid(twin_of(name, model, images[row : row + 1], label).exact(), TWINS[name][3])
        assert found.raw[row].ne(0).any()
        off = (found.raw[row] - twin.relu()).abs().amax() / twin.abs().amax()
        assert off <= 1e-5


@pytest.mark.parametrize("name", TWINS)
def test_shares_add_up_to_what_the_score_has_of_the_look(name: str) -> None:
    """`sum_i r_i = <g, o>`: nothing is lost between heads, tokens and queries."""
    model, images = build(name), pictures()
    with borrowed(model) as lent:
        subject = Subject(module=lent, layer=lent, inputs=images, task=Classification())
        last = last_look(subject, "clip_exact")
        sums = shares(last.look).sum(dim=1)
    for row, label in enumerate(last.prediction.classes.tolist()):
        twin = twin_of(name, model, images[row : row + 1], label)
        whole = sum(g * o for g, o in zip(twin.g, twin.output(), strict=True))
        assert float(sums[row]) == pytest.approx(whole, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", TWINS)
def test_gradeclip_is_its_literal_twin(name: str) -> None:
    """With one head of full width, as published, and the label that the model itself predicts."""
    model, images = build(name), pictures(6)
    found = explained(model, images, "gradeclip")
    assert found.raw.any()
    exact = explained(model, images, "clip_exact")
    assert torch.equal(found.prediction.classes, exact.prediction.classes)
    assert torch.equal(found.prediction.confidences, exact.prediction.confidences)
    for row, label in enumerate(found.prediction.classes.tolist()):
        twin = twin_of(name, model, images[row : row + 1], label, one_head=True)
        start = TWINS[name][3]
        relevance = as_grid(twin.published(range(start, start + 16)), start)
        assert (found.raw[row] - relevance.relu()).abs().amax() / relevance.abs().amax() <= 1e-5


@pytest.mark.parametrize("name", TWINS)
def test_gradeclip_runs_what_is_before_the_attention_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the second forward only what is behind the attention is left, and the map is the same."""
    model, images = build(name), pictures()
    explained(model, images, "gradeclip")  # finds out what is used behind it
    found = explained(model, images, "gradeclip")
    kind = nn.Linear if name == "transformers siglip 2" else nn.Conv2d
    first = next(part for part in model.modules() if isinstance(part, kind))
    inner, runs = first.forward, []
    monkeypatch.setattr(first, "forward", lambda *given: (runs.append(1), inner(*given))[1])
    assert torch.equal(explained(model, images, "gradeclip").raw, found.raw)
    assert len(runs) == 1


def test_one_head_is_another_network() -> None:
    """With Grad-ECLIP's one head a random CLIP looks elsewhere, and its embeddings are others."""
    model, images = build("open_clip"), pictures(6)
    model.texts = torch.eye(model.texts.shape[1])  # so that logits are embeddings
    real = model(images).detach()
    outputs, embeddings = [], []
    for row in range(6):
        image, own = images[row : row + 1], real[row : row + 1]
        same = twin_of("open_clip", model, image, 0)
        other = twin_of("open_clip", model, image, 0, one_head=True)
        assert torch.cosine_similarity(same.logits, own).item() > 1 - 1e-5
        one, heads = torch.tensor(other.output(1)), torch.tensor(same.output())
        outputs.append(torch.cosine_similarity(one, heads, dim=0).item())
        embeddings.append(torch.cosine_similarity(other.logits, own).item())
    assert (min(outputs), max(outputs)) == pytest.approx((0.51, 0.90), abs=0.01)
    assert (min(embeddings), max(embeddings)) == pytest.approx((0.91, 0.99), abs=0.01)


def test_a_look_at_the_outputs_of_a_pool_is_told_from_one_at_the_picture() -> None:
    """CoCa's cascade: the last pool looks at the first one's queries, which are no places."""
    name = "coca, cascade"
    model, images = build(name), pictures()
    found = explained(model, images, "clip_exact")
    assert found.raw.shape == (3, 4, 4)
    assert set(READ) > set(TWINS)


@pytest.mark.parametrize("name", ["open_clip", "transformers clip"])
def test_mmel_is_its_literal_twin(name: str) -> None:
    """Three looks weighted by what they add, the picture and five windows by the confidence."""
    model, images = build(name), pictures()
    found = explained(model, images, "mmel")
    for row, label in enumerate(found.prediction.classes.tolist()):
        image = images[row : row + 1]
        raw = twin_map(name, model, image, label, (32, 32))
        around, covered = torch.zeros(32, 32), torch.zeros(32, 32)
        for top, left in ((0, 0), (0, 16), (16, 0), (16, 16), (8, 8)):
            window = image[:, :, top : top + 16, left : left + 16]
            large = nn.functional.interpolate(window, (32, 32), mode="bilinear")
            around[top : top + 16, left : left + 16] += twin_map(
                name, model, large, label, (16, 16)
            )
            covered[top : top + 16, left : left + 16] += 1
        raw += around / covered
        assert (found.raw[row] - raw).abs().amax() / raw.abs().amax() <= 1e-5


def twin_map(
    name: str, model: nn.Module, image: Tensor, label: int, size: tuple[int, int]
) -> Tensor:
    """Return the merged looks at one picture, times the confidence in a label, at a size."""
    last, project, _, _ = TWINS[name]
    places = [last.replace("2", str(i)) for i in range(3)]
    attentions: list[Any] = [model.get_submodule(place) for place in places]
    given: list[tuple[Tensor, Tensor]] = []

    def note(_m: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        output[0].retain_grad()
        given.append(((*args, *kwargs.values())[0].detach(), output[0]))

    handles = [one.register_forward_hook(note, with_kwargs=True) for one in attentions]
    with torch.enable_grad():
        logits = model(image)
        logits[0, label].backward()
    for handle in handles:
        handle.remove()
    model.zero_grad()
    sums, grids = [], []
    for attention, (x, out) in zip(attentions, given, strict=True):
        with torch.no_grad():
            twin = Literal(*(t[0] for t in project(attention, x, x)), attention.num_heads)
        weight = attention.out_proj.weight.detach()
        twin.g = (out.grad[0, 0] @ weight).tolist()
        relevance = twin.exact()
        sums.append(max(sum(relevance), 0.0))
        grid = as_grid(relevance, 1).relu()
        grids.append(grid / grid.max().clamp(min=1e-12))
    shares_of = [one / sum(sums) if sum(sums) else 1 / 3 for one in sums]
    merged = sum(share * grid for share, grid in zip(shares_of, grids, strict=True))
    large = nn.functional.interpolate(
        merged[None, None], size, mode="bilinear", align_corners=False
    )
    return large[0, 0] * logits.softmax(dim=1)[0, label].detach()

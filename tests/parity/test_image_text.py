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
        seen, _, prediction = last_look(subject, "clip_exact")
        sums = shares(seen).sum(dim=1)
    for row, label in enumerate(prediction.classes.tolist()):
        twin = twin_of(name, model, images[row : row + 1], label)
        whole = sum(g * o for g, o in zip(twin.g, twin.output(), strict=True))
        assert float(sums[row]) == pytest.approx(whole, rel=1e-4, abs=1e-4)


def test_a_look_at_the_outputs_of_a_pool_is_told_from_one_at_the_picture() -> None:
    """CoCa's cascade: the last pool looks at the first one's queries, which are no places."""
    name = "coca, cascade"
    model, images = build(name), pictures()
    found = explained(model, images, "clip_exact")
    assert found.raw.shape == (3, 4, 4)
    assert set(READ) > set(TWINS)
